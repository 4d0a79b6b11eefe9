"""Where the bytes of images and documents come from: what must never reach a backend is refused here.

An address would make the backend fetch it from wherever the backend stands (reliability E1), and a file id means
something only to us.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from slackwater.domain.errors import InvalidRequestError


def check_sources(params: Mapping[str, Any], *, pass_urls: bool) -> None:
    """Raise InvalidRequestError for the first source in the messages that names a file or, unless allowed, a URL."""
    for index, message in enumerate(params.get("messages") or ()):
        for path, block in _blocks(message.get("content"), f"messages.{index}.content"):
            check_source(block, path, pass_urls=pass_urls)


def check_source(block: Mapping[str, Any], path: str, *, pass_urls: bool) -> None:
    """Raise InvalidRequestError when one block's source names a file or, unless allowed, a URL."""
    source = block.get("source")
    kind = source.get("type") if isinstance(source, dict) else None
    where = f"{path}.{block.get('type')}.source"
    if kind == "url" and not pass_urls:
        message = f"{where}: url sources are not supported by this backend; send the data as base64"
        raise InvalidRequestError(message)
    if kind == "file":
        message = f"{where}: file sources are not supported by this backend"
        raise InvalidRequestError(message)


def _blocks(content: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:  # noqa: ANN401  # JSON is any value
    """Walk content blocks and the blocks inside tool results and documents."""
    if not isinstance(content, list):
        return
    for index, block in enumerate(content):
        if not isinstance(block, dict):
            continue
        here = f"{path}.{index}"
        yield here, block
        yield from _blocks(block.get("content"), f"{here}.content")
        source = block.get("source")
        if isinstance(source, dict):
            yield from _blocks(source.get("content"), f"{here}.source.content")
