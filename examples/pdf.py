"""Plain text as a PDF: pages of lines in Courier, a font that every reader brings, so that nothing needs embedding."""

import re
import zlib
from collections.abc import Sequence

LINES_PER_PAGE = 34
WIDTH, HEIGHT = 420, 595
"""A5, in points."""
MARGIN = 24
SIZE = 8
CHARACTER = 0.6 * SIZE
"""Every character of Courier is as wide."""
LEADING = 15

Page = Sequence[str]
"""Its lines, from the top; leading spaces are where a line begins."""


def pages_of(text: str) -> list[Page]:
    """Cut a text into pages."""
    lines = text.strip("\n").splitlines()
    return [lines[first : first + LINES_PER_PAGE] for first in range(0, len(lines), LINES_PER_PAGE)]


def pdf_of(pages: Sequence[Page]) -> bytes:
    """Write a file of these pages."""
    places = [4 + 2 * index for index in range(len(pages))]  # each page's content follows it
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%b] >>" % (len(pages), b" ".join(b"%d 0 R" % place for place in places)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier /Encoding /WinAnsiEncoding >>",
    ]
    for place, page in zip(places, pages, strict=True):
        content = zlib.compress(_drawn(page))
        objects += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Resources << /Font << /F 3 0 R >> >>"
            b" /Contents %d 0 R >>" % (WIDTH, HEIGHT, place + 1),
            b"<< /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream" % (len(content), content),
        ]
    return _file(objects)


def _drawn(page: Page) -> bytes:
    """Say how to draw a page: each line where it begins."""
    shown = []
    for number, line in enumerate(page, 1):
        text = line.strip()
        if text:
            left = MARGIN + CHARACTER * line.index(text)
            escaped = re.sub(rb"([\\()])", rb"\\\1", text.encode("cp1252", "replace"))
            shown.append(b"1 0 0 1 %.1f %d Tm (%b) Tj" % (left, HEIGHT - MARGIN - LEADING * number, escaped))
    return b"BT /F %d Tf\n%b\nET" % (SIZE, b"\n".join(shown))


def _file(objects: Sequence[bytes]) -> bytes:
    """Put the objects into a file, numbered from 1, and the table of where each one begins at its end."""
    out, table = bytearray(b"%PDF-1.4\n"), [b"0000000000 65535 f "]
    for number, body in enumerate(objects, 1):
        table.append(b"%010d 00000 n " % len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    end = b"startxref\n%d\n%%%%EOF\n" % len(out)
    return bytes(out + b"xref\n0 %d\n%b\n" % (len(table), b"\n".join(table))) + (
        b"trailer\n<< /Size %d /Root 1 0 R >>\n%b" % (len(table), end)
    )
