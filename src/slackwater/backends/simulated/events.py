"""Cuts a finished Message into the events of the Messages stream (contract §7.1)."""

from collections.abc import Iterator

import msgspec

from slackwater.backends.simulated.prompt import Json, tokens_in

_PIECE_CHARACTERS = 32


def events_of(message: Json) -> Iterator[tuple[Json, int]]:
    """Yield each event, with the output tokens that have to be decoded before it."""
    usage = message["usage"]
    start = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    start["usage"] = {**usage, "output_tokens": min(1, usage["output_tokens"])}
    yield {"type": "message_start", "message": start}, 0
    for index, block in enumerate(message["content"]):
        yield from _block_events(index, block)
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": usage["output_tokens"]}}, 0
    yield {"type": "message_stop"}, 0


def _block_events(index: int, block: Json) -> Iterator[tuple[Json, int]]:
    if block["type"] == "text":
        start: Json = {"type": "text", "text": ""}
        deltas = [({"type": "text_delta", "text": piece}, piece) for piece in _pieces(block["text"])]
    elif block["type"] == "thinking":
        start = {"type": "thinking", "thinking": "", "signature": ""}
        deltas = [({"type": "thinking_delta", "thinking": piece}, piece) for piece in _pieces(block["thinking"])]
        deltas.append(({"type": "signature_delta", "signature": block["signature"]}, ""))
    else:
        start = {**block, "input": {}}
        partial = msgspec.json.encode(block["input"]).decode()
        deltas = [({"type": "input_json_delta", "partial_json": piece}, piece) for piece in _pieces(partial)]
    yield {"type": "content_block_start", "index": index, "content_block": start}, 0
    for delta, piece in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}, tokens_in(len(piece.encode()))
    yield {"type": "content_block_stop", "index": index}, 0


def _pieces(text: str) -> list[str]:
    return [text[start : start + _PIECE_CHARACTERS] for start in range(0, len(text), _PIECE_CHARACTERS)]
