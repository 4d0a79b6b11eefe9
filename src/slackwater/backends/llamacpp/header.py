"""Reads the header of a GGUF file, the list of its tensors included, without trusting it.

Every length is held against what the file has before anything of that length is read, so that a damaged or hostile file
costs an error, never memory or time. Only entries that somebody asks for are kept.
"""

import os
import re
import stat
import struct
import sys
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)
HEADER_BYTES_MAX: Final = 256 * 2**20
"""Headers are mostly vocabulary; the largest known ones take a tenth of this."""
ENTRIES_MAX: Final = 100_000
STRINGS_MAX: Final = 4_000_000
TEXT_BYTES_MAX: Final = 2**20
PIECE_BYTES: Final = 2**20
DIMENSIONS_MAX: Final = 4
NAME_CHARACTERS_MAX: Final = 80
"""Longer names are none, and nobody wants to read them."""
LIST_ITEMS_MAX: Final = 10_000
"""Lists that are kept have one item for each layer."""
CONTROL: Final = 3
"""The token type of `<|im_end|>` and its like."""

_UINT8, _INT8, _UINT16, _INT16, _UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY, _UINT64, _INT64, _FLOAT64 = range(13)
_SCALARS: Final[Mapping[int, struct.Struct]] = {
    kind: struct.Struct("<" + code)
    for kind, code in {
        _UINT8: "B", _INT8: "b", _UINT16: "H", _INT16: "h", _UINT32: "I", _INT32: "i", _FLOAT32: "f",
        _BOOL: "?", _UINT64: "Q", _INT64: "q", _FLOAT64: "d",
    }.items()
}  # fmt: skip
_U32: Final = _SCALARS[_UINT32]
_U64: Final = _SCALARS[_UINT64]

_BLOCKS: Final[Mapping[int, tuple[int, int]]] = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66),
    17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136),
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54),
    35: (256, 66), 39: (32, 17),
}  # fmt: skip
"""Tensor type: (values in a block, bytes of a block). A type that is not here is left to the engine."""

_TYPES_MAX: Final = 1_024
"""A hundred years of new types, as they have come so far."""
_NO_WEIGHTS: Final = frozenset({9, 15, *range(24, 29)})
"""Types the engine computes with and has no weights in: whole numbers, long floats, blocks of intermediate sums."""
_WEIGHTS: Final = (".weight", ".bias")

_START_BYTES: Final = 64
_OTHERS: Final = (
    (re.compile(rb"(?i)\s*<(?:!doctype|html|\?xml|head)"), "a web page", "the download was refused or wants a login"),
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer", "`git lfs pull` fetches the file it stands for"),
    (re.compile(rb".{8}\{\"", re.DOTALL), "safetensors", "look for GGUF among the model's files, or convert it"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive", "unpack it; weights of PyTorch must be converted"),
    (re.compile(rb"\s*[{\[]"), "JSON", "name the .gguf file beside it, or download it again"),
)
"""What people take for a model file: how it starts, what it is, and what to do."""

_KEPT: Final = re.compile(
    r"general\.(architecture|name|basename|file_type|type|alignment)|split\.(no|count)|tokenizer\.chat_template|"
    r"[^.]+\.(context_length|embedding_length|block_count|pooling_type|"
    r"attention\.(head_count|head_count_kv|(key|value)_length(_swa)?|sliding_window(_pattern)?|causal)|"
    r"ssm\.(conv_kernel|inner_size|state_size|group_count))"
)

Value = str | bool | int | float | list[int] | list[float] | list[bool]


class GGUFError(Exception):
    """The file cannot be used as a model; the text is one sentence for people and starts with the path."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What was kept of a header."""

    values: Mapping[str, Value]
    """Entries by name, those of `_KEPT` only."""
    tensors: int
    parameters: int
    """Numbers in all tensors of this file."""
    vocabulary: int
    """Number of tokens."""
    control_tokens: tuple[str, ...]
    size_bytes: int
    """Of the file."""

    def text(self, name: str) -> str:
        """Return an entry that should be text; empty when it is not there or something else."""
        value = self.values.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str, otherwise: int = 0) -> int:
        """Return an entry that should be a count; `otherwise` when it is not there or makes no sense."""
        value = self.values.get(name)
        return value if isinstance(value, int) and value >= 0 else otherwise


