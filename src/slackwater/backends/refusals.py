"""What a backend's failure means for us (reliability X7), decided in one place for every protocol.

Nothing a client can read holds the backend's address, our key for it, or more of its answer than one cleaned sentence.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from slackwater.domain.errors import (
    APIError,
    AttemptFailedError,
    BackendAwayError,
    InvalidRequestError,
    NotFoundError,
    RequestTooLargeError,
    WireError,
    WireTimeoutError,
)

MESSAGE_LENGTH_MAX = 1_000
REASON_LENGTH_MAX = 200
"""What operators see of an error in their logs: enough to know it, too little to hold a prompt."""
RETRY_AFTER_SECONDS_MAX = 86_400.0
"""No batch lives longer, so a longer wait means the same."""

AWAY = frozenset({429, 503, 529})
FULL = frozenset({429, 529})
OUR_CREDENTIALS = frozenset({401, 402, 403, 407})
OUR_SETUP = frozenset({404, 405, 406, 415, 426})
"""Answers of something that does not serve this protocol at this address (a 404 about a model aside)."""
WORTH_RETRYING = frozenset({408, 409, 425})

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_SECRET = re.compile(r"\b(?:sk-|hf_)[A-Za-z0-9_*-]{8,}")

_TOO_LONG = re.compile(r"context[ _](?:length|size|window)|model'?s? max(?:imum)? (?:model )?len", re.IGNORECASE)
_LIMIT = re.compile(r"(?:context (?:length|size|window)|max_model_len)\D{0,40}(\d+)", re.IGNORECASE)
_INPUT = re.compile(
    r"(\d+) input tokens|(\d+)(?: tokens)? (?:in|from) the (?:input )?messages|resulted in (\d+) tokens"
    r"|input \((\d+) tokens\)|request \((\d+) tokens\)|prompt (?:has|contains|of|is)(?: at least)? (\d+)",
    re.IGNORECASE,
)
_TOTAL = re.compile(r"requested (?:a total of )?(\d+) tokens", re.IGNORECASE)


class Answer(msgspec.Struct, frozen=True):
    """A backend's whole HTTP answer."""

    status: int
    body: bytes | bytearray
    """Cut short when `status` is not 2xx."""
    headers: Mapping[str, str] = {}
    """By names in lower case, when `status` is not 2xx: nobody asks for others."""


def broken(reason: str) -> AttemptFailedError:
    """Make the failure for an answer that is not what the protocol promises (S7)."""
    return AttemptFailedError(reason, APIError("The backend's answer was not valid."))


def cut(reason: str) -> AttemptFailedError:
    """Make the failure for a connection that ended before the answer did."""
    return AttemptFailedError(reason, APIError("The connection to the backend was cut."))


def too_slow(reason: str) -> AttemptFailedError:
    """Make the failure for an answer that did not come in time."""
    return AttemptFailedError(reason, WireTimeoutError("The backend did not answer in time."))


def refusal(answer: Answer, *, model: str, wall: Callable[[], datetime]) -> Exception:
    """Return the exception that an answer with a status other than 2xx stands for; `model` is the client's name."""
    status = answer.status
    if status in AWAY:
        return BackendAwayError(
            f"answered {status}", retry_after_seconds=retry_after(answer.headers, wall), full=status in FULL
        )
    if status in OUR_CREDENTIALS:
        return AttemptFailedError(f"answered {status}", APIError("The backend refused our credentials."))
    return told(status, decode_or_none(answer.body), model=model)


def told(status: int, body: Any, *, model: str) -> Exception:  # noqa: ANN401  # whatever the backend sent
    """Return the exception for a refusal with a decoded body, or None in its place; also used for in-stream errors."""
    complaint = complaint_of(body)
    reason = f"answered {status}: {clean(complaint.message)[:REASON_LENGTH_MAX]}"
    if status == 408:  # noqa: PLR2004  # request timeout
        return too_slow(reason)
    if status >= 400 and complaint.is_unknown_model(status):  # noqa: PLR2004  # client and server errors
        return NotFoundError(f"model: {model}")
    if not 400 <= status < 500 or status in OUR_SETUP or status in WORTH_RETRYING:  # noqa: PLR2004  # not a refusal
        return _failed(status, reason, complaint)
    return _refused(status, complaint)


def _failed(status: int, reason: str, complaint: "Complaint") -> Exception:
    if "image input is not supported" in complaint.message:
        return InvalidRequestError("messages: image content is not supported by this model")
    error = WireTimeoutError if status == 504 else APIError  # noqa: PLR2004  # gateway timeout
    return AttemptFailedError(reason, error(f"The backend answered {status}."))


