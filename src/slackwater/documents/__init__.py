"""What a backend that cannot read a document needs instead: a PDF's text, an image's size, a URL's bytes."""

from slackwater.documents.fetch import Fetcher
from slackwater.documents.images import look_at_image
from slackwater.documents.media_types import sniff
from slackwater.documents.pool import Documents
from slackwater.documents.text import read_text
from slackwater.domain.document import DocumentError

__all__ = ["DocumentError", "Documents", "Fetcher", "look_at_image", "read_text", "sniff"]
