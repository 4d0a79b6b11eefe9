"""The requests that are sent: texts of made-up sentences, about 2.4 kB each, the same in every run."""

import json
import random
from typing import Any

REQUEST_BYTES = 2_400
POOL_WORDS = 200_000
"""Texts are cut out of one long text: drawing every word anew would take longer than what is measured."""
MODEL = "claude-haiku-4-5-20251001"
SYSTEM = (
    "You read a customer's message and answer with one word that names the department it belongs to: "
    "billing, shipping, returns, accounts or other."
)
_SENTENCE = (
    "the parcel invoice has not arrived yet although my account says that it was paid for on Monday and I would like "
    "to know where it went because another order came with a broken handle which nobody wants to take back so please "
    "answer soon or tell me whom else I could ask about refunds delivery addresses vouchers and passwords"
)


def params(requests: int) -> list[dict[str, Any]]:
    """Return the params of so many different requests."""
    dice = random.Random(7)  # noqa: S311  # texts, not secrets
    pool = " ".join(dice.choices(_SENTENCE.split(), k=POOL_WORDS))
    length = REQUEST_BYTES - len(_encoded(_request("bench-0000000", _params("")))) - 1
    starts = (dice.randrange(len(pool) - length) for _ in range(requests))
    return [
        _params(f"Ticket {number:07}: {pool[start : start + length]}"[:length]) for number, start in enumerate(starts)
    ]


def batch_body(requests: int) -> bytes:
    """Return the body of a create call."""
    entries = [_request(f"bench-{number:07}", body) for number, body in enumerate(params(requests))]
    return _encoded({"requests": entries})


def params_lines(requests: int) -> bytes:
    """Return the same params, one a line."""
    return b"".join(_encoded(body) + b"\n" for body in params(requests))


def _params(text: str) -> dict[str, Any]:
    return {
        "model": MODEL,
        "max_tokens": 16,
        "system": SYSTEM,
        "messages": [{"role": "user", "content": text}],
    }


def _request(custom_id: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"custom_id": custom_id, "params": body}


def _encoded(value: object) -> bytes:
    """Write JSON as the official SDKs do: no blanks, nothing escaped that need not be."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