def read_header(path: Path) -> Header:
    """Read a file's header and check that the file has every byte it speaks of. Raises GGUFError."""
    size = file_bytes(path)
    try:
        with path.open("rb", buffering=0) as file:
            return _Reader(path, file, size).read()
    except OSError as error:
        raise GGUFError(f"{path} cannot be read: {_reason(error)}.") from error


def file_bytes(path: Path) -> int:
    """Return the size of a file that is there, regular and not empty. Raises GGUFError."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise GGUFError(f"{path} does not exist.") from None
    except OSError as error:
        raise GGUFError(f"{path} cannot be read: {_reason(error)}.") from error
    if stat.S_ISDIR(status.st_mode):
        raise GGUFError(f"{path} is a directory: name the .gguf file in it.")
    if not stat.S_ISREG(status.st_mode):
        raise GGUFError(f"{path} is not a regular file.")
    if status.st_size == 0:
        raise GGUFError(f"{path} is empty.")
    return status.st_size


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)


def _shown(name: str, what: str) -> str:
    """Return a name out of a header as people may read it; in a damaged one it may be anything."""
    return f"{what} named {name!r}" if name.isprintable() and 0 < len(name) <= NAME_CHARACTERS_MAX else what


class _Reader:
    """Walks a header from its first byte to the end of its list of tensors."""

    def __init__(self, path: Path, file: FileIO, size: int) -> None:
        self._path = path
        self._file = file
        self._size = size
        self._bytes = bytearray()
        self._at = 0
        self._tokens_at = -1
        self._vocabulary = 0
        self._token_types: array[int] = array("i")

    def read(self) -> Header:
        self._preamble()
        tensors, entries = self._u64(), self._u64()
        if entries > ENTRIES_MAX or tensors > ENTRIES_MAX:
            raise self._damaged(f"it says that it has {tensors:,} tensors and {entries:,} entries")
        values: dict[str, Value] = {}
        for _ in range(entries):
            self._entry(values)
        control_tokens = self._control_tokens()
        alignment = values.get("general.alignment", 32)
        parameters = self._tensors(tensors, alignment if isinstance(alignment, int) and alignment > 0 else 32)
        return Header(
            values=values,
            tensors=tensors,
            parameters=parameters,
            vocabulary=self._vocabulary,
            control_tokens=control_tokens,
            size_bytes=self._size,
        )

    def _preamble(self) -> None:
        magic = self._take(min(4, self._size))
        if magic != MAGIC:
            raise self._foreign(magic)
        version = self._u32()
        if version in VERSIONS:
            return
        if int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS:
            raise GGUFError(f"{self._path} is written for big-endian machines; this engine needs a little-endian file.")
        raise GGUFError(
            f"{self._path} is a GGUF file of version {version}; the engine reads versions 2 and 3:"
            " convert or download it anew."
        )

    def _entry(self, values: dict[str, Value]) -> None:
        name = self._text(TEXT_BYTES_MAX)
        kind = self._u32()
        if kind == _ARRAY:
            self._array(name, values)
        elif not _KEPT.fullmatch(name):
            self._skip(self._u64() if kind == _STRING else self._scalar(name, kind).size)
        elif kind == _STRING:
            values[name] = self._text(TEXT_BYTES_MAX)
        else:
            scalar = self._scalar(name, kind)
            values[name] = scalar.unpack(self._take(scalar.size))[0]

    def _array(self, name: str, values: dict[str, Value]) -> None:
        kind, count = self._u32(), self._u64()
        if kind == _STRING:
            self._strings(name, count)
            return
        scalar = self._scalar(name, kind)
        if name == "tokenizer.ggml.token_type" and scalar.size == self._token_types.itemsize and count <= STRINGS_MAX:
            self._token_types = array("i", self._take(count * scalar.size))
            if sys.byteorder == "big":
                self._token_types.byteswap()
        elif _KEPT.fullmatch(name) and count <= LIST_ITEMS_MAX:
            values[name] = [item for (item,) in scalar.iter_unpack(self._take(count * scalar.size))]
        else:
            self._skip(count * scalar.size)

    def _strings(self, name: str, count: int) -> None:
        if count > STRINGS_MAX:
            raise self._damaged(f"{_shown(name, 'an entry')} is said to have {count:,} texts")
        if name == "tokenizer.ggml.tokens":
            self._tokens_at, self._vocabulary = self._at, count
        for _ in range(count):
            self._skip(self._u64())

    def _scalar(self, name: str, kind: int) -> struct.Struct:
        found = _SCALARS.get(kind)
        if found is None:
            raise self._damaged(f"{_shown(name, 'an entry')} has the unknown type {kind}")
        return found

    def _control_tokens(self) -> tuple[str, ...]:
        """Go through the vocabulary again for the texts of control tokens: their types come after the texts."""
        if CONTROL not in self._token_types or self._tokens_at < 0:
            return ()
        after, self._at = self._at, self._tokens_at
        found = []
        for kind in self._token_types[: self._vocabulary]:
            length = self._u64()
            if kind == CONTROL and length <= TEXT_BYTES_MAX:
                found.append(self._take(length).decode("utf-8", "replace"))
            else:
                self._skip(length)
        self._at = after
        return tuple(text for text in found if text)

    def _tensors(self, count: int, alignment: int) -> int:
        parameters = end = 0
        for _ in range(count):
            name = self._text(TEXT_BYTES_MAX)
            dimensions = self._u32()
            if dimensions > DIMENSIONS_MAX:
                raise self._damaged(f"{_shown(name, 'a tensor')} has {dimensions:,} dimensions")
            values = 1
            for _ in range(dimensions):
                values *= self._u64()
            kind, offset = self._u32(), self._u64()
            if kind >= _TYPES_MAX or (kind in _NO_WEIGHTS and name.endswith(_WEIGHTS)):
                raise self._damaged(f"{_shown(name, 'a tensor')} has the type {kind}, which no weights have")
            block, block_bytes = _BLOCKS.get(kind, (1, 0))
            parameters += values
            end = max(end, offset + values // block * block_bytes)
        data_at = -(-self._at // alignment) * alignment
        if count and data_at + end > self._size:
            raise GGUFError(
                f"{self._path} is cut off: it should have {data_at + end:,} bytes and has {self._size:,};"
                " download it again."
            )
        return parameters

    def _text(self, bytes_max: int) -> str:
        length = self._u64()
        if bytes_max < length <= self._size:
            raise self._damaged(f"a text in its header has {length:,} bytes")
        return self._take(length).decode("utf-8", "replace")

    def _u32(self) -> int:
        self._need(4)
        (value,) = _U32.unpack_from(self._bytes, self._at)
        self._at += 4
        return int(value)

    def _u64(self) -> int:
        self._need(8)
        (value,) = _U64.unpack_from(self._bytes, self._at)
        self._at += 8
        return int(value)

    def _take(self, length: int) -> bytes:
        self._need(length)
        self._at += length
        return bytes(self._bytes[self._at - length : self._at])

    def _skip(self, length: int) -> None:
        self._need(length)
        self._at += length

    def _need(self, length: int) -> None:
        """Have the next bytes at hand; raise GGUFError when the file cannot have them."""
        end = self._at + length
        if end <= len(self._bytes):
            return
        if length > self._size:
            raise self._damaged(f"a length in its header is {length:,} bytes, the whole file has {self._size:,}")
        if end > self._size:
            raise self._cut_off()
        if end > HEADER_BYTES_MAX:
            raise self._damaged(f"its header has more than {HEADER_BYTES_MAX:,} bytes")
        while len(self._bytes) < end:
            piece = self._file.read(PIECE_BYTES)
            if not piece:
                raise self._cut_off()
            self._bytes += piece

    def _foreign(self, magic: bytes) -> GGUFError:
        self._at = 0
        start = self._take(min(_START_BYTES, self._size))
        shown = magic.decode("latin-1")
        starts = (
            f"it starts with {shown!r}"
            if shown.isascii() and shown.isprintable()
            else f"it starts with {magic.hex(' ')}"
        )
        for pattern, what, advice in _OTHERS:
            if pattern.match(start):
                return GGUFError(f"{self._path} is not a GGUF file but {what} ({starts}): {advice}.")
        return GGUFError(f"{self._path} is not a GGUF file ({starts}).")

    def _cut_off(self) -> GGUFError:
        return GGUFError(f"{self._path} is cut off inside its header, after {self._size:,} bytes; download it again.")

    def _damaged(self, what: str) -> GGUFError:
        return GGUFError(f"{self._path} is damaged: {what}; download it again.")
