"""Batches for training, made in a process of their own ahead of time."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from generate import examples
from numpy.typing import NDArray
from tokens import Tokens

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.sharedctypes import Synchronized

POOL = 1500
"""Conversations sorted by length together, so that a batch holds few unequal ones."""
CHAINED = 0.02
"""Share of conversations that have others before them, as earlier turns, to learn going on after a long text."""
CHAIN_TOKENS = 1000
LENGTHS = ((0.3, 96), (0.55, 200), (1.0, 640))
"""(share of the time, tokens): until then, longer conversations are left out."""
HEARD = 0.25
"""Share of the tokens of prompts that are scored."""
_FULL = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A conversation as ids, with how much each id counts as something to say."""

    ids: list[int]
    weights: list[float]
    """Zero for what the prompt says."""
    begins: bool
    """Whether a system message opens it, so that it cannot follow another one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Rows of about one length."""

    ids: NDArray[np.int64]
    """`[rows, length]`, padded on the right."""
    spots: NDArray[np.int64]
    """Positions, in the flattened batch, whose next token is scored."""
    targets: NDArray[np.int64]
    weights: NDArray[np.float32]
    """As long as `spots`."""
    said: float
    """Sum of the weights of answers alone."""


def rows(tokens: Tokens, seed: int, length_max: Callable[[], int]) -> Iterator[Row]:
    """Make conversations for ever; a longer answer counts more, but less than its length."""
    control = tokens.vocab["<|im_start|>"]
    system = [control, *tokens.ids("system")]
    for example in examples(seed, "train"):
        encoded = tokens.encode(example)
        ids = encoded.prompt + encoded.answer
        if len(ids) <= length_max():
            weight = len(encoded.answer) ** -0.5
            weights = [0.0] * len(encoded.prompt) + [weight] * len(encoded.answer)
            yield Row(ids=ids, weights=weights, begins=ids[: len(system)] == system)


def _chained(source: Iterator[Row], rng: random.Random, newline: int) -> Iterator[Row]:
    for row in source:
        if rng.random() >= CHAINED:
            yield row
            continue
        ids, weights = list(row.ids), list(row.weights)
        limit = rng.randint(300, CHAIN_TOKENS)
        for follower in source:
            if follower.begins:
                yield follower
            elif len(ids) + len(follower.ids) >= limit:
                break
            else:
                ids += [newline, *follower.ids]
                weights += [0.0, *follower.weights]
        yield Row(ids=ids, weights=weights, begins=row.begins)


def batches(tokens: Tokens, seed: int, *, size: int, length_max: Callable[[], int]) -> Iterator[Batch]:
    """Make batches of about `size` tokens for ever."""
    rng = random.Random(seed)  # noqa: S311  # reproducible, hides nothing
    dice = np.random.default_rng(seed)
    source = _chained(rows(tokens, seed, length_max), rng, tokens.ids("\n")[0])
    while True:
        pool = sorted((next(source) for _ in range(POOL)), key=lambda row: len(row.ids) + rng.random())
        made, start = [], 0
        while start < len(pool):
            count = 1
            while start + count < len(pool) and (count + 1) * _padded(pool[start + count]) <= size:
                count += 1
            made.append(pool[start : start + count])
            start += count
        rng.shuffle(made)
        for chosen in made:
            yield _batch(chosen, dice)


def _padded(row: Row) -> int:
    return min(_FULL, -(-len(row.ids) // 8) * 8)


def _batch(chosen: list[Row], dice: np.random.Generator) -> Batch:
    length = max(map(_padded, chosen))
    ids = np.zeros((len(chosen), length + 1), dtype=np.int64)
    weights = np.full((len(chosen), length + 1), -1.0, dtype=np.float32)
    for place, row in enumerate(chosen):
        kept = row.ids[: length + 1]
        ids[place, : len(kept)] = kept
        weights[place, : len(kept)] = row.weights[: len(kept)]
    targets, weights = ids[:, 1:].reshape(-1), weights[:, 1:].reshape(-1)
    scored = (weights > 0) | ((weights == 0) & (dice.random(weights.shape) < HEARD))
    spots = np.flatnonzero(scored)
    return Batch(
        ids=np.ascontiguousarray(ids[:, :-1]),
        spots=spots,
        targets=targets[spots],
        weights=weights[spots],
        said=float(weights[spots].sum()),
    )


def produce(queue: "Queue[Batch]", vocabulary: Path, seed: int, size: int, progress: "Synchronized[float]") -> None:
    """Fill a queue for ever, with short conversations alone at first; the body of a process."""

    def length_max() -> int:
        return next(length for until, length in LENGTHS if progress.value <= until)

    for batch in batches(Tokens.load(vocabulary), seed, size=size, length_max=length_max):
        queue.put(batch)
