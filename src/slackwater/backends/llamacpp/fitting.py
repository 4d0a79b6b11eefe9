"""How a model is run on a machine: how many requests at once, how long each may be, and what that takes.

What the configuration says is kept to; what it leaves open is chosen so that the model fits, with room left for others.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from slackwater.backends.llamacpp.gguf import GGUF
from slackwater.backends.llamacpp.header import file_bytes
from slackwater.backends.llamacpp.machine import Machine

SLOTS_MAX: Final = 16
"""More than this gains nothing on the processors that were measured."""
SLOTS_PER_THREAD: Final = 4
"""Likewise: with one thread, sixteen requests at once come no faster than four."""
TINY_BYTES_MAX: Final = 16 * 2**20
"""A model up to this size computes so little in a step that its threads would wait for each other, and the bookkeeping
between two steps, which one thread does, takes as long: it runs in several processes of one thread each instead."""
COPIES_MAX: Final = 4
"""More of them than the server can keep busy."""
COPIES_MIN: Final = 2
"""On two cores, too: the server needs a third of one, and processes share cores without waiting for each other."""
SLOTS_MIN: Final = 4
"""Below this batches are slow; the context is shortened first, down to `CONTEXT_GOOD`."""
CONTEXT_MAX: Final = 8_192
CONTEXT_GOOD: Final = 4_096
CONTEXT_MIN: Final = 512
CONTEXT_STEP: Final = 256
"""The engine rounds the context of a slot up to a multiple of this."""
BATCH_TOKENS: Final = 96
"""Tokens of prompts that are read in one step: between two steps a request can be canceled, and a person's prompt waits
for the step that is being worked on. Two thirds of it take a third more time for a prompt, five times as much saves
none."""
BATCH_TOKENS_WHOLE: Final = 512
"""For images, whose tokens must be in one step, and for models that forget tokens: what they held is remembered at a
place so far before a prompt's end."""
STEP_FLOATS: Final = 16
"""Numbers per token and unit of width that one step works on, about."""
CHECKPOINTS: Final = 4
"""For each slot, what layers that do not keep every token held at so many places of its prompt: a later prompt with the
same beginning goes on from there. The engine's own number is eight times as large, and so is the memory for it."""
INTERACTIVE_SLOTS: Final = 1
"""Slots beside those of batches, kept for people who wait."""
PROCESS_BYTES: Final = 64 * 2**20
"""What the child takes without any model."""
MEMORY_SHARE: Final = 0.8
"""Of the memory that is free, what models may use when nothing is configured."""
MIB: Final = 2**20
GIB: Final = 2**30


