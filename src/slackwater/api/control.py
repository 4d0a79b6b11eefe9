"""The control socket: administrative commands for a running server, over a Unix socket only its owner can open.

SQLite has one writer, so that while a server runs nobody else may write. One JSON object per line goes in
(`{"method": …, "params": {…}}`), one comes out: `{"result": {…}}` or `{"error": {"type": …, "message": …}}`.
"""

import asyncio
import contextlib
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from slackwater.domain.errors import BY_TYPE, APIError, InvalidRequestError, WireError
from slackwater.domain.workspace import APIKey, Workspace
from slackwater.flow.keys import Keys

_LOG = logging.getLogger(__name__)

Params = Mapping[str, Any]
Handlers = Mapping[str, Callable[[Params], Awaitable[dict[str, Any]]]]
"""Method name → what it does with the params; WireErrors become the answer."""

LINE_BYTES_MAX = 64 * 1024
ANSWER_TIMEOUT_SECONDS = 30


class _Command(msgspec.Struct):
    method: str
    params: dict[str, Any] = {}


class ControlUnavailableError(Exception):
    """No server answers on this control socket."""


def admin_handlers(keys: Keys) -> Handlers:
    """Return the administrative methods over `keys`; they serve the socket, and the command line without a server."""

    async def create_key(params: Params) -> dict[str, Any]:
        workspace = await keys.workspace(_text(params, "workspace"))
        key, secret = await keys.issue(workspace.id, _text(params, "name"))
        return {**_key(key, {workspace.id: workspace.name}), "key": secret}

    async def list_keys(params: Params) -> dict[str, Any]:
        names = {workspace.id: workspace.name for workspace in await keys.workspaces()}
        found = await keys.list(_text(params, "workspace") if params.get("workspace") else None)
        return {"data": [_key(key, names) for key in found]}

    async def revoke_key(params: Params) -> dict[str, Any]:
        return _key(await keys.revoke(_text(params, "id")), {})

    async def create_workspace(params: Params) -> dict[str, Any]:
        return _workspace(await keys.create_workspace(_text(params, "name")))

    async def list_workspaces(_params: Params) -> dict[str, Any]:
        return {"data": [_workspace(workspace) for workspace in await keys.workspaces()]}

    async def archive_workspace(params: Params) -> dict[str, Any]:
        return _workspace(await keys.archive_workspace(_text(params, "workspace")))

    return {
        "keys.create": create_key,
        "keys.list": list_keys,
        "keys.revoke": revoke_key,
        "workspaces.create": create_workspace,
        "workspaces.list": list_workspaces,
        "workspaces.archive": archive_workspace,
    }


async def answer(handlers: Handlers, line: bytes) -> bytes:
    """Carry out one line and return its answer, a line too; never raises for what the line says."""
    try:
        command = msgspec.json.decode(line, type=_Command)
        handler = handlers[command.method]
    except (msgspec.MsgspecError, KeyError):
        return _error(InvalidRequestError("not a known administrative command"))
    try:
        return msgspec.json.encode({"result": await handler(command.params)}) + b"\n"
    except WireError as error:
        return _error(error)
    except Exception:  # noqa: BLE001  # whatever happened, the caller gets an answer and the server goes on
        _LOG.exception("administrative command failed: %s", command.method)
        return _error(APIError())


@contextlib.asynccontextmanager
async def serve_control(path: Path, handlers: Handlers) -> AsyncIterator[None]:
    """Listen on a Unix socket (mode 0600) while the context is open; a socket left by a dead server is replaced."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ValueError):  # ValueError: a line beyond the limit
            while line := await reader.readline():
                writer.write(await answer(handlers, line))
                await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(connection, sock=_listening(path), limit=LINE_BYTES_MAX)
    own = _inode(path)
    try:
        yield
    finally:
        server.close()
        if _inode(path) == own:  # and not that of a server that has taken over
            _remove(path)


async def call(path: Path, method: str, params: Params) -> dict[str, Any]:
    """Ask the server behind a control socket. Raises ControlUnavailableError, or the WireError it answered with."""
    try:
        with _reachable(path) as address:
            reader, writer = await asyncio.open_unix_connection(address, limit=2**26)
    except OSError as problem:
        raise ControlUnavailableError(str(path)) from problem
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
            writer.write(msgspec.json.encode({"method": method, "params": params}) + b"\n")
            line = await reader.readline()
    except (ConnectionError, TimeoutError):
        line = b""
    finally:
        writer.close()
    if not line:
        raise APIError(f"the server behind {path} did not answer; whether the command took effect is unknown")
    reply: dict[str, Any] = msgspec.json.decode(line)
    if "error" in reply:
        raise BY_TYPE.get(reply["error"]["type"], APIError)(reply["error"]["message"])
    result: dict[str, Any] = reply["result"]
    return result


def _inode(path: Path) -> int | None:
    try:
        return path.lstat().st_ino
    except FileNotFoundError:
        return None


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()


def _listening(path: Path) -> socket.socket:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove(path)
    listener = socket.socket(socket.AF_UNIX)
    try:
        with _reachable(path) as address:
            listener.bind(address)
        path.chmod(0o600)
        # Nobody can connect before this: a bound socket that does not listen refuses.
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener


@contextlib.contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """Yield an address for a socket: its path, or a short detour where the path is beyond what the kernel takes."""
    if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES_MAX:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


_SOCKET_PATH_BYTES_MAX = 100  # the kernel's limit is 104 to 108


def _text(params: Params, name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidRequestError(f"{name}: must be set")
    return value


def _error(error: WireError) -> bytes:
    return msgspec.json.encode({"error": {"type": error.type, "message": error.message}}) + b"\n"


def _instant(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _workspace(workspace: Workspace) -> dict[str, Any]:
    """Write a workspace with the Admin API's names (contract §14)."""
    return {
        "id": workspace.id,
        "type": "workspace",
        "name": workspace.name,
        "created_at": _instant(workspace.created_at),
        "archived_at": _instant(workspace.archived_at),
    }


def _key(key: APIKey, workspaces: Mapping[str, str]) -> dict[str, Any]:
    """Write a key with the Admin API's names (contract §14); never its digest."""
    body = {
        "id": key.id,
        "type": "api_key",
        "name": key.name,
        "workspace_id": key.workspace_id,
        "workspace": workspaces.get(key.workspace_id),
        "status": "active" if key.revoked_at is None else "archived",
        "partial_key_hint": f"…{key.hint}",
        "created_at": _instant(key.created_at),
        "revoked_at": _instant(key.revoked_at),
    }
    return {name: value for name, value in body.items() if name != "workspace" or value is not None}
