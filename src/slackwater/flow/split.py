"""Split: from the bytes of a create call to its requests, in the order they were sent."""

from slackwater.wire.envelope import Item, decode_envelope


def split(body: bytes | memoryview) -> list[Item]:
    """Return the requests of a create body.

    Nothing is copied: each `params` is a view into `body`. Raises InvalidRequestError for everything that is checked
    synchronously (contract §4.1), naming the culprit.
    """
    return decode_envelope(body)