class CannotFitError(Exception):
    """The model needs more memory than there is; the text is one sentence for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalModel:
    """A model on this machine, as the configuration names it."""

    name: str
    """The backend's name."""
    path: Path
    """The GGUF file; of a split model the first part."""
    mmproj: Path | None = None
    """The projector that turns images into tokens for this model."""
    context_tokens: int | None = None
    """Prompt and answer of one request together, in tokens; None: from the model and the memory."""
    slots: int | None = None
    """Requests of batches that are generated at once, at least 1; None: from the memory, at most 16."""
    threads: int | None = None
    """For all copies together; None: all cores but one."""
    copies: int | None = None
    """Processes with the whole model in each, which share the slots and threads; None: one for each thread of a model
    that is too small to use several."""
    cache_mib: int | None = None
    """Memory for prompts that no slot holds any more; None: 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """How a model runs on a machine."""

    slots: int
    """Requests of batches at once; the engine is started with `INTERACTIVE_SLOTS` more."""
    context_tokens: int
    """Prompt and answer of one request together."""
    threads: int
    memory_bytes: int
    """About what the model takes while it is loaded."""


def fit(gguf: GGUF, machine: Machine, model: LocalModel, *, memory_bytes: int | None = None) -> Fit:
    """Choose how a model runs within a memory budget (None: most of what the machine has free).

    Raises CannotFitError when even its smallest form does not fit, GGUFError when the projector is not there.
    """
    budget = budget_bytes(machine) if memory_bytes is None else memory_bytes
    fixed = fixed_bytes(gguf, model)
    halved = fixed + max(0, budget - fixed) // 2
    threads = model.threads or max(1, machine.cores - 1)
    choices = list(_choices(gguf, model, slots_max=min(SLOTS_MAX, SLOTS_PER_THREAD * threads)))
    enough = min(CONTEXT_GOOD, choices[0][1])
    roomy = [choice for choice in choices if choice[0] >= SLOTS_MIN and choice[1] >= enough]
    # Comfort ends where another model would find no room; what a batch needs may have everything.
    bounds = [(*choice, halved) for choice in roomy] + [(*choice, budget) for choice in roomy[-1:] + choices]
    for slots, context, bound in bounds:
        needed = fixed + cache_bytes(gguf, slots, context)
        if needed <= bound:
            return Fit(slots=slots, context_tokens=context, threads=threads, memory_bytes=needed)
    slots, context = choices[-1]
    needed = fixed + cache_bytes(gguf, slots, context)
    raise CannotFitError(
        f"{gguf.path} needs about {readable(needed)} of memory for {slots} {'slot' if slots == 1 else 'slots'} of"
        f" {context:,} tokens, and models may use {readable(budget)} here: take a smaller model or quantization,"
        f"{' or fewer slots or a shorter context,' if model.slots or model.context_tokens else ''}"
        " or raise engine.memory_mib."
    )


def shared_out(gguf: GGUF, machine: Machine, model: LocalModel, *, memory_bytes: int | None = None) -> list[LocalModel]:
    """Return what each copy of a model is to be: its share of slots and threads. Raises as `fit` does."""
    threads = model.threads or max(1, machine.cores - 1)
    copies = model.copies
    if copies is None:
        copies = _copies(machine, model) if is_tiny(gguf, model) else 1
    copies = min(copies, model.slots or copies)
    if copies > 1 and model.copies is None:  # what nobody asked for leaves room for other models
        budget = budget_bytes(machine) if memory_bytes is None else memory_bytes
        largest = _shares(model, copies, threads=1)[0]
        copies = max(1, min(copies, budget // 2 // fit(gguf, machine, largest, memory_bytes=budget).memory_bytes))
    if copies == 1:
        return [model]
    return _shares(model, copies, threads=1 if model.copies is None else max(1, threads // copies))


def _copies(machine: Machine, model: LocalModel) -> int:
    """Return how many processes of one thread each are best for a tiny model."""
    least = min(machine.cores, COPIES_MIN)
    return min(model.threads or max(machine.cores - 1, least), COPIES_MAX)


def _shares(model: LocalModel, copies: int, *, threads: int) -> list[LocalModel]:
    """Return copies with so many threads each; the first ones have what is left over of the slots."""
    share = replace(model, threads=threads)
    if model.slots is None:
        return [share] * copies
    each, more = divmod(model.slots, copies)
    return [replace(share, slots=each + (number < more)) for number in range(copies)]


def is_tiny(gguf: GGUF, model: LocalModel) -> bool:
    """Tell whether a model is so small that what is done around its steps takes as long as they do."""
    return gguf.size_bytes <= TINY_BYTES_MAX and model.mmproj is None and not model.cache_mib


def together(fits: Sequence[Fit]) -> Fit:
    """Return how the copies of a model run, as one."""
    return replace(
        fits[0],
        slots=sum(one.slots for one in fits),
        threads=sum(one.threads for one in fits),
        memory_bytes=sum(one.memory_bytes for one in fits),
    )


def budget_bytes(machine: Machine) -> int:
    """Return the memory that models may use together when nothing is configured."""
    return int(machine.memory_bytes * MEMORY_SHARE)


def fixed_bytes(gguf: GGUF, model: LocalModel) -> int:
    """Return what the model takes however many slots it has: weights, work space for one step, the process."""
    projector = file_bytes(model.mmproj) * 2 if model.mmproj is not None else 0
    step = batch_tokens(gguf, model) * STEP_FLOATS * 4 * gguf.embedding_length
    return gguf.size_bytes + projector + step + (model.cache_mib or 0) * MIB + PROCESS_BYTES


def cache_bytes(gguf: GGUF, slots: int, context_tokens: int) -> int:
    """Return what the slots take, the one for people included."""
    every_token = padded(context_tokens) * gguf.kv_bytes_per_token
    # A window moves on when a step is done: until then the tokens of that step are kept beside it.
    window = min(padded(context_tokens), padded(gguf.window_tokens + BATCH_TOKENS_WHOLE)) * gguf.window_bytes_per_token
    forgetful = (1 + CHECKPOINTS) * (window + gguf.state_bytes_per_slot)
    return (slots + INTERACTIVE_SLOTS) * (every_token + forgetful + 4 * gguf.vocabulary)


def batch_tokens(gguf: GGUF, model: LocalModel) -> int:
    """Return how many tokens one step has at most."""
    forgetful = gguf.window_tokens or gguf.state_bytes_per_slot
    return BATCH_TOKENS_WHOLE if forgetful or model.mmproj is not None else BATCH_TOKENS


def padded(context_tokens: int) -> int:
    """Return the context that the engine sets up for one slot when it is asked for this many tokens."""
    return -(-context_tokens // CONTEXT_STEP) * CONTEXT_STEP


def readable(size_bytes: int) -> str:
    """Return a size in the unit people use for memory."""
    return f"{size_bytes / GIB:.1f} GiB" if size_bytes >= GIB else f"{max(1, round(size_bytes / MIB))} MiB"


def _choices(gguf: GGUF, model: LocalModel, *, slots_max: int) -> Iterator[tuple[int, int]]:
    """Yield (slots, context) from the best down to the smallest; what the configuration says does not vary."""
    longest = min(gguf.context_length, CONTEXT_MAX)
    contexts = [longest, *(tokens for tokens in (4_096, 2_048, 1_024, CONTEXT_MIN) if tokens < longest)]
    if model.context_tokens is not None:
        asked = min(padded(model.context_tokens), gguf.context_length)
        contexts = [asked]
    all_slots = [model.slots] if model.slots is not None else [n for n in (16, 12, 8, 6, 4, 3, 2, 1) if n <= slots_max]
    good = [context for context in contexts if context >= CONTEXT_GOOD] or contexts[:1]
    for context in good:
        yield from ((slots, context) for slots in all_slots if slots >= SLOTS_MIN)
    for slots in all_slots:
        yield from ((slots, context) for context in good if slots < SLOTS_MIN)
    for context in contexts:
        if context not in good:
            yield from ((slots, context) for slots in all_slots if slots <= SLOTS_MIN or model.slots is not None)
