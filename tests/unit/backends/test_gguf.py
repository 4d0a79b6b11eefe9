"""GGUF headers: what is read off a good one, and the sentence for every bad one."""

import os
import random
import struct
import tracemalloc
from pathlib import Path

import pytest

from slackwater.backends.llamacpp.gguf import GGUFError, read_gguf, read_projector
from support.gguf import CHAT_TEMPLATE, CONTROL, U32, Value, _write, tiny_model, tiny_projector

MEMORY_BYTES_MAX = 20 * 2**20
STRING, ARRAY, UINT8, UINT32 = 8, 9, 0, 4


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Return a good model."""
    return tiny_model(tmp_path / "tiny.gguf")


def test_a_model_says_what_it_is(tiny: Path) -> None:
    """Name, size, layers, cache, control tokens and the template come from the header."""
    found = read_gguf(tiny)
    assert (found.architecture, found.name, found.context_length) == ("llama", "tiny-random-0", 2048)
    assert found.parts == (tiny,)
    assert found.size_bytes == tiny.stat().st_size
    assert (found.layers, found.embedding_length, found.vocabulary) == (2, 64, 273)
    assert found.parameters > 100_000
    assert found.kv_bytes_per_token == 2 * 64 * 2 * 2
    assert found.state_bytes_per_slot == 0
    assert found.control_tokens == CONTROL
    assert found.chat_template == CHAT_TEMPLATE


def test_heads_are_counted_layer_by_layer_and_recurrent_layers_keep_a_state(tmp_path: Path) -> None:
    """A hybrid model has no keys in some layers, and a state instead."""
    path = _file(
        tmp_path,
        **{
            "general.file_type": U32(value=15),
            "llama.block_count": U32(value=3),
            "llama.embedding_length": U32(value=64),
            "llama.attention.head_count": U32(value=4),
            "llama.attention.head_count_kv": [0, 2, 0],
            "llama.attention.key_length": U32(value=32),
            "llama.attention.value_length": U32(value=16),
            "llama.ssm.inner_size": U32(value=8),
            "llama.ssm.state_size": U32(value=4),
            "llama.ssm.conv_kernel": U32(value=3),
            "llama.ssm.group_count": U32(value=1),
        },
    )
    found = read_gguf(path)
    assert found.kv_bytes_per_token == 2 * (32 + 16) * 2
    assert found.state_bytes_per_slot == 3 * (2 * (8 + 2 * 4) + 8 * 4) * 4
    assert found.quantization == "Q4_K_M"


@pytest.mark.parametrize(
    ("architecture", "pattern", "every", "windowed"),
    [
        ("gemma3", None, 2, 10),  # the sixth and the twelfth of twelve
        ("gemma2", None, 6, 6),
        ("gemma3", U32(value=4), 3, 9),
        ("gemma3", U32(value=0), 2, 10),
        ("gemma3", "nonsense", 2, 10),
        ("gemma4", [True] * 5 + [False] + [True] * 5 + [False], 2, 10),
        ("gemma4", [True] * 5, 7, 5),  # what a file does not speak of keeps everything
        ("gemma4", None, 12, 0),
        ("phi3", None, 12, 0),  # says that it has a window, and the engine makes no use of it
    ],
)
def test_layers_that_look_back_over_a_window_only_are_told_apart(
    tmp_path: Path, architecture: str, pattern: Value | None, every: int, windowed: int
) -> None:
    """As llama.cpp does: by the file's pattern, else the architecture's; whatever is not certain keeps everything."""
    attention = {
        f"{architecture}.attention.{name}": U32(value=value)
        for name, value in {
            "head_count": 8,
            "head_count_kv": 4,
            "key_length": 64,
            "value_length": 64,
            "key_length_swa": 32,
            "sliding_window": 1_024,
        }.items()
    }
    said = {} if pattern is None else {f"{architecture}.attention.sliding_window_pattern": pattern}
    blocks = {f"{architecture}.block_count": U32(value=12)}
    found = read_gguf(_file(tmp_path, architecture=architecture, **blocks, **attention, **said))
    assert found.kv_bytes_per_token == every * 4 * (64 + 64) * 2
    assert found.window_bytes_per_token == windowed * 4 * (32 + 64) * 2
    assert found.window_tokens == (1_024 if windowed else 0)


def test_counts_that_are_no_counts_are_passed_over(tmp_path: Path) -> None:
    """Whatever a file says, looking at it ends in facts or in one sentence."""
    heads = {"llama.attention.head_count": U32(value=4), "llama.attention.key_length": U32(value=32)}
    counts = {"llama.attention.head_count_kv": [float("inf"), float("nan"), 2.0]}
    path = _file(tmp_path, **{"llama.block_count": U32(value=3), **heads, **counts})
    assert read_gguf(path).kv_bytes_per_token == 0


@pytest.mark.parametrize(
    ("entry", "count", "what"),
    [
        ("block_count", 0, "0 layers"),
        ("block_count", 513, "513 layers"),
        ("block_count", 65_535, "65,535 layers"),
        ("context_length", 2**31, "2,147,483,648 tokens of context"),
        ("context_length", 2**32 - 1, "4,294,967,295 tokens of context"),
    ],
)
def test_counts_at_which_the_engine_would_end_itself_are_damage(
    tmp_path: Path, entry: str, count: int, what: str
) -> None:
    """No child is started for them: it would crash, and be started again to crash again."""
    path = _file(tmp_path, **{f"llama.{entry}": U32(value=count)})
    assert _refusal(path) == f"{path} is damaged: it says that it has {what}; download it again."


@pytest.mark.parametrize("kind", [9, 15, 24, 26, 28, 1_024, 2**32 - 1])
def test_weights_of_a_type_that_none_have_are_damage(tiny: Path, kind: int) -> None:
    """A whole number is as long as a float, so that the engine would notice only when it computes."""
    whole, name = tiny.read_bytes(), b"output_norm.weight"
    at = whole.index(name) + len(name) + 4 + 8  # behind the name: one dimension
    bad = _changed(tiny, whole[:at] + struct.pack("<I", kind) + whole[at + 4 :])
    assert _refusal(bad) == (
        f"{bad} is damaged: a tensor named 'output_norm.weight' has the type {kind}, which no weights have;"
        " download it again."
    )


@pytest.mark.parametrize("bytes_kept", [1, 3])
def test_a_few_bytes_are_no_gguf_file(tiny: Path, bytes_kept: int) -> None:
    """Also when they are the right ones."""
    assert "is not a GGUF file (it starts with 'G" in _refusal(_changed(tiny, tiny.read_bytes()[:bytes_kept]))


def test_a_file_that_was_cut_off_says_how_long_it_should_be(tiny: Path) -> None:
    """The size follows from the list of tensors, so that nothing needs to be loaded to know."""
    whole = tiny.read_bytes()
    cut = _changed(tiny, whole[:-1000])
    assert _refusal(cut) == (
        f"{cut} is cut off: it should have {len(whole):,} bytes and has {len(whole) - 1000:,}; download it again."
    )


def test_a_header_that_was_cut_off_anywhere_is_refused(tiny: Path) -> None:
    """Without the list of tensors nobody knows how long the file should be."""
    whole = tiny.read_bytes()
    for length in (5, 9, 17, 25, 33, 100, 1_000, 4_000, 6_000):
        assert "is cut off inside its header" in _refusal(_changed(tiny, whole[:length])), length


def test_other_files_are_named_for_what_they_are(tmp_path: Path) -> None:
    """A page that says "not found", an empty file, a folder, a device, nothing."""
    page = tmp_path / "page.gguf"
    page.write_bytes(b"<!DOCTYPE html>")
    empty = tmp_path / "empty.gguf"
    empty.touch()
    os.mkfifo(tmp_path / "pipe.gguf")
    assert _refusal(page) == (
        f"{page} is not a GGUF file but a web page (it starts with '<!DO'): the download was refused or wants a login."
    )
    assert _refusal(empty) == f"{empty} is empty."
    assert _refusal(tmp_path) == f"{tmp_path} is a directory: name the .gguf file in it."
    assert _refusal(tmp_path / "pipe.gguf") == f"{tmp_path / 'pipe.gguf'} is not a regular file."
    assert _refusal(tmp_path / "none.gguf") == f"{tmp_path / 'none.gguf'} does not exist."
    assert _refusal(page / "model.gguf") == f"{page / 'model.gguf'} cannot be read: not a directory."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\r\n<HTML lang=en>", "is not a GGUF file but a web page (it starts with 0d 0a 3c 48): the download"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "but a Git LFS pointer (it starts with 'vers'): `git lfs"),
        (struct.pack("<Q", 60) + b'{"__metadata__":{}}', "but safetensors (it starts with 3c 00 00 00): look for GGUF"),
        (b"PK\x03\x04" + bytes(26), "but a ZIP archive (it starts with 50 4b 03 04): unpack it; weights of PyTorch"),
        (b'{"error":"Repository not found"}', "but JSON (it starts with '{\"er'): name the .gguf file beside it"),
        (bytes(100), "is not a GGUF file (it starts with 00 00 00 00)."),
        (b"lmgg" + bytes(100), "is not a GGUF file (it starts with 'lmgg')."),
    ],
)
def test_what_people_take_for_a_model_file_is_called_by_its_name(tmp_path: Path, content: bytes, said: str) -> None:
    """With what to do about it."""
    path = tmp_path / "taken.gguf"
    path.write_bytes(content)
    assert said in _refusal(path)


def test_a_name_that_is_no_text_is_not_shown(tiny: Path) -> None:
    """A damaged header may have anything where a name should be."""
    whole = tiny.read_bytes()
    at = whole.index(b"output_norm.weight")
    broken = whole[: at + 18] + struct.pack("<I", 99) + whole[at + 22 :]
    assert "a tensor named 'output_norm.weight' has 99 dimensions" in _refusal(_changed(tiny, broken))
    unreadable = broken.replace(b"output_norm.weight", b"output\x00norm.weight")
    assert "is damaged: a tensor has 99 dimensions" in _refusal(_changed(tiny, unreadable))


def test_a_file_that_may_not_be_read_says_so(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may be allowed everything, so the refusal is played."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert _refusal(tiny) == f"{tiny} cannot be read: permission denied."


def test_other_versions_and_byte_orders_are_refused(tiny: Path) -> None:
    """Version 1 is history, a turned version a file for other machines."""
    whole = tiny.read_bytes()
    assert "is a GGUF file of version 1;" in _refusal(_changed(tiny, whole[:4] + struct.pack("<I", 1) + whole[8:]))
    assert "big-endian" in _refusal(_changed(tiny, whole[:4] + struct.pack(">I", 3) + whole[8:]))


def test_what_is_no_language_model_is_refused_as_what_it_is(tmp_path: Path) -> None:
    """A projector, an adapter, an embedding model, a vocabulary, something without a name."""
    projector = tiny_projector(tmp_path / "mmproj.gguf")
    assert "is a projector (mmproj), not a language model" in _refusal(projector)
    assert "is an adapter (LoRA)" in _refusal(_file(tmp_path, **{"general.type": "adapter"}))
    assert "is an embedding model (llama)" in _refusal(_file(tmp_path, **{"llama.attention.causal": False}))
    assert "is an embedding model (bert)" in _refusal(_file(tmp_path, architecture="bert"))
    assert "does not say which architecture" in _refusal(_file(tmp_path, architecture=""))
    bare = tmp_path / "vocabulary.gguf"
    _write(bare, {"general.architecture": "llama"}, {})
    assert "has a vocabulary only" in _refusal(bare)


def test_a_projector_is_checked_like_a_model(tiny: Path, tmp_path: Path) -> None:
    """And a language model is not one."""
    projector = tiny_projector(tmp_path / "mmproj.gguf")
    assert read_projector(projector) == projector.stat().st_size
    with pytest.raises(GGUFError, match="is not a projector"):
        read_projector(tiny)
    with pytest.raises(GGUFError, match="is cut off"):
        read_projector(_changed(projector, projector.read_bytes()[:-10]))


def test_every_part_of_a_split_model_must_lie_beside_the_first(tmp_path: Path) -> None:
    """The sizes add up; a missing or cut part and a later part named first are said."""
    first, second = (_file(tmp_path, name=f"m-0000{n}-of-00002.gguf", **_split(n - 1, 2)) for n in (1, 2))
    found = read_gguf(first)
    assert found.parts == (first, second)
    assert found.size_bytes == first.stat().st_size + second.stat().st_size
    assert _refusal(second) == f"{second} is part 2 of 2 of a model: name the first part, {first}."
    second.write_bytes(second.read_bytes()[:-40])
    assert _refusal(first).startswith(f"{second} is cut off")
    second.unlink()
    assert _refusal(first) == f"{first} is the first of 2 parts of a model, and beside it there is no {second.name}."
    first.rename(tmp_path / "renamed.gguf")
    assert "which must keep their names" in _refusal(tmp_path / "renamed.gguf")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (struct.pack("<Q", 2**63), "a length in its header is 9,223,372,036,854,775,808 bytes"),
        (struct.pack("<Q", 2), "is cut off inside its header"),
        (struct.pack("<Q", 1) + b"k" + struct.pack("<I", 77), "has the unknown type 77"),
        (struct.pack("<Q", 1) + b"k" + struct.pack("<IIQ", ARRAY, STRING, 2**60), "is said to have"),
        (struct.pack("<Q", 1) + b"k" + struct.pack("<IIQ", ARRAY, UINT8, 2**60), "a length in its header is"),
        (struct.pack("<Q", 1) + b"k" + struct.pack("<IIQ", ARRAY, ARRAY, 1), "has the unknown type 9"),
        (struct.pack("<Q", 1) + b"k" + struct.pack("<IQ", STRING, 2**64 - 1), "a length in its header is"),
    ],
)
def test_hostile_lengths_are_refused_without_memory_for_them(tmp_path: Path, entry: bytes, said: str) -> None:
    """A header may claim anything; nothing of a claimed length is made."""
    path = tmp_path / "hostile.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry)
    assert said in _refusal(path)


def test_hostile_counts_end_quickly(tmp_path: Path) -> None:
    """Numbers of entries, tensors and dimensions are bounded, in a large file of zeros too."""
    path = tmp_path / "zeros.gguf"
    for counts in ((2**62, 1), (1, 2**62)):
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, *counts))
        assert "it says that it has" in _refusal(path)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + struct.pack("<QI", 0, 2**31))
    assert "dimensions" in _refusal(path)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 300 * 2**20))
    os.truncate(path, 2**40)
    assert "a text in its header has 314,572,800 bytes" in _refusal(path)
    path.write_bytes(
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k" + struct.pack("<IQ", STRING, 2**39)
    )
    os.truncate(path, 2**40)
    assert "its header has more than" in _refusal(path)


def test_flipped_bytes_in_the_header_never_cost_more_than_an_error(tiny: Path) -> None:
    """Whatever is flipped: facts or one sentence that names the file, and little memory."""
    chance = random.Random(7)  # noqa: S311  # what to damage
    whole = tiny.read_bytes()
    tracemalloc.start()
    for _ in range(120):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(12_000)] = chance.randrange(256)
        path = _changed(tiny, bytes(damaged))
        try:
            assert read_gguf(path).path == path
        except GGUFError as error:
            assert str(error).startswith(str(path))  # noqa: PT017  # either is fine
            assert str(error).endswith(".")  # noqa: PT017  # likewise
            assert str(error).isprintable()  # noqa: PT017  # likewise
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MEMORY_BYTES_MAX


def _refusal(path: Path) -> str:
    with pytest.raises(GGUFError) as refused:
        read_gguf(path)
    return str(refused.value)


def _changed(path: Path, content: bytes) -> Path:
    changed = path.with_name("changed.gguf")
    changed.write_bytes(content)
    return changed


def _file(folder: Path, *, name: str = "made.gguf", architecture: str = "llama", **more: Value) -> Path:
    from array import array  # noqa: PLC0415  # one tensor of one number

    path = folder / name
    _write(path, {"general.architecture": architecture, **more}, {"t": ((1,), array("f", [1.0]))})
    return path


def _split(number: int, count: int) -> dict[str, Value]:
    return {"split.no": U32(value=number), "split.count": U32(value=count)}
