"""Language models and image projectors with random weights, in GGUF, made in a moment: the real engine loads them.

They say nothing sensible, which is all that a test of translation, limits, cancelling and crashes asks of a model. The
vocabulary is byte-level BPE with a few merges, turns are ChatML, tools are called as Hermes models do.
"""

import random
import struct
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

WIDTH: Final = 64
LAYERS: Final = 2
HEADS: Final = 4
HIDDEN: Final = 128

CONTROL: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""The control tokens, the last of them ends a turn."""

CHAT_TEMPLATE: Final = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- 'You may call these functions:\\n<tools>' }}
    {%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}
    {{- '\\n</tools>\\nA call looks like this:\\n' }}
    {{- '<tool_call>\\n{"name": <name>, "arguments": <object>}\\n</tool_call>' }}
    {{- '<|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- elif message.role == 'assistant' %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if message.content %}{{- message.content }}{%- endif %}
        {%- if message.tool_calls %}
            {%- for call in message.tool_calls %}
                {%- if message.content or not loop.first %}{{- '\\n' }}{%- endif %}
                {{- '<tool_call>\\n{"name": "' }}{{- call.function.name }}{{- '", "arguments": ' }}
                {{- call.function.arguments | tojson }}{{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""
"""ChatML with tools: what most small open models bring along."""

_ALIGNMENT: Final = 32
_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4
_F32: Final = 0
_MERGES: Final = ["h e", "i n", "e r", "a n", "r e", "o n", "a t", "e n", "t h", "t he", "Ġ the", "Ġ a", "Ġ s", "Ġ t"]
"""What is put together to words of the vocabulary, in this order; Ġ is a space."""


@dataclass(frozen=True, kw_only=True)
class U32:
    """A 32-bit count among the values of a header, where a plain `int` is signed."""

    value: int


Value = str | bool | int | float | U32 | list[str] | list[int] | list[float]
"""What a header may say; a list has one kind of values."""
Tensor = tuple[tuple[int, ...], "array[float]"]
"""The shape, the fastest dimension first, and the numbers."""


def tiny_model(
    path: Path,
    *,
    seed: int = 0,
    context_length: int = 2048,
    chat_template: str = CHAT_TEMPLATE,
    architecture: str = "llama",
    says: Sequence[str | bytes] = (),
) -> Path:
    """Write a model of about 110,000 random weights (half a megabyte) and return its path.

    At temperature 0 it writes printable ASCII and hardly ever ends by itself. Equal seeds give equal files.

    With `says` it is a parrot instead: every word of the list is a token of its own (every one of its bytes, where it
    is given as bytes) that the one before it calls for, the first after a line break, and the turn ends after the last.
    No token may be said twice. Where a grammar forbids what it would say, the rest is chance.
    """
    chance = random.Random(seed)  # noqa: S311  # weights, not secrets
    known = [*_byte_words(), *(merge.replace(" ", "") for merge in _MERGES)]
    words = [word for word in says if isinstance(word, str) and word not in known]
    tokens = [*known, *words, *CONTROL]
    kinds = dict.fromkeys(words, _USER_DEFINED) | dict.fromkeys(CONTROL, _CONTROL)
    header: dict[str, Value] = {
        "general.architecture": architecture,
        "general.name": f"tiny-random-{seed}",
        f"{architecture}.context_length": U32(value=context_length),
        f"{architecture}.embedding_length": U32(value=WIDTH),
        f"{architecture}.block_count": U32(value=LAYERS),
        f"{architecture}.feed_forward_length": U32(value=HIDDEN),
        f"{architecture}.attention.head_count": U32(value=HEADS),
        f"{architecture}.attention.head_count_kv": U32(value=HEADS),
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{architecture}.rope.dimension_count": U32(value=WIDTH // HEADS),
        f"{architecture}.vocab_size": U32(value=len(tokens)),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [kinds.get(token, _NORMAL) for token in tokens],
        "tokenizer.ggml.merges": _MERGES,
        "tokenizer.ggml.eos_token_id": U32(value=len(tokens) - 1),
        "tokenizer.ggml.padding_token_id": U32(value=len(tokens) - len(CONTROL)),
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": chat_template,
    }
    tensors = _model_tensors(chance, tokens)
    if says:
        _teach(tensors, tokens, says)
    _write(path, header, tensors)
    return path


def tiny_projector(path: Path, *, seed: int = 0, image_size: int = 32) -> Path:
    """Write a random image encoder and projector for `tiny_model`: 16 tokens for every image; return its path."""
    chance = random.Random(seed)  # noqa: S311  # weights, not secrets
    patch, width, hidden = 8, 32, 64
    header: dict[str, Value] = {
        "general.architecture": "clip",
        "clip.has_vision_encoder": True,
        "clip.projector_type": "mlp",
        "clip.use_gelu": True,
        "clip.vision.image_size": U32(value=image_size),
        "clip.vision.patch_size": U32(value=patch),
        "clip.vision.embedding_length": U32(value=width),
        "clip.vision.feed_forward_length": U32(value=hidden),
        "clip.vision.projection_dim": U32(value=WIDTH),
        "clip.vision.block_count": U32(value=2),
        "clip.vision.attention.head_count": U32(value=2),
        "clip.vision.attention.layer_norm_epsilon": 1e-5,
        "clip.vision.image_mean": [0.5, 0.5, 0.5],
        "clip.vision.image_std": [0.5, 0.5, 0.5],
    }
    shapes: dict[str, tuple[int, ...]] = {
        "v.patch_embd.weight": (patch, patch, 3, width),
        "v.position_embd.weight": (width, (image_size // patch) ** 2 + 1),
        "v.class_embd": (width,),
        "v.pre_ln.weight": (width,),
        "v.pre_ln.bias": (width,),
        "mm.0.weight": (width, WIDTH),
        "mm.0.bias": (WIDTH,),
        "mm.2.weight": (WIDTH, WIDTH),
        "mm.2.bias": (WIDTH,),
    }
    for block in range(2):
        at = f"v.blk.{block}"
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            shapes |= {f"{at}.{name}.weight": (width, width), f"{at}.{name}.bias": (width,)}
        for name in ("ln1", "ln2"):
            shapes |= {f"{at}.{name}.weight": (width,), f"{at}.{name}.bias": (width,)}
        shapes |= {f"{at}.ffn_up.weight": (width, hidden), f"{at}.ffn_up.bias": (hidden,)}
        shapes |= {f"{at}.ffn_down.weight": (hidden, width), f"{at}.ffn_down.bias": (width,)}
    _write(path, header, {name: (shape, _random(chance, shape)) for name, shape in shapes.items()})
    return path


def _model_tensors(chance: random.Random, tokens: list[str]) -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (WIDTH, len(tokens))}
    for layer in range(LAYERS):
        at = f"blk.{layer}"
        shapes |= {f"{at}.{name}.weight": (WIDTH, WIDTH) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
        shapes |= {f"{at}.{name}.weight": (WIDTH, HIDDEN) for name in ("ffn_gate", "ffn_up")}
        shapes |= {f"{at}.ffn_down.weight": (HIDDEN, WIDTH)}
    tensors = {name: (shape, _random(chance, shape)) for name, shape in shapes.items()}
    norms = ["output_norm.weight", *(f"blk.{n}.{name}_norm.weight" for n in range(LAYERS) for name in ("attn", "ffn"))]
    tensors |= {name: ((WIDTH,), array("f", [1.0] * WIDTH)) for name in norms}
    output = _random(chance, (WIDTH, len(tokens)), spread=0.5)
    for index, token in enumerate(tokens):
        if not (token.isascii() and token not in CONTROL):
            output[index * WIDTH : (index + 1) * WIDTH] = array("f", bytes(4 * WIDTH))
    tensors["output.weight"] = ((WIDTH, len(tokens)), output)
    return tensors


def _teach(tensors: dict[str, Tensor], tokens: list[str], says: Sequence[str | bytes]) -> None:
    """Make the layers pass every token's embedding on as it is, and each token's output the next one's call."""
    letters = _byte_words()
    script = [letters[ord("\n")]]
    for word in says:
        script += [word] if isinstance(word, str) else [letters[byte] for byte in word]
    script.append(CONTROL[-1])
    assert len(set(script)) == len(script), "a parrot says no token twice"
    for name, (_, numbers) in tensors.items():
        if name.endswith(("attn_output.weight", "ffn_down.weight")):
            numbers[:] = array("f", bytes(4 * len(numbers)))
    embedding, output = tensors["token_embd.weight"][1], tensors["output.weight"][1]
    for token, following in pairwise(script):
        at, to = tokens.index(token) * WIDTH, tokens.index(following) * WIDTH
        output[to : to + WIDTH] = array("f", (10 * number for number in embedding[at : at + WIDTH]))


