"""Administrative commands: through the server that runs on the data, or directly when none does."""

import asyncio
import contextlib
import gc
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from slackwater.cli.exits import SCHEMA_TOO_NEW, Failure
from slackwater.cli.options import environment
from slackwater.cli.output import message

GC_THRESHOLDS = (50_000, 20, 50)
"""Requests in flight are many small objects with short lives: the default of 700 searches them all the time."""


def settings_of(config: Path | None, data: Path | None, server: dict[str, object] | None = None) -> Any:  # noqa: ANN401  # Settings; importing it here would slow every command
    """Load the settings a command works on. Raises Failure with every mistake in them."""
    from slackwater.config import ConfigError, load  # noqa: PLC0415  # pydantic is not for client commands

    if data is not None:
        data = data.expanduser()
    try:
        return load(config, environment(), {"storage": {"data_dir": data}, "server": server or {}})
    except ConfigError as error:
        raise Failure(
            str(error), next_step="correct the configuration; `slackwater doctor` checks it without starting anything"
        ) from None


def run_server(job: Coroutine[Any, Any, None]) -> None:
    """Run a server or worker until it stops. Raises Failure when it cannot start."""
    gc.freeze()  # what was imported stays, and need not be searched again
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()
    choose = "choose another --port, --host or --data"
    with explained(choose), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(job)


def tell_stopping(in_flight: int, seconds: float) -> None:
    """Say what the end still waits for."""
    requests = "1 request" if in_flight == 1 else f"{in_flight} requests"
    waiting = f": {requests} under way, {seconds:.0f} s to come back; Ctrl-C again does not wait for that"
    message(f"stopping{waiting if in_flight else ''}")


@contextlib.contextmanager
def explained(next_step: str | None = None) -> Iterator[None]:
    """Turn what an operator can do something about into a Failure; the rest is a bug and keeps its traceback.

    `next_step` goes with errors of the operating system.
    """
    from slackwater.config import ConfigError  # noqa: PLC0415  # the server is not for client commands
    from slackwater.domain.errors import StoreUnavailableError, WireError  # noqa: PLC0415  # likewise
    from slackwater.store.errors import SchemaTooNewError, StoreInUseError, StoreNotDurableError  # noqa: PLC0415

    try:
        yield
    except Exception as error:
        cause = _first(error)
        match cause:
            case WireError():
                raise Failure(cause.message) from None
            case SchemaTooNewError():
                raise Failure(str(cause), code=SCHEMA_TOO_NEW) from None
            case ConfigError() | StoreInUseError() | StoreNotDurableError():
                raise Failure(str(cause)) from None
            case StoreUnavailableError():
                raise Failure(f"the database cannot be used: {cause}") from None
            case OSError():
                raise Failure(cause.strerror or str(cause), next_step=next_step) from None
            case _:
                raise


def _first(error: BaseException) -> BaseException:
    """Return what really went wrong first, out of the groups that tasks wrap it in."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def administer(config: Path | None, data: Path | None, method: str, **params: object) -> dict[str, Any]:
    """Carry out one administrative method (slackwater.api.control) and return its result. Raises Failure."""
    settings = settings_of(config, data)
    given = {name: value for name, value in params.items() if value is not None}
    with explained():
        return asyncio.run(_administer(settings, method, given))


async def _administer(settings: Any, method: str, params: dict[str, object]) -> dict[str, Any]:  # noqa: ANN401  # Settings
    from slackwater.api.control import ControlUnavailableError, admin_handlers, call  # noqa: PLC0415  # see above

    try:
        return await call(settings.control_socket, method, params)
    except ControlUnavailableError:
        pass
    from slackwater.main import open_admin  # noqa: PLC0415  # only without a server

    if settings.storage.database == "sqlite" and not settings.storage.data_dir.is_dir():
        raise Failure(
            f"there is no data directory at {settings.storage.data_dir}",
            next_step="name it with --data, or make one with `slackwater serve`",
        )
    async with open_admin(settings) as keys:
        return await admin_handlers(keys)[method](params)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's where there is one; it takes much less time for each backend call than the standard loop."""
    try:
        import uvloop  # noqa: PLC0415  # a server's business
    except ImportError:
        return None
    return uvloop.new_event_loop
