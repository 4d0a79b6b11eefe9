"""PDFs for tests, written by hand: any Unicode text in a font that is not embedded, and what breaks a reader."""

import zlib
from collections.abc import Iterable, Sequence
from io import BytesIO
from random import Random
from typing import Final

from PIL import Image

_BITS: Final = 10
LETTER: Final = (612.0, 792.0)
_TO_UNICODE_HEAD: Final = """\
/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /T def /CMapType 2 def
1 begincodespacerange <0000> <FFFF> endcodespacerange
"""


class PDFWriter:
    """Collects objects; numbers are given in order, from 1, and may be taken before the object is there."""

    def __init__(self) -> None:
        self._objects: dict[int, bytes] = {}
        self._next = 1

    def take(self) -> int:
        """Return a number for an object that comes later."""
        self._next += 1
        return self._next - 1

    def add(self, body: str | bytes, number: int | None = None) -> int:
        """Add an object; return its number."""
        number = self.take() if number is None else number
        self._objects[number] = body.encode("latin-1") if isinstance(body, str) else body
        return number

    def stream(self, data: bytes, entries: str = "", *, compress: bool = False) -> int:
        """Add a stream."""
        if compress:
            data, entries = zlib.compress(data), f"/Filter /FlateDecode {entries}"
        head = f"<< /Length {len(data)} {entries} >>\nstream\n".encode("latin-1")
        return self.add(head + data + b"\nendstream")

    def finish(self, root: int, trailer: str = "") -> bytes:
        """Return the file."""
        out, offsets = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"), {}
        for number, body in sorted(self._objects.items()):
            offsets[number] = len(out)
            out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
        start = len(out)
        out += b"xref\n0 %d\n0000000000 65535 f \n" % self._next
        for number in range(1, self._next):
            out += b"%010d 00000 n \n" % offsets.get(number, 0)
        out += b"trailer\n<< /Size %d /Root %d 0 R %b >>\n" % (self._next, root, trailer.encode("latin-1"))
        return bytes(out + b"startxref\n%d\n%%%%EOF\n" % start)


def text_pdf(
    pages: Sequence[str],
    *,
    size: tuple[float, float] = LETTER,
    trailer: str = "",
    single: bool = False,
    numbered: bool = False,
) -> bytes:
    """Return a PDF with these texts, a page each, lines as they are; with `single` each character is set by itself.

    With `numbered` each page shows its number, from 1, so that `number_in` finds it in a picture of the page.
    """
    writer = PDFWriter()
    codes = {character: code for code, character in enumerate(sorted(set("".join(pages)) - {"\n"}), 1)}
    font = _font(writer, codes)
    resources = f"<< /Font << /F {font} 0 R >> >>"
    contents = [
        writer.stream(
            _content(page, codes, size[1], "> Tj <" if single else "") + (_squares(number, size) if numbered else b""),
            compress=True,
        )
        for number, page in enumerate(pages, 1)
    ]
    return _book(writer, [f"/Contents {content} 0 R /Resources {resources}" for content in contents], size, trailer)


