"""Text that spells a control token, broken up: the server would read it as the token, and its author could forge turns.

A zero-width joiner after the first character is the smallest change that no tokenizer overlooks and no reader sees.
"""

import re
from functools import lru_cache
from typing import Any, Literal

ControlTokens = tuple[str, ...] | Literal["usual"]

_JOINER = "\u200d"
_LENGTH_MIN = 3
"""A shorter control token would be part of ordinary text."""
_USUAL = re.compile(
    r"<(?=\|[^|<>\s]{1,64}\|?>|[a-z_]{1,32}\|>"  # ChatML, Llama 3, Phi, gpt-oss; Gemma 4 with one bar
    r"|\uff5c[^\uff5c<>]{1,64}\uff5c>"  # DeepSeek, with wide bars
    r"|/?(?:s|bos|eos|unk|pad|start_of_turn|end_of_turn|start_of_image|end_of_image|end_of_utterance)>"
    r"|__media\w*>)"  # where llama.cpp puts an image
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|IMG|THINK)\])"
)
"""The first character of what is a control token in one model or another."""


def broken_up(value: Any, tokens: ControlTokens) -> Any:  # noqa: ANN401  # JSON is any value
    """Return JSON with every control token in its texts broken up; addresses of images stay as they are."""
    pattern = _pattern(tokens)
    return value if pattern is None else _walk(value, pattern)


@lru_cache(maxsize=32)
def _pattern(tokens: ControlTokens) -> re.Pattern[str] | None:
    if tokens == "usual":
        return _USUAL
    spelled = sorted((token for token in tokens if len(token) >= _LENGTH_MIN), key=len, reverse=True)
    if not spelled:
        return None
    media = r"<(?=__media\w*>)"
    return re.compile("|".join([media, *(f"{re.escape(token[0])}(?={re.escape(token[1:])})" for token in spelled)]))


def _walk(value: Any, pattern: re.Pattern[str]) -> Any:  # noqa: ANN401
    match value:
        case str():
            return pattern.sub(_joined, value)
        case list():
            return [_walk(item, pattern) for item in value]
        case dict():
            return {
                pattern.sub(_joined, key): item if key == "image_url" else _walk(item, pattern)
                for key, item in value.items()
            }
        case _:
            return value


def _joined(match: re.Match[str]) -> str:
    return match.group() + _JOINER