def _random(chance: random.Random, shape: Iterable[int], *, spread: float = 0.1) -> "array[float]":
    count = 1
    for size in shape:
        count *= size
    return array("f", (chance.uniform(-spread, spread) for _ in range(count)))


def _byte_words() -> list[str]:
    """Return GPT-2's letter for every byte: itself where it can be seen, else one from beyond the bytes."""
    seen = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in seen]
    return [chr(byte) if byte in seen else chr(256 + hidden.index(byte)) for byte in range(256)]


def _write(path: Path, header: Mapping[str, Value], tensors: Mapping[str, Tensor]) -> None:
    out = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(header)))
    for key, value in header.items():
        out += _text(key) + _value(value)
    data = bytearray()
    for name, (shape, numbers) in tensors.items():
        out += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, _F32, len(data))
        data += numbers.tobytes()
        data += bytes(-len(data) % _ALIGNMENT)
    out += bytes(-len(out) % _ALIGNMENT)
    path.write_bytes(out + data)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Value) -> bytes:
    if isinstance(value, list):
        kinds = [_scalar(item) for item in value]
        return struct.pack("<IIQ", 9, kinds[0][0], len(kinds)) + b"".join(data for _, data in kinds)
    kind, data = _scalar(value)
    return struct.pack("<I", kind) + data


def _scalar(value: str | bool | float | U32) -> tuple[int, bytes]:
    match value:
        case U32():
            return 4, struct.pack("<I", value.value)
        case bool():
            return 7, struct.pack("<?", value)
        case int():
            return 5, struct.pack("<i", value)
        case float():
            return 6, struct.pack("<f", value)
        case _:
            return 8, _text(value)
