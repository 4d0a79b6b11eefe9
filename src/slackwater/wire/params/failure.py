"""The one error this package raises, in the words a client reads."""


class ParamsError(ValueError):
    """A Messages body that cannot be honored: a 400 or, inside a batch, an `errored` line (contract §4.1)."""

    def __init__(
        self,
        message: str,
        *,
        error_type: str = "invalid_request_error",
        details: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        """`<json path>: <sentence>`, or a sentence alone where the body as a whole is at fault (contract §2.3)."""
        self.error_type = error_type
        """The wire's `error.type`."""
        self.details = details
        """The optional `error.details` object, which carries an `error_code` (contract §2.1)."""
