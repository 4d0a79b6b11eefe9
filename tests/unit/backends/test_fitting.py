"""Slots, context, threads and memory for a model on a machine."""

from dataclasses import replace
from pathlib import Path

import pytest

from slackwater.backends.llamacpp.fitting import (
    CannotFitError,
    LocalModel,
    batch_tokens,
    cache_bytes,
    fit,
    padded,
    readable,
    shared_out,
    together,
)
from slackwater.backends.llamacpp.gguf import GGUF
from slackwater.backends.llamacpp.machine import Machine

GIB = 2**30
SMALL = GGUF(
    path=Path("/models/small.gguf"),
    parts=(Path("/models/small.gguf"),),
    size_bytes=2 * GIB,
    architecture="qwen3",
    name="small",
    quantization="Q4_K_M",
    parameters=4_000_000_000,
    context_length=40_960,
    layers=36,
    embedding_length=2_560,
    kv_bytes_per_token=36 * 8 * 256 * 2,
    window_tokens=0,
    window_bytes_per_token=0,
    state_bytes_per_slot=0,
    vocabulary=151_936,
    control_tokens=("<|im_end|>",),
    chat_template="",
)
MODEL = LocalModel(name="small", path=SMALL.path)
DESKTOP = Machine(cores=8, memory_bytes=64 * GIB, total_bytes=64 * GIB)


def test_a_large_machine_runs_sixteen_requests_of_eight_thousand_tokens() -> None:
    """The most that helps; one core stays free."""
    found = fit(SMALL, DESKTOP, MODEL)
    assert (found.slots, found.context_tokens, found.threads) == (16, 8_192, 7)
    assert 21 * GIB < found.memory_bytes < 25 * GIB


def test_few_cores_get_few_slots() -> None:
    """Sixteen requests at once come no faster than four on one thread."""
    assert fit(SMALL, replace(DESKTOP, cores=2), MODEL).slots == 4
    assert fit(SMALL, replace(DESKTOP, cores=1), MODEL).threads == 1
    assert fit(SMALL, DESKTOP, replace(MODEL, threads=2)).slots == 8


@pytest.mark.parametrize(
    ("memory_gib", "slots", "context"),
    [(32, 12, 8_192), (16, 4, 8_192), (12, 6, 4_096), (8, 4, 4_096), (6, 4, 4_096), (5, 4, 4_096), (4, 2, 4_096)],
)
def test_less_memory_means_fewer_slots_then_shorter_contexts(memory_gib: int, slots: int, context: int) -> None:
    """Down to four slots the context stays, then it is halved, then slots go; half of the memory is left to others."""
    found = fit(SMALL, DESKTOP, MODEL, memory_bytes=memory_gib * GIB)
    assert (found.slots, found.context_tokens) == (slots, context)
    assert found.memory_bytes <= memory_gib * GIB


def test_a_short_context_is_better_than_none() -> None:
    """Below four thousand tokens the context shrinks too."""
    found = fit(SMALL, DESKTOP, MODEL, memory_bytes=3 * GIB)
    assert (found.slots, found.context_tokens) == (2, 2_048)


def test_what_is_configured_stays_as_it_is() -> None:
    """Slots, context and threads are nobody else's choice, and a context longer than the model's is the model's."""
    found = fit(SMALL, DESKTOP, replace(MODEL, slots=3, context_tokens=1_000, threads=5))
    assert (found.slots, found.context_tokens, found.threads) == (3, 1_024, 5)
    assert fit(SMALL, DESKTOP, replace(MODEL, slots=1, context_tokens=100_000)).context_tokens == 40_960
    with pytest.raises(CannotFitError, match=r"64 slots of 8,192 tokens.*fewer slots or a shorter context"):
        fit(SMALL, DESKTOP, replace(MODEL, slots=64, context_tokens=8_192))


def test_a_model_that_is_too_large_says_how_much_it_needs() -> None:
    """In its smallest form, with what to do."""
    with pytest.raises(CannotFitError) as refused:
        fit(replace(SMALL, size_bytes=40 * GIB), DESKTOP, MODEL, memory_bytes=8 * GIB)
    assert str(refused.value) == (
        "/models/small.gguf needs about 40.2 GiB of memory for 1 slot of 512 tokens, and models may use 8.0 GiB here:"
        " take a smaller model or quantization, or raise engine.memory_mib."
    )


def test_a_model_s_own_short_context_is_kept() -> None:
    """And is no reason for fewer slots."""
    found = fit(replace(SMALL, context_length=1_000), DESKTOP, MODEL, memory_bytes=8 * GIB)
    assert (found.slots, found.context_tokens) == (16, 1_000)
    assert padded(found.context_tokens) == 1_024


