"""How a command ends: the exit codes scripts may rely on, and the one exception that carries a failure to the top."""

from typing import Final

OK: Final = 0
ERROR: Final = 1
USAGE: Final = 2
TIMED_OUT: Final = 3
"""Waiting took too long; the batch goes on."""
SCHEMA_TOO_NEW: Final = 3
"""`serve` and `worker`: the database was written by a newer version."""
AUTHENTICATION: Final = 4
INCOMPLETE: Final = 5
"""The batch ended, with errored or expired requests in it."""
INTERRUPTED: Final = 130


class Failure(Exception):  # noqa: N818  # it is not always an error: a wait that timed out ends here too
    """A command cannot do what it was asked for; told to people in up to three lines on stderr."""

    def __init__(
        self, what: str, *, next_step: str | None = None, request_id: str | None = None, code: int = ERROR
    ) -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step
        """What to do or type now."""
        self.request_id = request_id
        self.code = code
