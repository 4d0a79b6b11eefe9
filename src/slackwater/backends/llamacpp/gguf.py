"""What a GGUF file says about itself, and why one cannot be used: known before any engine opens it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slackwater.backends.llamacpp.header import LIST_ITEMS_MAX, GGUFError, Header, file_bytes, read_header

__all__ = ["GGUF", "GGUFError", "read_gguf", "read_projector"]

_FILE_TYPES: Final[Mapping[int, str]] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE",
}  # fmt: skip

_ENCODERS: Final = frozenset(
    {
        *("bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "neo-bert", "modern-bert"),
        *("eurobert", "gemma-embedding", "t5encoder", "wavtokenizer-dec"),
    }
)
"""Architectures that turn text into vectors, or sound, and generate no text."""
_TYPES: Final[Mapping[str, str]] = {
    "mmproj": "is a projector (mmproj), not a language model: name it as `mmproj` beside the model it belongs to",
    "adapter": "is an adapter (LoRA), not a language model",
    "imatrix": "is an importance matrix, not a language model",
}
_WINDOW_PERIODS: Final[Mapping[str, int]] = {
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "cohere2": 4,
    "gemma4": 1,
}
"""Architectures of which llama.cpp keeps a window only in some layers. Where the file does not say in which, each last
of so many keeps everything. Of other architectures everything is kept, whatever their files say about a window."""
_PART: Final = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
_PARTS_MAX: Final = 1_000
_LAYERS_MAX: Final = 512
"""The engine ends itself at a model with more, or with none."""
_CONTEXT_MAX: Final = 2**31 - 1
"""Likewise: it counts tokens in 32 bits with a sign."""
_FLOAT16_BYTES: Final = 2
_FLOAT32_BYTES: Final = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class GGUF:
    """A model file's own words about itself."""

    path: Path
    """The file that is opened; of a split model the first part."""
    parts: tuple[Path, ...]
    """Every file of the model, the first one first."""
    size_bytes: int
    """Of all parts."""
    architecture: str
    """As llama.cpp calls it: `qwen3`, `llama`, …"""
    name: str
    """What its makers call it; the file's name when they did not say."""
    quantization: str
    """`Q4_K_M`, `F16`, …; `unknown` when the file does not say."""
    parameters: int
    """Weights of all parts."""
    context_length: int
    """Tokens the model was trained for; at least 1."""
    layers: int
    embedding_length: int
    kv_bytes_per_token: int
    """Memory that one token of one request takes in a cache of 16-bit floats, over all layers that keep every token."""
    window_tokens: int
    """How many tokens of a request the other layers look back; 0: there are none."""
    window_bytes_per_token: int
    """Memory that one token takes in those."""
    state_bytes_per_slot: int
    """Memory of a recurrent model's state for one request; 0 for a plain transformer."""
    vocabulary: int
    """Number of tokens."""
    control_tokens: tuple[str, ...]
    """Texts that the tokenizer takes for control tokens, `<|im_end|>` and its like."""
    chat_template: str | None
    """The Jinja text that turns messages into a prompt; None when there is none (a base model)."""


def read_gguf(path: Path) -> GGUF:
    """Read what a language model's file says; its other parts are checked too. Raises GGUFError."""
    header = read_header(path)
    _refuse_other_kinds(path, header)
    others = [(part, read_header(part)) for part in _other_parts(path, header)]
    architecture = header.text("general.architecture")
    layers = header.number(f"{architecture}.block_count")
    _refuse_absurd(path, header, architecture)
    window_tokens, windowed = _windows(header, architecture, layers)
    return GGUF(
        path=path,
        parts=(path, *(part for part, _ in others)),
        size_bytes=header.size_bytes + sum(other.size_bytes for _, other in others),
        architecture=architecture,
        name=header.text("general.name") or header.text("general.basename") or path.stem,
        quantization=_FILE_TYPES.get(header.number("general.file_type", -1), "unknown"),
        parameters=header.parameters + sum(other.parameters for _, other in others),
        context_length=header.number(f"{architecture}.context_length") or 2048,
        layers=layers,
        embedding_length=header.number(f"{architecture}.embedding_length"),
        kv_bytes_per_token=_kv_bytes_per_token(header, architecture, [not one for one in windowed]),
        window_tokens=window_tokens,
        window_bytes_per_token=_kv_bytes_per_token(header, architecture, windowed, "_swa"),
        state_bytes_per_slot=_state_bytes_per_slot(header, architecture, layers),
        vocabulary=header.vocabulary,
        control_tokens=header.control_tokens,
        chat_template=header.text("tokenizer.chat_template") or None,
    )


def read_projector(path: Path) -> int:
    """Check that a file is a projector (mmproj) and whole; return its size in bytes. Raises GGUFError."""
    header = read_header(path)
    architecture = header.text("general.architecture")
    if architecture != "clip":
        raise GGUFError(f"{path} is not a projector (mmproj) but a model of the architecture {architecture!r}.")
    return header.size_bytes


