"""The one error this package raises, in the words a client reads."""

MESSAGE_LENGTH_MAX = 2_000
"""A message quotes ids and names that a client chose; however long they are, an error stays readable."""


class ParamsError(ValueError):
    """A Messages body that cannot be honored: a 400 or, inside a batch, an `errored` line (contract §4.1)."""

    def __init__(
        self,
        message: str,
        *,
        error_type: str = "invalid_request_error",
        details: dict[str, object] | None = None,
    ) -> None:
        self.message = message[:MESSAGE_LENGTH_MAX]
        """`<json path>: <sentence>`, or a sentence alone where the body as a whole is at fault (contract §2.3)."""
        self.error_type = error_type
        """The wire's `error.type`."""
        self.details = details
        """The optional `error.details` object, which carries an `error_code` (contract §2.1)."""
        super().__init__(self.message)