def number_in(picture: bytes) -> int:
    """Return the number of a page from its picture."""
    with Image.open(BytesIO(picture)) as image:
        width, height = image.size
        across = [int((place + 0.5) * width / _BITS) for place in range(_BITS)]
        dark = [image.convert("L").getpixel((x, height - height // 16)) for x in across]
    return sum(2**place for place, level in enumerate(dark) if isinstance(level, int) and level < 128)


def ballasted(pdf: bytes, size_bytes: int) -> bytes:
    """Return a PDF with so many bytes more in it, on no page, as pictures nobody looks at would be."""
    ballast = b"9999 0 obj\n<< /Length %d >>\nstream\n%b\nendstream\nendobj\n"
    ballast %= (size_bytes, Random(size_bytes).randbytes(size_bytes))  # noqa: S311  # hides nothing
    table, end = pdf.rindex(b"xref\n0 "), pdf.rindex(b"startxref\n")
    return b"%b%b%bstartxref\n%d\n%%%%EOF\n" % (pdf[:table], ballast, pdf[table:end], table + len(ballast))


def pages_pdf(entries: Iterable[str], *, size: tuple[float, float] = LETTER, trailer: str = "") -> bytes:
    """Return a PDF whose page objects have these entries."""
    return _book(PDFWriter(), list(entries), size, trailer)


def content_pdf(data: bytes, entries: str, *, pages: int = 1) -> bytes:
    """Return a PDF whose pages have one content together, a stream with these bytes and entries."""
    writer = PDFWriter()
    content = writer.stream(data, entries)
    return _book(writer, [f"/Contents {content} 0 R"] * pages, LETTER, "")


def bomb_pdf(megabytes: int, what: bytes = b" ", *, pages: int = 1) -> bytes:
    """Return a small PDF whose pages' one content is this long when it is decompressed."""
    return content_pdf(deflated(megabytes, what), "/Filter /FlateDecode", pages=pages)


def deflated(megabytes: int, what: bytes = b" ") -> bytes:
    """Return so many megabytes of one repeated byte string, compressed, without compressing all of it."""
    packer = zlib.compressobj(9)
    first = packer.compress(what * (2**20 // len(what))) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(what * (2**20 // len(what))) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + again * (megabytes - 1) + packer.flush()


def encrypted_pdf() -> bytes:
    """Return a PDF that nobody opens without its password."""
    locked = f"<< /Filter /Standard /V 1 /R 2 /O <{'41' * 32}> /U <{'42' * 32}> /P -44 >>"
    return text_pdf(["secret"], trailer=f"/Encrypt {locked} /ID [<00> <00>]")


def deep_pdf(levels: int) -> bytes:
    """Return a PDF with one page at the end of a long chain of page tree nodes."""
    writer = PDFWriter()
    root, node = writer.take(), writer.take()
    writer.add(f"<< /Type /Catalog /Pages {node} 0 R >>", root)
    parent = ""
    for _ in range(levels):
        below = writer.take()
        writer.add(f"<< /Type /Pages /Count 1 /Kids [{below} 0 R] {parent} >>", node)
        parent, node = f"/Parent {node} 0 R", below
    writer.add(f"<< /Type /Page {parent} /MediaBox [0 0 612 792] >>", node)
    return writer.finish(root)


def _book(writer: PDFWriter, entries: list[str], size: tuple[float, float], trailer: str) -> bytes:
    root, tree = writer.take(), writer.take()
    writer.add(f"<< /Type /Catalog /Pages {tree} 0 R >>", root)
    width, height = size
    kids = [
        writer.add(f"<< /Type /Page /Parent {tree} 0 R /MediaBox [0 0 {width:.10g} {height:.10g}] {entry} >>")
        for entry in entries
    ]
    listed = " ".join(f"{kid} 0 R" for kid in kids)
    writer.add(f"<< /Type /Pages /Count {len(kids)} /Kids [{listed}] >>", tree)
    return writer.finish(root, trailer)


def _font(writer: PDFWriter, codes: dict[str, int]) -> int:
    pairs = [f"<{code:04X}> <{character.encode('utf-16-be').hex()}>" for character, code in codes.items()]
    blocks = [pairs[at : at + 100] for at in range(0, len(pairs), 100)]
    listed = "".join(f"{len(block)} beginbfchar\n{chr(10).join(block)}\nendbfchar\n" for block in blocks)
    cmap = f"{_TO_UNICODE_HEAD}{listed}endcmap CMapName currentdict /CMap defineresource pop end end"
    to_unicode = writer.stream(cmap.encode(), compress=True)
    descriptor = writer.add(
        "<< /Type /FontDescriptor /FontName /Test /Flags 4 /FontBBox [0 -200 1000 900] /ItalicAngle 0"
        " /Ascent 900 /Descent -200 /CapHeight 700 /StemV 80 >>"
    )
    descendant = writer.add(
        "<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Test /DW 500"
        " /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >>"
        f" /FontDescriptor {descriptor} 0 R >>"
    )
    return writer.add(
        "<< /Type /Font /Subtype /Type0 /BaseFont /Test /Encoding /Identity-H"
        f" /DescendantFonts [{descendant} 0 R] /ToUnicode {to_unicode} 0 R >>"
    )


def _content(page: str, codes: dict[str, int], height: float, between: str) -> bytes:
    lines = [between.join(f"{codes[character]:04X}" for character in line) for line in page.split("\n")]
    shown = " T* ".join(f"<{line}> Tj" for line in lines)
    return f"BT /F 10 Tf 12 TL 36 {height - 48:.10g} Td {shown} ET".encode()


def _squares(number: int, size: tuple[float, float]) -> bytes:
    """Draw a number along the lower edge: a black square for each binary digit that is one."""
    width, height = size
    side, edge = width / _BITS, height / 8
    squares = [f"{place * side:.10g} 0 {side:.10g} {edge:.10g} re f" for place in range(_BITS) if number >> place & 1]
    return f" 0 g {' '.join(squares)}".encode()
