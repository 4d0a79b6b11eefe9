"""Uses every call of the official Python SDK that slackwater serves, and prints what came out as JSON.

    python sdk.py BASE_URL API_KEY [SECTION...]

Runs with any release of the SDK, in its own environment, and knows nothing of the tests: it only reports, once for the
blocking client and once for the asynchronous one. sdk.mjs is its twin. Every section of the report is made by the
function of its name.
"""

import asyncio
import inspect
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import anthropic

PDF = b"%PDF-1.7\r\n%\xff\0\r\n%%EOF\r\n"
MODEL = "claude-haiku-4-5-20251001"
WAIT_SECONDS = 30
warnings.simplefilter("ignore")


class Driver:
    """One client, spoken to in the same way whether it is the blocking or the asynchronous one."""

    def __init__(self, mode: str, base_url: str, api_key: str) -> None:
        self.kind = anthropic.AsyncAnthropic if mode == "async" else anthropic.Anthropic
        self.base_url = base_url
        self.client = self.make(api_key)

    def make(self, api_key: str, **options: Any) -> Any:
        return self.kind(api_key=api_key, base_url=self.base_url, timeout=WAIT_SECONDS, **options)

    async def report(self) -> dict[str, Any]:
        report: dict[str, Any] = {"version": anthropic.__version__}
        for section in (
            self.mixed, self.paging, self.cancel, self.delete, self.messages, self.stream, self.count, self.models,
            self.errors, self.retries, self.beta, self.files,
        ):  # fmt: skip
            if sys.argv[3:] and section.__name__ not in sys.argv[3:]:
                continue
            print(section.__name__, file=sys.stderr, flush=True)
            try:
                report[section.__name__] = await section()
            except Exception as error:
                report[section.__name__] = {"raised": described(error)}
        return report

    async def mixed(self) -> dict[str, Any]:
        """A batch of which some requests succeed, some fail in various ways; watched until its end."""
        batch = await settled(self.client.messages.batches.create(requests=mixed_requests()))
        read_back = await settled(self.client.messages.batches.retrieve(batch.id))
        ended, polls = await self.wait(batch.id)
        last = await settled(self.client.messages.batches.with_raw_response.retrieve(batch.id))
        results = [plain(item) async for item in items(await settled(self.client.messages.batches.results(batch.id)))]
        return {
            "created": plain(batch),
            "read_back": plain(read_back),
            "retry_after": last.headers.get("retry-after"),
            "polls": polls,
            "ended": plain(ended),
            "results": results,
        }

    async def paging(self) -> dict[str, Any]:
        """Five more batches, listed two at a time, forwards and backwards."""
        made = [await settled(self.client.messages.batches.create(requests=[request("only", "Hi")])) for _ in range(5)]
        ids = [batch.id for batch in made]
        forwards = [item.id async for item in items(self.client.messages.batches.list(limit=2))]
        newer = [item.id async for item in items(self.client.messages.batches.list(limit=2, before_id=ids[0]))]
        older = [item.id async for item in items(self.client.messages.batches.list(limit=2, after_id=ids[0]))]
        page = await settled(self.client.messages.batches.list(limit=2))
        for batch_id in ids:
            await self.wait(batch_id)
        return {
            "made": ids, "forwards": forwards, "newer": newer, "older": older,
            "page": {"ids": [item.id for item in page.data], "has_more": page.has_more, "first_id": page.first_id, "last_id": page.last_id},
        }  # fmt: skip

    async def cancel(self) -> dict[str, Any]:
        """A batch that would take an hour is canceled, twice."""
        slow = [request(f"slow-{number}", "[[sim:latency=3600]] Think.") for number in range(24)]
        batch = await settled(self.client.messages.batches.create(requests=[request("quick", "Hi"), *slow]))
        canceling = await settled(self.client.messages.batches.cancel(batch.id))
        again = await settled(self.client.messages.batches.cancel(batch.id))
        ended, _ = await self.wait(batch.id)
        results = [plain(item) async for item in items(await settled(self.client.messages.batches.results(batch.id)))]
        late = await attempt(lambda: self.client.messages.batches.cancel(batch.id))
        return {
            "canceling": plain(canceling), "again": plain(again), "ended": plain(ended), "results": results, "late": late,
        }  # fmt: skip

    async def delete(self) -> dict[str, Any]:
        """Deleting works once, and only after the end."""
        slow = [request("slow", "[[sim:latency=3600]] Think.")]
        batch = await settled(self.client.messages.batches.create(requests=slow))
        running = await settled(self.client.messages.batches.with_raw_response.retrieve(batch.id))
        early_results = await attempt(lambda: self.client.messages.batches.results(batch.id))
        early = await attempt(lambda: self.client.messages.batches.delete(batch.id))
        await settled(self.client.messages.batches.cancel(batch.id))
        await self.wait(batch.id)
        deleted = await settled(self.client.messages.batches.delete(batch.id))
        return {
            "id": batch.id,
            "retry_after": running.headers.get("retry-after"),
            "early_results": early_results,
            "early": early,
            "deleted": plain(deleted),
            "twice": await attempt(lambda: self.client.messages.batches.delete(batch.id)),
            "gone": await attempt(lambda: self.client.messages.batches.retrieve(batch.id)),
        }

    async def messages(self) -> dict[str, Any]:
        message = await settled(
            self.client.messages.create(**body("[[sim:text=positive]] Good film.", system="One word."))
        )
        return plain(message)

    async def stream(self) -> dict[str, Any]:
        """By the helper, which puts the message together, and by hand."""
        manager = self.client.messages.stream(**body("[[sim:text=one two three]] Count."))
        if hasattr(manager, "__aenter__"):
            async with manager as stream:
                text = "".join([part async for part in stream.text_stream])
                final = await stream.get_final_message()
        else:
            with manager as stream:
                text = "".join(stream.text_stream)
                final = stream.get_final_message()
        raw = await settled(self.client.messages.create(**body("[[sim:text=one two three]] Count."), stream=True))
        return {"text": text, "final": plain(final), "events": [event.type async for event in items(raw)]}

    async def count(self) -> dict[str, Any]:
        messages = [{"role": "user", "content": "How many tokens are these?"}]
        return plain(await settled(self.client.messages.count_tokens(model=MODEL, messages=messages)))

    async def models(self) -> dict[str, Any]:
        listed = [plain(model) async for model in items(self.client.models.list(limit=1))]
        return {
            "listed": [model["id"] for model in listed],
            "first": listed[0],
            "slashed": plain(await settled(self.client.models.retrieve("Qwen/Qwen2.5:7b"))),
            "unknown": await attempt(lambda: self.client.models.retrieve("no-such-model")),
        }

    async def errors(self) -> dict[str, Any]:
        """What the SDK raises for each status, without its retries."""
        client = self.client.with_options(max_retries=0)
        create, batches = client.messages.create, client.messages.batches
        stranger = self.make("not-a-key", max_retries=0)
        oversized = "x" * (33 * 2**20)
        return {
            "batch_empty": await attempt(lambda: batches.create(requests=[])),
            "batch_duplicate": await attempt(lambda: batches.create(requests=[request("same", "a"), request("same", "b")])),
            "batch_long_id": await attempt(lambda: batches.create(requests=[request("x" * 65, "a")])),
            "batch_newline_id": await attempt(lambda: batches.create(requests=[request("row-0\n", "a")])),
            "batch_extra_key": await attempt(lambda: batches.create(requests=[request("a", "a")], extra_body={"note": "hm"})),
            "batch_unknown": await attempt(lambda: batches.retrieve("msgbatch_01nosuchbatch")),
            "batch_both_cursors": await attempt(lambda: first_of(batches.list(after_id="msgbatch_a", before_id="msgbatch_b"))),
            "batch_limit": await attempt(lambda: first_of(batches.list(limit=1001))),
            "message_no_max_tokens": await attempt(lambda: client.post("/v1/messages", body={"model": MODEL, "messages": []}, cast_to=object)),
            "message_extra_key": await attempt(lambda: create(**body("Hi"), extra_body={"colour": "red"})),
            "message_too_large": await attempt(lambda: create(**body(oversized))),
            "message_unknown_model": await attempt(lambda: create(**(body("Hi") | {"model": "no-such-model"}))),
            "wrong_key": await attempt(lambda: stranger.messages.batches.retrieve("msgbatch_01nosuchbatch")),
            "wrong_version": await attempt(lambda: create(**body("Hi"), extra_headers={"anthropic-version": "2023-10-01"})),
            "foreign_workspace": await attempt(lambda: create(**body("Hi"), extra_headers={"anthropic-workspace-id": "wrkspc_01nosuch"})),
            "unknown_path": await attempt(lambda: client.get("/v1/nothing", cast_to=object)),
            "wrong_method": await attempt(lambda: client.post("/v1/models", body={}, cast_to=object)),
            "backend_400": await attempt(lambda: create(**body("[[sim:status=400]] Hi"))),
            "backend_500": await attempt(lambda: create(**body("[[sim:status=500]] Hi"))),
            "backend_529": await attempt(lambda: create(**(body("[[sim:status=529]] Hi") | {"model": "faulty"}))),
        }  # fmt: skip

    async def retries(self) -> dict[str, Any]:
        """With its ordinary retries the SDK gets over a backend that fails once."""
        message = await settled(
            self.client.messages.create(**(body(f"[[sim:status=529 times=1]] {id(self)}") | {"model": "faulty"}))
        )
        return plain(message)

    async def beta(self) -> dict[str, Any]:
        """The same calls in the beta namespace, which adds `?beta=true` and beta headers in some releases."""
        batches = self.client.beta.messages.batches
        batch = await settled(batches.create(requests=[request("only", "Hi")], betas=["message-batches-2024-09-24"]))
        await self.wait(batch.id)
        read = await settled(batches.retrieve(batch.id))
        listed = [item.id async for item in items(batches.list(limit=3))]
        results = [plain(item) async for item in items(await settled(batches.results(batch.id)))]
        deleted = await settled(batches.delete(batch.id))
        return {"id": batch.id, "read": plain(read), "listed": listed, "results": results, "deleted": plain(deleted)}

    async def files(self) -> dict[str, Any]:
        """Every call about files, in each namespace that this release has."""
        resources = {"ga": getattr(self.client, "files", None), "beta": self.client.beta.files}
        return {name: await self.file_calls(files) for name, files in resources.items() if files is not None}

    async def file_calls(self, files: Any) -> dict[str, Any]:
        """Upload in every way that the SDK takes; list, read and delete what was uploaded."""
        once = files.with_options(max_retries=0) if hasattr(files, "with_options") else files
        takes = {name: set(inspect.signature(getattr(files, name)).parameters) for name in ("upload", "list")}
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "보고서 최종.pdf")
            path.write_bytes(PDF)
            uploads = {
                "bytes": PDF,
                "large": b"\0" * 3_000_000,
                "path": path,
                "tuple": ("contract.pdf", PDF, "application/pdf"),
                "stream": path.open("rb"),
                "named_stream": ("contract.pdf", path.open("rb"), "application/pdf"),
                "unicode": ("계약서 ü.txt", "내용\n".encode(), "text/plain"),
                "nested": ("a/b/../c.txt", b"text"),
                "untyped": ("table.csv", b"a,b\n"),
                "quoted": ('say "hi".txt', b"text"),
                "empty": ("empty.txt", b""),
            }
            made = {
                name: await attempt(lambda file=file: files.upload(file=file), plain) for name, file in uploads.items()
            }
        expiring = (
            await settled(files.upload(file=PDF, expires_in_seconds=7200))
            if "expires_in_seconds" in takes["upload"]
            else None
        )
        ours = [one["id"] for one in made.values() if "id" in one]
        listed = [item.id async for item in items(files.list(limit=2)) if item.id in ours]
        report = {
            "made": made,
            "expiring": plain(expiring) if expiring else None,
            "listed": listed,
            "read": plain(await settled(files.retrieve_metadata(ours[0]))),
            "content": await attempt(lambda: once.download(ours[0])),
            "too_large": await attempt(lambda: once.upload(file=b"x" * 8_000_001)),
            "limit": await attempt(lambda: first_of(once.list(limit=1001))),
        }
        if "before_id" in takes["list"]:
            report["newer"] = [
                item.id async for item in items(files.list(limit=3, before_id=ours[0])) if item.id in ours
            ]
            report["older"] = [
                item.id async for item in items(files.list(limit=3, after_id=ours[-1])) if item.id in ours
            ]
        if "ids" in takes["list"]:
            asked = [ours[1], ours[0], ours[1], "file_01nosuchfile"]
            report["by_ids"] = [item.id async for item in items(files.list(ids=asked))]
        report["deleted"] = plain(await settled(files.delete(ours[0])))
        report["twice"] = await attempt(lambda: once.delete(ours[0]))
        report["gone"] = await attempt(lambda: once.retrieve_metadata(ours[0]))
        for file_id in [*ours[1:], *([expiring.id] if expiring else [])]:
            await settled(files.delete(file_id))
        return report

    async def wait(self, batch_id: str) -> tuple[Any, list[dict[str, Any]]]:
        polls: list[dict[str, Any]] = []
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            batch = await settled(self.client.messages.batches.retrieve(batch_id))
            polls.append({"status": batch.processing_status, "counts": plain(batch.request_counts)})
            if batch.processing_status == "ended":
                return batch, polls
            await asyncio.sleep(0.05)
        raise TimeoutError(f"{batch_id} did not end: {polls[-1]}")


