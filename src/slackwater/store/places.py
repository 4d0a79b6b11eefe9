"""Where a batch that is not there any more was in the list: its id still knows."""

from datetime import UTC, datetime, timedelta

from slackwater.domain.ids import ALPHABET

_DIGITS = {character: digit for digit, character in enumerate(ALPHABET)}
_BODY_LENGTH = 22
_VERSION = 7
_EPOCH = datetime.fromtimestamp(0, UTC)
_REST_OF_MILLISECOND = timedelta(microseconds=999)


def place_of(batch_id: str, *, newer: bool) -> datetime | None:
    """Return the instant from which paging goes on after a batch that was deleted; None for what is no id of ours.

    An id knows its millisecond (domain.ids). Within it the far end is taken: a neighbour may come twice, but none
    is passed over. `newer`: the direction walked.
    """
    _, mark, body = batch_id.partition("_01")
    if not mark or len(body) != _BODY_LENGTH or not set(body) <= _DIGITS.keys():
        return None
    number = 0
    for character in body:
        number = number * len(ALPHABET) + _DIGITS[character]
    if number >> 128 or number >> 76 & 0xF != _VERSION:
        return None
    made = _EPOCH + timedelta(milliseconds=number >> 80)
    return made if newer else made + _REST_OF_MILLISECOND
