"""Tokens of a Messages body counted here, by a model's own `tokenizer.json`, where its backend has no count.

What is counted is the text that the model reads. What its template puts around messages, and how it sees images, is in
no tokenizer: both are added as what is usual.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from slackwater.wire.filling import IMAGE_TOKENS
from slackwater.wire.words import images, texts

MESSAGE_TOKENS: Final = 4
"""Common templates put about so many around a message: its start, its role and its end."""
REASON_LENGTH_MAX: Final = 200


def tokenizer_of(path: Path) -> Callable[[Mapping[str, Any]], int]:
    """Load a tokenizer; what is returned counts, and belongs into a thread. Raises ValueError, in words."""
    try:
        from tokenizers import Tokenizer  # noqa: PLC0415  # an extra, and nobody else pays for its import
    except ImportError as error:
        message = f"{path}: counting with a tokenizer takes the extra: pip install 'slackwater[tokenizers]' ({error})"
        raise ValueError(message) from error
    try:
        tokenizer = Tokenizer.from_str(path.read_text("utf-8"))
    except Exception as error:  # the package raises nothing more exact
        reason = " ".join(str(error).split())[:REASON_LENGTH_MAX]
        message = f"{path} cannot be used as a tokenizer; a tokenizer.json of Hugging Face is expected ({reason})"
        raise ValueError(message) from error
    # Files carry what their model was trained with; a count is of the whole text.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return partial(_count, tokenizer)


def _count(tokenizer: Any, params: Mapping[str, Any]) -> int:  # noqa: ANN401  # the package has no types
    encoded = tokenizer.encode_batch(list(texts(params)), add_special_tokens=False)
    around = MESSAGE_TOKENS * (len(params["messages"]) + bool(params.get("system")))
    return sum(map(len, encoded)) + around + IMAGE_TOKENS * images(params)
