"""A Messages body with what its sources stand for in their place, and what its documents say that can be cited."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Final

from slackwater.domain.document import IMAGE_PIXELS_MAX, Ready
from slackwater.domain.errors import InvalidRequestError
from slackwater.wire.carriers import Block, Carrier, replaced
from slackwater.wire.citing import Citable, Citing, Location, Naming, instructed
from slackwater.wire.pages import texts_of

BYTES_PER_TOKEN: Final = 4
BYTES_PER_TOKEN_MAX: Final = 2 * BYTES_PER_TOKEN
"""No text has tokens as long as this on average: a prompt that is too long by this measure surely is."""
IMAGES_MAX, IMAGES_MAX_SHORT_CONTEXT, SHORT_CONTEXT_TOKENS = 600, 100, 200_000  # contract §12
MANY_IMAGES, MANY_IMAGES_PIXELS_MAX = 20, 2_000  # contract §12
IMAGE_TOKENS: Final = 1_568  # contract §12: at most
_LOCATIONS: Final[dict[str, Location]] = {"text": "char_location", "content": "content_block_location"}


def put_together(
    params: Mapping[str, Any], found: Sequence[Carrier], ready: Mapping[int, Ready], *, cites: bool
) -> tuple[dict[str, Any], Citing | Naming | None]:
    """Return the body to send and, where answers are to cite, what to do with them; `cites`: the backend does it.

    `ready` names blocks by `id`; what is not replaced is shared with the old body.
    """
    cited = not cites and any(carrier.cited for carrier in found)
    new: dict[int, list[Block]] = {}
    for carrier in found:
        block = carrier.block
        if (one := ready.get(id(block))) is not None:
            block = {**block, "source": one.source}
        if cited and "citations" in block:
            block = {key: value for key, value in block.items() if key != "citations"}
        if block is not carrier.block:
            new[id(carrier.block)] = [block]
    filled = replaced(params, new) if new else dict(params)
    if not cited:
        file_ids = tuple(carrier.file_id for carrier in found if carrier.kind == "document")
        named = any(file_ids) and any(carrier.cited for carrier in found)
        return filled, Naming(file_ids=file_ids) if named else None
    return instructed(filled), Citing(sources=tuple(_citable(found, ready)))


def image_pixels_max(found: Sequence[Carrier], max_input_tokens: int | None) -> int:
    """Return how long an image's side may be, which depends on how many there are; refuse too many (contract §12)."""
    images = [carrier for carrier in found if carrier.kind == "image"]
    short = max_input_tokens is not None and max_input_tokens <= SHORT_CONTEXT_TOKENS
    limit = IMAGES_MAX_SHORT_CONTEXT if short else IMAGES_MAX
    if len(images) > limit:
        raise InvalidRequestError(f"{images[limit].path}: {len(images)} images in a request that may have {limit}")
    return IMAGE_PIXELS_MAX if len(images) <= MANY_IMAGES else MANY_IMAGES_PIXELS_MAX


def check_length(found: Sequence[Carrier], ready: Mapping[int, Ready], max_input_tokens: int | None) -> None:
    """Refuse documents that are surely longer than the model's context (contract §2.3)."""
    size_bytes = _text_bytes(found, ready)
    if max_input_tokens is not None and size_bytes // BYTES_PER_TOKEN_MAX > max_input_tokens:
        tokens = size_bytes // BYTES_PER_TOKEN
        raise InvalidRequestError(f"prompt is too long: {tokens} tokens > {max_input_tokens} maximum")


def _text_bytes(found: Sequence[Carrier], ready: Mapping[int, Ready]) -> int:
    """Return how many bytes of text the documents have, as far as that is known."""
    total = 0
    for carrier in found:
        one = ready.get(id(carrier.block))
        if one is not None:
            total += one.text_bytes
        elif carrier.kind == "document":
            total += sum(map(len, texts_of(carrier.source)))
    return total


def added_tokens(found: Sequence[Carrier], ready: Mapping[int, Ready]) -> int:
    """Return an estimate of how many tokens more the input has than its body looks like; it may be less than none."""
    text = sum(one.text_bytes for one in ready.values())
    encoded = sum(len(carrier.encoded) for carrier in found)
    images = sum(carrier.kind == "image" for carrier in found)
    return (text - encoded) // BYTES_PER_TOKEN + images * IMAGE_TOKENS


def _citable(found: Sequence[Carrier], ready: Mapping[int, Ready]) -> Iterator[Citable]:
    """Yield what may be cited; documents and search results are counted apart, cited or not."""
    documents, results = count(), count()
    for carrier in found:
        if carrier.kind == "search_result":
            one = _result(carrier.block, next(results))
        elif carrier.kind == "document":
            one = _document(carrier, next(documents), ready.get(id(carrier.block)))
        else:
            continue
        if carrier.cited:
            yield one


def _result(block: Block, index: int) -> Citable:
    return Citable(
        kind="search_result_location",
        index=index,
        title=block["title"],
        parts=tuple(part["text"] for part in block["content"]),
        source=block["source"],
    )


def _document(carrier: Carrier, index: int, ready: Ready | None) -> Citable:
    source = carrier.source
    kind: Location = _LOCATIONS.get(source["type"], "char_location")
    if ready is not None:
        kind = "page_location" if ready.pages else "char_location"
    return Citable(
        kind=kind,
        index=index,
        title=carrier.block.get("title"),
        parts=ready.parts if ready is not None else tuple(texts_of(source)),
        file_id=source.get("file_id"),
    )
