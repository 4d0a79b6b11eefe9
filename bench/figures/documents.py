"""Documents: a batch of questions about one uploaded PDF, beside the same questions with its text in each of them."""

import json
import os
import time
from contextlib import closing
from pathlib import Path

from context import Context, Row, create, wait_until_ended
from memory import Peak
from processes import HEADERS, Program, answered, slackwater

from figures.pdf import text_pdf

REQUESTS, INLINE_REQUESTS = 1_000, 200
PAGES, LINES = 200, 40
LINE = "모든 국민은 인간으로서의 존엄과 가치를 가진다. Every page is full of text."
BALLAST_BYTES = 20 * 2**20
"""In the file, on no page: as pictures would be."""
CONFIG = """\
[[backends]]
name = "text"
protocol = "simulated"
latency_ms = 0
witness = "{witness}"
"""


def measure(context: Context) -> list[Row]:
    """Return the rows of this figure."""
    pages = [f"{number}\n" + "\n".join([LINE] * LINES) for number in range(PAGES)]
    text = "\n".join(f'<page number="{number}">\n{page}\n</page>' for number, page in enumerate(pages, 1))
    witness = context.directory / "documents" / "witness.jsonl"
    with slackwater(context.directory / "documents", CONFIG.format(witness=witness)) as server:
        file_id = _upload(server, _with_ballast(text_pdf(pages)))
        inline = _timed(server, {"type": "text", "media_type": "text/plain", "data": text}, INLINE_REQUESTS)
        with Peak(server.process.pid) as before:
            pass
        with Peak(server.process.pid) as peak:
            by_file = _timed(server, {"type": "file", "file_id": file_id}, REQUESTS)
    _check(witness)
    size = f"{BALLAST_BYTES / 1e6:,.0f} MB"
    return [
        Row(
            figure=f"a batch of {REQUESTS:,} requests over one PDF of {size}, time for one",
            ours=1e3 * by_file / REQUESTS,
            unit="ms",
            yardstick=1e3 * inline / INLINE_REQUESTS,
            meaning=f"the text of {PAGES} pages in every one; against batches whose requests bring it along",
        ),
        Row(
            figure="memory added by that batch",
            ours=(peak.resident_bytes - before.resident_bytes) / 1e6,
            unit="MB",
            meaning="resident, the process that reads PDFs included",
        ),
    ]


def _timed(server: Program, source: dict[str, str], count: int) -> float:
    """Return the seconds of a batch, from before connecting until its end is seen."""
    blocks = [{"type": "document", "source": source}, {"type": "text", "text": "What does it say?"}]
    params = {"model": "m", "max_tokens": 16, "messages": [{"role": "user", "content": blocks}]}
    requests = [{"custom_id": f"q{number}", "params": params} for number in range(count)]
    started = time.perf_counter()
    created = create(server, json.dumps({"requests": requests}, ensure_ascii=False).encode())
    batch = wait_until_ended(server, created.batch["id"])
    seconds = time.perf_counter() - started
    if batch["request_counts"]["succeeded"] != count:
        raise RuntimeError(f"not every request succeeded: {batch['request_counts']}")
    return seconds


def _check(witness: Path) -> None:
    """See that every request carried all of the text."""
    seen = [json.loads(line)["documents"] for line in witness.read_text("utf-8").splitlines()]
    if len(seen) != REQUESTS + INLINE_REQUESTS or any(notes != seen[0] for notes in seen):
        raise RuntimeError("not every request carried the document's text")


def _with_ballast(pdf: bytes) -> bytes:
    """Put an object that nothing refers to before the table at the PDF's end."""
    ballast = b"9999 0 obj\n<< /Length %d >>\nstream\n%b\nendstream\nendobj\n"
    ballast %= (BALLAST_BYTES, os.urandom(BALLAST_BYTES))
    table = pdf.rindex(b"xref\n0 ")
    end = pdf.rindex(b"startxref\n")
    return b"%b%b%bstartxref\n%d\n%%%%EOF\n" % (pdf[:table], ballast, pdf[table:end], table + len(ballast))


def _upload(server: Program, data: bytes) -> str:
    head = b'--bench\r\ncontent-disposition: form-data; name="file"; filename="b.pdf"\r\n'
    body = b"%bcontent-type: application/pdf\r\n\r\n%b\r\n--bench--\r\n" % (head, data)
    with closing(server.connect()) as connection:
        headers = HEADERS | {"content-type": "multipart/form-data; boundary=bench"}
        connection.request("POST", "/v1/files", body=body, headers=headers)
        return str(answered(connection.getresponse())["id"])