def _refuse_other_kinds(path: Path, header: Header) -> None:
    architecture = header.text("general.architecture")
    kind = "mmproj" if architecture == "clip" else header.text("general.type")
    if kind in _TYPES:
        raise GGUFError(f"{path} {_TYPES[kind]}.")
    if not architecture:
        raise GGUFError(f"{path} does not say which architecture it has, so that it cannot be a language model.")
    if architecture in _ENCODERS or header.values.get(f"{architecture}.attention.causal") is False:
        raise GGUFError(f"{path} is an embedding model ({architecture}); it generates no text.")
    if header.tensors == 0 and header.number("split.count") == 0:
        raise GGUFError(f"{path} has a vocabulary only, no weights.")


def _refuse_absurd(path: Path, header: Header, architecture: str) -> None:
    """Refuse counts at which the engine would end itself; one that is missing it says in words."""
    counts = (("block_count", "layers", 1, _LAYERS_MAX), ("context_length", "tokens of context", 0, _CONTEXT_MAX))
    for name, what, least, most in counts:
        count = header.number(f"{architecture}.{name}", least)
        if not least <= count <= most:
            raise GGUFError(f"{path} is damaged: it says that it has {count:,} {what}; download it again.")


def _other_parts(path: Path, header: Header) -> list[Path]:
    """Return the files that follow the first one of a split model. Raises GGUFError when it is not the first one."""
    count = header.number("split.count")
    if count <= 1:
        return []
    named = _PART.fullmatch(path.name)
    if named is None or int(named["count"]) != count or count > _PARTS_MAX:
        raise GGUFError(
            f"{path} is one of {count:,} parts of a model, which must keep their names: …-00001-of-{count:05d}.gguf."
        )
    parts = [path.with_name(f"{named['stem']}-{number:05d}-of-{count:05d}.gguf") for number in range(1, count + 1)]
    if header.number("split.no") != 0 or int(named["number"]) != 1:
        raise GGUFError(
            f"{path} is part {int(named['number'])} of {count} of a model: name the first part, {parts[0]}."
        )
    missing = [part.name for part in parts if not part.exists()]
    if missing:
        raise GGUFError(f"{path} is the first of {count} parts of a model, and beside it there is no {missing[0]}.")
    for part in parts[1:]:
        file_bytes(part)
    return parts[1:]


def _windows(header: Header, architecture: str, layers: int) -> tuple[int, list[bool]]:
    """Return how many tokens a window has, and which layers keep no more than it."""
    layers = min(layers, LIST_ITEMS_MAX)
    window = header.number(f"{architecture}.attention.sliding_window")
    if not window or architecture not in _WINDOW_PERIODS:
        return 0, [False] * layers
    pattern = header.values.get(f"{architecture}.attention.sliding_window_pattern")
    if isinstance(pattern, list):
        windowed = [bool(one) for one in pattern[:layers]]
        windowed += [False] * (layers - len(windowed))
    else:
        period = pattern if isinstance(pattern, int) and pattern > 0 else _WINDOW_PERIODS[architecture]
        windowed = [layer % period < period - 1 for layer in range(layers)]
    return (window if any(windowed) else 0), windowed


def _kv_bytes_per_token(header: Header, architecture: str, counted: Sequence[bool], kind: str = "") -> int:
    """Return what a token takes in those layers that are `counted`; `kind` is the ending of their keys' names."""
    heads = header.values.get(f"{architecture}.attention.head_count")
    first = heads[0] if isinstance(heads, list) and heads else heads
    head_count = first if isinstance(first, int) and first > 0 else 1
    head_length = header.number(f"{architecture}.embedding_length") // head_count
    key, value = (
        header.number(f"{architecture}.attention.{name}{kind}")
        or header.number(f"{architecture}.attention.{name}", head_length)
        for name in ("key_length", "value_length")
    )
    keyed = header.values.get(f"{architecture}.attention.head_count_kv", heads)
    if not isinstance(keyed, list):
        keyed = [keyed if isinstance(keyed, int) and keyed >= 0 else head_count] * len(counted)
    wanted = zip(keyed, counted, strict=False)
    return sum(count for count, is_counted in wanted if is_counted and isinstance(count, int) and count > 0) * (
        (key + value) * _FLOAT16_BYTES
    )


def _state_bytes_per_slot(header: Header, architecture: str, layers: int) -> int:
    inner, state, kernel, groups = (
        header.number(f"{architecture}.ssm.{name}")
        for name in ("inner_size", "state_size", "conv_kernel", "group_count")
    )
    convolution = max(0, kernel - 1) * (inner + 2 * groups * state)
    return layers * (convolution + inner * state) * _FLOAT32_BYTES