def mixed_requests() -> list[dict[str, Any]]:
    good = [request(f"row-{number}", f"[[sim:text=answer {number}]] Question {number}?") for number in range(4)]
    return [
        *good,
        request("sampled", "Hi", temperature=0.5),
        {"custom_id": "no-max-tokens", "params": {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}},
        {"custom_id": "unknown-model", "params": body("Hi") | {"model": "no-such-model"}},
        {"custom_id": "streaming", "params": body("Hi") | {"stream": True}},
        request("refused-by-backend", "[[sim:status=400]] Hi"),
        request("cut-short", "[[sim:stop=max_tokens]] Hi"),
        request("unicode_A-9", "[[sim:text=a\u2028b}{c]] Hi"),
    ]


def request(custom_id: str, text: str, **extra: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "params": body(text, **extra)}


def body(text: str, **extra: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 32, "messages": [{"role": "user", "content": text}], **extra}


def plain(thing: Any) -> Any:
    return json.loads(thing.to_json())


async def settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def first_of(pages: Any) -> Any:
    async for item in items(pages):
        return item
    return None


async def items(many: Any) -> Any:
    if hasattr(many, "__aiter__"):
        async for item in many:
            yield item
    else:
        for item in many:
            yield item


async def attempt(call: Any, show: Any = lambda found: {"returned": str(found)}) -> Any:
    """Report the exception of a call that is expected to fail, or may."""
    try:
        found = await settled(call())
    except Exception as error:
        return described(error)
    return show(found)


def described(error: Exception) -> dict[str, Any]:
    answer = getattr(error, "body", None)
    inner = answer.get("error", {}) if isinstance(answer, dict) else {}
    return {
        "classes": [kind.__name__ for kind in type(error).__mro__],
        "status": getattr(error, "status_code", None),
        "type": inner.get("type"),
        "message": inner.get("message", str(error)),
        "request_id": getattr(error, "request_id", None),
        "body": answer if isinstance(answer, dict) else str(answer),
    }


async def main() -> None:
    print(json.dumps({mode: await Driver(mode, *sys.argv[1:3]).report() for mode in ("sync", "async")}))


if __name__ == "__main__":
    asyncio.run(main())
