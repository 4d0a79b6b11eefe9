"""PDFs and images as blocks: text with its pages marked, page images, and base64."""

import binascii
from typing import Any

from slackwater.domain.document import PDF

Block = dict[str, Any]

ENCODED_IN_ONE_GO_BYTES = 3 * 2**20
"""Base64 is made in pieces, so that other threads get their turn in between; a multiple of 3 pads nothing."""


def encoded(data: bytes) -> str:
    """Return base64. Not for the event loop where there is much of it."""
    if len(data) <= ENCODED_IN_ONE_GO_BYTES:
        return binascii.b2a_base64(data, newline=False).decode("ascii")
    step = ENCODED_IN_ONE_GO_BYTES
    return "".join(encoded(data[at : at + step]) for at in range(0, len(data), step))


def decoded(text: str) -> bytes:
    """Return what base64 stands for. Raises ValueError."""
    step = ENCODED_IN_ONE_GO_BYTES // 3 * 4
    if len(text) <= step:
        return binascii.a2b_base64(text, strict_mode=True)
    return b"".join(binascii.a2b_base64(text[at : at + step], strict_mode=True) for at in range(0, len(text), step))


def page_texts(pdf: PDF) -> tuple[str, ...]:
    """Return every page's text, the marks around it by which a model can name the page."""
    return tuple(f'<page number="{page.number}">\n{page.text}\n</page>' for page in pdf.pages)


def text_source(pdf: PDF) -> dict[str, Any]:
    """Return a PDF as the source of a text document."""
    return {"type": "text", "media_type": "text/plain", "data": "\n".join(page_texts(pdf))}


def drawn_source(pdf: PDF) -> dict[str, Any]:
    """Return a PDF as the source of a document of texts and page images, each image after its page's text."""
    content: list[Block] = []
    for page, text in zip(pdf.pages, page_texts(pdf), strict=True):
        content.append({"type": "text", "text": text})
        if page.image is not None:
            content.append(image_block(page.image, "image/jpeg"))
    return {"type": "content", "content": content}


def image_block(data: bytes, media_type: str) -> Block:
    """Return an image."""
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": encoded(data)}}


def texts_of(source: dict[str, Any]) -> list[str]:
    """Return the texts of a source that is made of text, one for each block; none of any other."""
    match source["type"]:
        case "text":
            return [source["data"]]
        case "content":
            content = source["content"]
            return [content] if isinstance(content, str) else [block.get("text", "") for block in content]
        case _:
            return []