def test_a_cache_and_a_projector_count(tmp_path: Path) -> None:
    """Memory that is configured beside the slots is part of what the model takes."""
    projector = tmp_path / "mmproj.gguf"
    projector.write_bytes(bytes(1_000))
    plain = fit(SMALL, DESKTOP, MODEL)
    more = fit(SMALL, DESKTOP, replace(MODEL, cache_mib=512, mmproj=projector))
    step = (512 - 96) * 16 * 4 * SMALL.embedding_length
    assert more.memory_bytes == plain.memory_bytes + 512 * 2**20 + 2_000 + step


def test_people_wait_for_short_steps_where_nothing_needs_long_ones(tmp_path: Path) -> None:
    """An image's tokens are read in one step, and what layers forget is kept a step before a prompt's end."""
    assert batch_tokens(SMALL, MODEL) == 96
    assert batch_tokens(SMALL, replace(MODEL, mmproj=tmp_path / "mmproj.gguf")) == 512
    assert batch_tokens(replace(SMALL, window_tokens=1_024), MODEL) == 512
    assert batch_tokens(replace(SMALL, state_bytes_per_slot=1_000), MODEL) == 512


def test_a_window_costs_no_more_than_itself_and_a_step() -> None:
    """Beside it a few copies, from which a prompt with the same beginning goes on; a state is copied likewise."""
    layers = 36 * 8 * 256 * 2
    gemma = replace(SMALL, kv_bytes_per_token=layers // 6, window_tokens=1_024, window_bytes_per_token=layers * 5 // 6)
    slots = 16 + 1
    vocabulary = 4 * SMALL.vocabulary
    asked = replace(MODEL, slots=16, context_tokens=32_768)
    whole = cache_bytes(SMALL, 16, 32_768)
    assert whole == slots * (32_768 * layers + vocabulary)
    found = cache_bytes(gemma, 16, 32_768)
    assert found == slots * (32_768 * layers // 6 + 5 * (1_024 + 512) * layers * 5 // 6 + vocabulary)
    assert fit(gemma, DESKTOP, asked, memory_bytes=64 * GIB).memory_bytes < whole / 2
    short = replace(gemma, kv_bytes_per_token=0, vocabulary=0)
    assert cache_bytes(short, 1, 512) == 2 * 5 * 512 * layers * 5 // 6
    recurrent = replace(SMALL, kv_bytes_per_token=0, vocabulary=0, state_bytes_per_slot=1_000)
    assert cache_bytes(recurrent, 1, 512) == 2 * 5 * 1_000


def test_sizes_are_said_in_the_unit_people_use() -> None:
    """Gigabytes from one on, megabytes below."""
    assert [readable(size) for size in (1, 5 * 2**20, 3 * GIB // 2)] == ["1 MiB", "5 MiB", "1.5 GiB"]


TINY = replace(SMALL, size_bytes=4 * 2**20, embedding_length=256, kv_bytes_per_token=2_048, vocabulary=4_096)


@pytest.mark.parametrize(
    ("cores", "model", "copies", "slots", "threads"),
    [
        (1, MODEL, 1, 4, 1),
        (2, MODEL, 2, 8, 2),
        (2, replace(MODEL, threads=1), 1, 4, 1),
        (4, MODEL, 3, 12, 3),
        (16, MODEL, 4, 16, 4),
        (4, replace(MODEL, slots=2), 2, 2, 2),
        (4, replace(MODEL, slots=5), 3, 5, 3),
        (4, replace(MODEL, slots=2, copies=3), 2, 2, 2),
        (4, replace(MODEL, threads=1), 1, 4, 1),
        (4, replace(MODEL, cache_mib=64), 1, 12, 3),
        (4, replace(MODEL, copies=1), 1, 12, 3),
        (8, replace(MODEL, copies=2, threads=6, slots=8), 2, 8, 6),
    ],
)
def test_a_tiny_model_runs_in_several_processes(
    cores: int, model: LocalModel, copies: int, slots: int, threads: int
) -> None:
    """A step of it is too short to be shared by threads; what is configured is kept to, no slot is lost by division."""
    machine = replace(DESKTOP, cores=cores)
    shares = shared_out(TINY, machine, model)
    assert len(shares) == copies
    whole = together([fit(TINY, machine, share) for share in shares])
    assert (whole.slots, whole.threads) == (slots, threads)


def test_a_model_that_can_use_threads_runs_in_one_process_unless_told_otherwise() -> None:
    """Each copy takes the memory of the weights once more."""
    assert shared_out(SMALL, DESKTOP, MODEL) == [MODEL]
    assert len(shared_out(SMALL, DESKTOP, replace(MODEL, copies=3))) == 3


def test_copies_that_nobody_asked_for_leave_room_for_other_models() -> None:
    """Half of the memory, as with slots."""
    machine = replace(DESKTOP, cores=8)
    one = fit(TINY, machine, replace(MODEL, threads=1)).memory_bytes
    assert len(shared_out(TINY, machine, MODEL, memory_bytes=4 * one)) == 2
    assert shared_out(TINY, machine, MODEL, memory_bytes=one) == [MODEL]
