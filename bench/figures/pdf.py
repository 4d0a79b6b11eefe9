"""PDF pages per second: text alone, and with pictures of the pages, through the process that reads them."""

import asyncio
import importlib.util
import io
import time
from pathlib import Path
from statistics import median
from typing import Any

import pypdfium2
from context import Context, Row

from slackwater.clock import SystemClock
from slackwater.documents import Documents

PAGES = 120
LINES = 40
LINE = "모든 국민은 인간으로서의 존엄과 가치를 가진다. Every page is full of text."
SIDE_PIXELS = 1568


def measure(context: Context) -> list[Row]:
    """Return the rows of this figure."""
    path = context.directory / "pages.pdf"
    path.write_bytes(text_pdf([f"{number}\n" + "\n".join([LINE] * LINES) for number in range(PAGES)]))
    rows = []
    for name, images in (("PDF to text", False), ("PDF to text and pictures", True)):
        ours = asyncio.run(_ours(path, context.scale.repeats, images=images))
        theirs = median(_straight(path, images=images) for _ in range(context.scale.repeats))
        rows.append(
            Row(
                figure=f"{name}, {PAGES} pages",
                ours=PAGES / ours,
                unit="pages/s",
                yardstick=PAGES / theirs,
                better="higher",
                meaning="one reading process with its limits, against pypdfium2 called straight from a program",
            )
        )
    return rows


async def _ours(path: Path, repeats: int, *, images: bool) -> float:
    documents = Documents(clock=SystemClock())
    try:
        await documents.read_pdf(path, images=False)  # the process starts
        taken = []
        for _ in range(repeats):
            started = time.perf_counter()
            pdf = await documents.read_pdf(path, images=images)
            taken.append(time.perf_counter() - started)
            if len(pdf.pages) != PAGES or not all(page.text for page in pdf.pages):
                raise RuntimeError("not every page was read")
        return median(taken)
    finally:
        await documents.close()


def _straight(path: Path, *, images: bool) -> float:
    started = time.perf_counter()
    pdf = pypdfium2.PdfDocument(path)
    for page in pdf:
        page.get_textpage().get_text_range()
        if images:
            picture = page.render(scale=SIDE_PIXELS / max(page.get_size()))
            picture.to_pil().save(io.BytesIO(), "JPEG", quality=80)
    pdf.close()
    return time.perf_counter() - started


def text_pdf(pages: list[str]) -> bytes:
    """Make it as the tests do."""
    place = Path(__file__).parents[2] / "tests" / "support" / "pdf.py"
    spec = importlib.util.spec_from_file_location("support_pdf", place)
    assert spec is not None  # noqa: S101  # the file is part of this checkout
    assert spec.loader is not None  # noqa: S101  # likewise
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: bytes = module.text_pdf(pages)
    return made