def _refused(status: int, complaint: "Complaint") -> WireError:
    if status == 413:  # noqa: PLR2004  # content too large
        return RequestTooLargeError()
    return too_long(complaint) or InvalidRequestError(
        clean(complaint.message) or f"The backend refused this request with status {status}."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Complaint:
    """What could be read of an error body, of any server's style."""

    message: str = ""
    """As it came: for logs; `clean` it before a client sees it."""
    type: str = ""
    code: str = ""
    prompt_tokens: int | None = None
    """llama.cpp's `n_prompt_tokens`."""
    context_tokens: int | None = None
    """llama.cpp's `n_ctx`."""

    def is_unknown_model(self, status: int) -> bool:
        """Tell whether the server says that it does not have the model."""
        return self.code == "model_not_found" or (status == 404 and "model" in self.message.lower())  # noqa: PLR2004


def complaint_of(body: Any) -> Complaint:  # noqa: ANN401  # whatever the backend sent
    """Read an error body: ours or OpenAI's `{"error": {…}}`, bare `{"message"}`, `{"error": "…"}`, `{"detail": …}`."""
    if not isinstance(body, dict):
        return Complaint()
    error = body.get("error", body)
    if isinstance(error, str):
        return Complaint(message=error)
    if not isinstance(error, dict):
        return Complaint()
    return Complaint(
        message=_sentence(error.get("message", error.get("detail"))),
        type=_text(error.get("type")),
        code=_text(error.get("code")),
        prompt_tokens=_count(error.get("n_prompt_tokens")),
        context_tokens=_count(error.get("n_ctx")),
    )


def _sentence(found: Any) -> str:  # noqa: ANN401
    """Read a message, or FastAPI's list of `{"loc", "msg"}`, of which the first is told."""
    if isinstance(found, list) and found and isinstance(found[0], dict):
        first = found[0]
        path = [str(step) for step in first.get("loc", []) if step != "body"] if "loc" in first else []
        return f"{'.'.join(path)}: {_text(first.get('msg'))}".removeprefix(": ")
    return _text(found)


def _text(found: Any) -> str:  # noqa: ANN401
    return found if isinstance(found, str) else ""


def _count(found: Any) -> int | None:  # noqa: ANN401
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def clean(message: str) -> str:
    """Make a backend's sentence fit for a client: one line, no addresses, nothing like a key, not overlong."""
    line = _CONTROL.sub(" ", message).strip()
    line = _SECRET.sub("…", _ADDRESS.sub("…", line))
    return line if len(line) <= MESSAGE_LENGTH_MAX else line[: MESSAGE_LENGTH_MAX - 1] + "…"


def too_long(complaint: Complaint) -> InvalidRequestError | None:
    """Recognise an input past the context window and say it in the API's words (contract §2.3)."""
    message = complaint.message
    named = "context" in complaint.code or "context" in complaint.type
    if not named and not _TOO_LONG.search(message):
        return None
    limit = complaint.context_tokens or _number(_LIMIT, message)
    tokens = complaint.prompt_tokens or _number(_INPUT, message)
    if limit is not None and tokens is not None and tokens > limit:
        return InvalidRequestError(f"prompt is too long: {tokens} tokens > {limit} maximum")
    total = _number(_TOTAL, message)
    if limit is not None and total is not None and total > limit:
        return InvalidRequestError(f"input length and `max_tokens` exceed context limit: {total} > {limit}")
    return InvalidRequestError(f"prompt is too long: {clean(message)}") if named and tokens is None else None


def _number(pattern: re.Pattern[str], text: str) -> int | None:
    match = pattern.search(text)
    return int(next(group for group in match.groups() if group)[:18]) if match else None


def retry_after(headers: Mapping[str, str], wall: Callable[[], datetime]) -> float | None:
    """Read `retry-after-ms`, else `retry-after` as seconds or an HTTP date; None when absent or unreadable."""
    milliseconds = _seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return min(milliseconds / 1000, RETRY_AFTER_SECONDS_MAX)
    value = headers.get("retry-after")
    seconds = _seconds(value)
    if seconds is None and value:
        seconds = _until(value, wall)
    return None if seconds is None else min(seconds, RETRY_AFTER_SECONDS_MAX)


def _seconds(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return max(number, 0.0) if math.isfinite(number) else None


def _until(value: str, wall: Callable[[], datetime]) -> float | None:
    try:
        instant = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max((instant - wall()).total_seconds(), 0.0) if instant.tzinfo is not None else None


def decode(body: bytes | bytearray | str) -> Any:  # noqa: ANN401  # JSON is any value
    """Decode strict JSON: no NaN, no lone surrogates, no bottomless nesting (B7). Raises AttemptFailedError."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        reason = f"the answer is not valid JSON: {type(error).__name__}"
        raise broken(reason) from error


def decode_or_none(body: bytes | bytearray) -> Any:  # noqa: ANN401
    """Decode JSON where there may be none."""
    try:
        return decode(body)
    except AttemptFailedError:
        return None
