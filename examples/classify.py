"""Classify many short texts at half price: one batch, polled until it ends, its results matched by `custom_id`.

    pip install anthropic
    export ANTHROPIC_BASE_URL=http://127.0.0.1:8321 ANTHROPIC_API_KEY=...
    python classify.py reviews.txt

One text per line in, one line `number <tab> answer <tab> text` out. This is an ordinary program for the official SDK:
it runs against slackwater because of the base URL alone.
"""

import sys
import time
from pathlib import Path

from anthropic import Anthropic

MODEL = "claude-haiku-4-5-20251001"
SYSTEM = "Reply with one word: positive, negative, neutral."
POLL_SECONDS = 1.0


def main() -> int:
    """Run it; the exit code is 1 when some texts got no answer."""
    texts = Path(sys.argv[1]).read_text("utf-8").splitlines()
    client = Anthropic()
    batch = client.messages.batches.create(
        requests=[
            {
                "custom_id": f"line-{number}",
                "params": {
                    "model": MODEL,
                    "max_tokens": 32,
                    "system": SYSTEM,
                    "messages": [{"role": "user", "content": text}],
                },
            }
            for number, text in enumerate(texts, 1)
        ]
    )
    print(f"{batch.id}: {len(texts)} requests accepted", file=sys.stderr)
    while batch.processing_status != "ended":
        time.sleep(POLL_SECONDS)
        batch = client.messages.batches.retrieve(batch.id)
    print(f"{batch.id}: {batch.request_counts.succeeded} succeeded", file=sys.stderr)

    # Results come in any order, so they are matched by name.
    results = {item.custom_id: item.result for item in client.messages.batches.results(batch.id)}
    unanswered = 0
    for number, text in enumerate(texts, 1):
        result = results[f"line-{number}"]
        if result.type == "succeeded":
            print(number, result.message.content[0].text, text, sep="\t")
        else:
            unanswered += 1
            print(number, result.type, text, sep="\t", file=sys.stderr)
    return 1 if unanswered else 0


if __name__ == "__main__":
    sys.exit(main())
