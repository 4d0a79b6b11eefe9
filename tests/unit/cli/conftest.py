"""A tiny server that plays the API, and the command line as a subprocess."""

import asyncio
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from slackwater.cli import main

KEY = "slw_12345678_testtesttesttesttesttesttesttesttesttesttes"
BATCH_ID = "msgbatch_01AbCdEfGhJkLmNpQrStUvWx"

FILE_ID = "file_01AbCdEfGhJkLmNpQrStUvWx"
FILE = {
    "id": FILE_ID,
    "type": "file",
    "filename": "contract.pdf",
    "mime_type": "application/pdf",
    "size_bytes": 1048576,
    "created_at": "2026-11-22T09:00:00.000000Z",
    "downloadable": False,
    "expires_at": None,
}


def batch(status: str = "ended", **counts: int) -> dict[str, Any]:
    """Return a batch object."""
    names = ("processing", "succeeded", "errored", "canceled", "expired")
    return {
        "id": BATCH_ID,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": {name: counts.get(name, 0) for name in names},
        "ended_at": "2026-11-22T10:00:00.000000Z" if status == "ended" else None,
        "created_at": "2026-11-22T09:00:00.000000Z",
        "expires_at": "2026-11-23T09:00:00.000000Z",
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": None,
    }


def lines(*custom_ids: str) -> bytes:
    """Return result lines."""
    return b"".join(
        json.dumps({"custom_id": one, "result": {"type": "succeeded", "text": one * 50}}).encode() + b"\n"
        for one in custom_ids
    )


@dataclass
class FakeAPI:
    """What the server answers, and what it was asked."""

    url: str = ""
    batch: dict[str, Any] = field(default_factory=lambda: batch(succeeded=2))
    progress: list[dict[str, Any]] = field(default_factory=list)
    """Answers of the progress route, the last one for ever; empty: 404, as the official API."""
    results: bytes = lines("b", "a")
    results_cut_at: list[int] = field(default_factory=list)
    """Each download of the results is cut after so many bytes, until none is left."""
    failures: list[tuple[int, dict[str, Any], dict[str, str]]] = field(default_factory=list)
    """Answers that come before all others."""
    seen: list[tuple[str, str, Mapping[str, str], bytes]] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def ask(self, method: str, path: str) -> list[tuple[Mapping[str, str], bytes]]:
        """Return headers and body of the calls of one route."""
        return [(headers, body) for seen, at, headers, body in self.seen if (seen, at) == (method, path)]

    async def answer(self, request: web.Request) -> web.StreamResponse:  # noqa: PLR0911  # a router
        """Answer one HTTPRequest."""
        self.seen.append((request.method, request.path_qs, request.headers, await request.read()))
        self.asked.set()
        if self.failures:
            status, body, headers = self.failures.pop(0)
            return web.json_response(body, status=status, headers=headers)
        if request.path.startswith("/v1/files"):
            return await self._files(request)
        route = request.path.removeprefix("/v1/messages/batches")
        if route.endswith("/progress"):
            return self._progress()
        if route.endswith("/results"):
            return await self._results(request)
        if request.path == "/v1/models":
            return web.json_response({"data": [{"id": "m"}], "has_more": False, "first_id": "m", "last_id": "m"})
        if request.method == "GET" and not route:
            page = {"data": [self.batch], "has_more": False, "first_id": BATCH_ID, "last_id": BATCH_ID}
            return web.json_response(page)
        if request.method == "DELETE":
            return web.json_response({"id": BATCH_ID, "type": "message_batch_deleted"})
        return web.json_response(self.batch)

    async def _files(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/content"):
            return await self._results(request)
        if request.method == "DELETE":
            headers = {"slackwater-pinned-by": BATCH_ID}
            return web.json_response({"id": FILE_ID, "type": "file_deleted"}, headers=headers)
        if request.method == "GET" and request.path == "/v1/files":
            return web.json_response({"data": [FILE], "next_page": "page_x"})
        return web.json_response(FILE)

    def _progress(self) -> web.Response:
        if not self.progress:
            return web.json_response(error("not_found_error", "Not found"), status=404)
        return web.json_response(self.progress.pop(0) if len(self.progress) > 1 else self.progress[0])

    async def _results(self, request: web.Request) -> web.StreamResponse:
        start = request.http_range.start or 0
        body = self.results[start:]
        headers = {"etag": '"v1"', "content-length": str(len(body))}
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        await response.prepare(request)
        if self.results_cut_at:
            await response.write(body[: self.results_cut_at.pop(0)])
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write(body)
        return response


def progress(status: str = "ended", **counts: int) -> dict[str, Any]:
    """Return a progress object."""
    state = batch(status, **counts)
    return {**state, "progress": state["request_counts"], "size": sum(counts.values()), "cost_usd": "0.25"}


def error(kind: str, text: str) -> dict[str, Any]:
    """Return an error envelope."""
    return {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_01Test"}


@pytest.fixture
async def api() -> AsyncIterator[FakeAPI]:
    """Serve on a free port."""
    fake = FakeAPI()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Any]


def environment(**variables: str) -> dict[str, str]:
    """Return an environment without anything of the machine's own."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "PYTHONPATH": str(Path(__file__).parents[3] / "src"), **variables}


@pytest.fixture
def command(api: FakeAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `slackwater …` against the fake API in this process, in a thread beside the server's loop."""
    monkeypatch.chdir(tmp_path)

    async def run(*arguments: str, stdin: bytes = b"", **given: str) -> Ended:
        for name in [*os.environ]:
            if name.startswith(("SLACKWATER_", "ANTHROPIC_")):
                monkeypatch.delenv(name)
        for name, value in (variables(api) | given).items():
            if value:
                monkeypatch.setenv(name, value)
        streams = {"stdin": io.BytesIO(stdin), "stdout": io.BytesIO(), "stderr": io.BytesIO()}
        with monkeypatch.context() as patch:
            for name, stream in streams.items():
                patch.setattr(sys, name, io.TextIOWrapper(stream, encoding="utf-8", write_through=True))
            code = await asyncio.wait_for(asyncio.to_thread(_exit_code, arguments), 30)
            return Ended(
                code=code, out=streams["stdout"].getvalue().decode(), err=streams["stderr"].getvalue().decode()
            )

    return run


def _exit_code(arguments: tuple[str, ...]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert isinstance(ended.value.code, int)
    return ended.value.code


def variables(api: FakeAPI) -> dict[str, str]:
    """Return what points the command line at the fake API."""
    return {"SLACKWATER_BASE_URL": api.url, "SLACKWATER_API_KEY": KEY}


async def start(
    *arguments: str, cwd: Path, stdout: int = asyncio.subprocess.PIPE, **given: str
) -> asyncio.subprocess.Process:
    """Start `slackwater …`; empty variables are left out."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from slackwater.cli import main; main()",
        *arguments,
        cwd=cwd,
        env=environment(**{name: value for name, value in given.items() if value}),
        stdin=asyncio.subprocess.PIPE,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )
