"""The control socket: who may open it, what it answers, and what stands in when no server runs."""

import asyncio
import contextlib
import json
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from slackwater.api.control import ControlUnavailableError, call, serve_control
from slackwater.domain.errors import APIError, InvalidRequestError, NotFoundError


async def _echo(params: Mapping[str, Any]) -> dict[str, Any]:
    return {"echo": dict(params)}


async def _missing(params: Mapping[str, Any]) -> dict[str, Any]:
    raise NotFoundError(f"Workspace `{params['name']}` not found.")


async def _broken(_params: Mapping[str, Any]) -> dict[str, Any]:
    raise RuntimeError("the secret is slw_12345678_x")


HANDLERS = {"echo": _echo, "missing": _missing, "broken": _broken}


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    """Listen on a control socket."""
    async with serve_control(tmp_path / "control.sock", HANDLERS):
        yield tmp_path / "control.sock"


async def test_a_method_is_carried_out_and_answered(path: Path) -> None:
    """One JSON object in, one out."""
    assert await call(path, "echo", {"a": ["한", 1]}) == {"echo": {"a": ["한", 1]}}


async def test_only_the_owner_can_open_it(path: Path) -> None:
    """A6: whoever reaches this socket administers the server, so its mode is 0600."""
    mode = path.stat().st_mode  # noqa: ASYNC240  # a test may block
    assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)


async def test_errors_keep_their_type_and_a_crash_tells_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What the step raised is what the caller gets; an unexpected failure is an api_error without details."""
    with pytest.raises(NotFoundError, match="Workspace `x` not found"):
        await call(path, "missing", {"name": "x"})
    with pytest.raises(APIError, match=r"^Internal server error$"):
        await call(path, "broken", {})
    assert "administrative command failed: broken" in caplog.text
    with pytest.raises(InvalidRequestError, match="not a known administrative command"):
        await call(path, "nonsense", {})


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"null", b'{"method": 1}', b'{"method": "echo", "params": []}', b"\xff"]
)
async def test_a_line_that_is_no_command_is_answered_and_the_connection_goes_on(path: Path, line: bytes) -> None:
    """Nothing that is written into the socket stops it."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(line + b"\n" + b'{"method": "echo"}\n')
    answers = [json.loads(await asyncio.wait_for(reader.readline(), 5)) for _ in range(2)]
    writer.close()
    assert answers[0]["error"]["type"] == "invalid_request_error"
    assert answers[1] == {"result": {"echo": {}}}


async def test_an_endless_line_is_cut_off(path: Path) -> None:
    """Memory is bounded; the server goes on."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"x" * 200_000)
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    assert await call(path, "echo", {}) == {"echo": {}}


async def test_no_server_is_told_apart_from_an_error(tmp_path: Path) -> None:
    """Without a server the caller opens the database itself."""
    with pytest.raises(ControlUnavailableError):
        await call(tmp_path / "control.sock", "echo", {})


async def test_a_socket_left_by_a_dead_server_is_in_nobodys_way(tmp_path: Path) -> None:
    """After kill -9 the file is still there: nobody answers on it, and the next server takes its place."""
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(ControlUnavailableError):
        await call(path, "echo", {})
    async with serve_control(path, HANDLERS):
        assert await call(path, "echo", {}) == {"echo": {}}
    assert not path.exists()


async def test_a_deep_data_directory_has_a_socket_too(tmp_path: Path) -> None:
    """The kernel takes paths of about a hundred bytes; data directories may be longer."""
    path = tmp_path / ("d" * 120) / "control.sock"
    async with serve_control(path, HANDLERS):
        assert await call(path, "echo", {}) == {"echo": {}}
