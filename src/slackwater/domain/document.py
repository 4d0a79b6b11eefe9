"""What a request's sources hold: a PDF's pages, an image's size, and the one way in which a source is not usable."""

from dataclasses import dataclass
from typing import Any, Literal

IMAGE_PIXELS_MAX = 8_000
"""The longest side of an image (contract §12)."""
IMAGE_BYTES_MAX = 10 * 2**20  # contract §12


class DocumentError(Exception):
    """A source cannot be read; the request that has it is to blame, and nobody else's is touched."""

    def __init__(
        self,
        reason: str,
        *,
        error_code: str | None = None,
        details: dict[str, object] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        """One sentence for the client, without a path: the JSON path stands before it."""
        self.error_code = error_code
        """For `error.details` (contract §2.2), where there is one."""
        self.details = details
        """What else belongs there."""
        self.retry_after_seconds = retry_after_seconds
        """It may be there again, after so long at least; None: it is as it is, and trying again changes nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PDFPage:
    """A page, as a backend that cannot read PDFs gets it."""

    number: int
    """From 1."""
    text: str
    """In reading order, lines ended by LF; empty for a scan."""
    image: bytes | None = None
    """JPEG, where it was asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PDF:
    """A PDF that was read to its end."""

    pages: tuple[PDFPage, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFacts:
    """What an image's header says."""

    media_type: str
    """By its first bytes: image/png, image/jpeg, image/gif or image/webp."""
    width: int
    height: int

    def check_size(self, side_pixels_max: int = IMAGE_PIXELS_MAX) -> None:
        """Raise DocumentError when a side is longer than this."""
        if max(self.width, self.height) > side_pixels_max:
            raise DocumentError(
                f"The image is {self.width:,} x {self.height:,} pixels; "
                f"at most {side_pixels_max:,} on either side are allowed",
                error_code="image_dimensions_too_large",
                details={"max_side_length_pixels": side_pixels_max},
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """What was found at a URL."""

    data: bytes
    media_type: str
    """By the first bytes where they say it, else what the server said."""
    charset: str | None = None
    """What the server said about text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """What a source is to become."""

    kind: Literal["image", "document"]
    native: bool
    """The backend reads PDFs."""
    drawn: bool
    """A PDF that it does not read comes with an image of every page."""
    pixels_max: int = IMAGE_PIXELS_MAX
    urgent: bool = False
    """Somebody waits for it in person."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """A source in the form in which it is sent."""

    source: dict[str, Any]
    """The wire's: base64, text or content."""
    size_bytes: int
    """About how much memory it takes."""
    parts: tuple[str, ...] = ()
    """Its text, or that of each page: what can be cited."""
    pages: bool = False
    """Whether the parts are pages."""
    text_bytes: int = 0
    """Of its text in UTF-8."""
    facts: ImageFacts | None = None
