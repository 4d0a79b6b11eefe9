"""Trains the demo model from nothing on the CPU: `python models/demo/train.py --minutes 45 --out build/model`.

Writes `tokens.json` and `checkpoint.pt` into the folder; `export.py` makes a GGUF of them. The schedule follows the
clock: whatever the minutes, the rates have come down to nothing when they end.
"""

import argparse
import json
import os
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import islice
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from batches import produce
from generate import examples
from network import Network, Shape
from optimizer import Optimizer, Rates
from tokens import Tokens, learn, parts
from workers import Shared, work

SEED = 20_261
NOTE_SECONDS = 20
SAVE_SECONDS = 120
SCORE_SECONDS = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What one run does."""

    out: Path
    minutes: float
    workers: int
    size: int
    """Tokens of one batch."""
    rates: Rates
    seed: int


def vocabulary(path: Path, seed: int, count: int = 25_000) -> Tokens:
    """Read the vocabulary, or make it from what the generator writes for training."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        Tokens(learn("".join(parts(example)) for example in islice(examples(seed, "train"), count))).save(path)
    return Tokens.load(path)


@torch.no_grad()
def exact(network: Network, tokens: Tokens, seed: int, per_task: int) -> dict[str, float]:
    """Score unseen wordings: the share of answers whose every token is the likeliest one, by task."""
    right: defaultdict[str, list[bool]] = defaultdict(list)
    for example in islice(examples(seed, "held_out"), per_task * 50):
        if len(right[example.task]) >= per_task:
            continue
        encoded = tokens.encode(example)
        ids = torch.tensor([(encoded.prompt + encoded.answer)[: network.shape.context]])
        first = len(encoded.prompt) - 1
        best = network.logits(network(ids)[0, first:-1]).argmax(dim=1).tolist()
        right[example.task].append(best == encoded.answer)
    return {task: sum(hits) / len(hits) for task, hits in sorted(right.items())}


class Keeper:
    """What the first worker does beside training: it watches the clock, reports, keeps checkpoints and scores."""

    def __init__(self, plan: Plan, shared: Shared, tokens: Tokens, seconds: float) -> None:
        self._plan, self._shared, self._tokens, self._before = plan, shared, tokens, seconds
        self._noted = self._saved = self._scored = self._start = 0.0
        self._first = shared.seen.value
        self._sums = torch.zeros(2, dtype=torch.float64)

    def begin(self) -> None:
        """Start the clock."""
        self._noted = self._saved = self._scored = self._start = time.monotonic()

    def clock(self) -> float:
        """Tell the share of the time that is over."""
        return min(1.0, self._seconds / (self._plan.minutes * 60))

    @property
    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._start

    def after(self) -> None:
        """Follow a step."""
        shared, now = self._shared, time.monotonic()
        if now - self._noted > NOTE_SECONDS:
            self._noted = now
            self._note()
        if now - self._saved > SAVE_SECONDS:
            self._saved = now
            save(self._plan.out, shared, self._seconds)
        if now - self._scored > SCORE_SECONDS:
            self._scored = now
            self.score(12)

    def _note(self) -> None:
        shared = self._shared
        said, lost = (shared.sums - self._sums).tolist()
        self._sums = shared.sums.clone()
        speed = (shared.seen.value - self._first) / (time.monotonic() - self._start)
        print(
            f"{self._seconds / 60:6.1f} min  step {shared.steps.value}  {shared.seen.value / 1e6:.2f} M tokens"
            f"  loss {lost / said:.4f}  {speed:,.0f} tokens/s  {self._plan.minutes - self._seconds / 60:.1f} min left",
            flush=True,
        )

    def score(self, per_task: int) -> None:
        """Print the scores on unseen wordings."""
        scores = exact(self._shared.network, self._tokens, self._plan.seed + 1, per_task)
        print(f"        unseen wordings: mean {sum(scores.values()) / len(scores):.3f}", end="  ")
        print(json.dumps({task: round(score, 2) for task, score in scores.items()}), flush=True)


def save(out: Path, shared: Shared, seconds: float) -> None:
    """Keep everything needed to go on or to export."""
    kept = {
        "shape": shared.network.shape.to_dict(),
        "network": shared.network.state_dict(),
        "optimizer": shared.optimizer.state,
        "seconds": seconds,
        "seen": shared.seen.value,
        "steps": shared.steps.value,
    }
    partial = out / "checkpoint.part"
    torch.save(kept, partial)
    partial.replace(out / "checkpoint.pt")


def share(plan: Plan, shape: Shape, context: SpawnContext) -> Shared:
    """Make what the workers have in common."""
    network = Network(shape)
    network.share_memory()
    return Shared(
        network=network,
        optimizer=Optimizer(network, plan.rates),
        gradients={name: torch.zeros_like(weight).share_memory_() for name, weight in network.state_dict().items()},
        sums=torch.zeros(2, dtype=torch.float64).share_memory_(),
        queue=context.Queue(maxsize=60),
        adding=context.Lock(),
        moving=context.Lock(),
        given=context.Value("q", 0),
        said=context.Value("d", 0.0),
        ready=context.Barrier(plan.workers),
        progress=context.Value("d", 0.0),
        steps=context.Value("q", 0),
        seen=context.Value("q", 0),
    )


def resume(out: Path, shared: Shared) -> float:
    """Go on from a checkpoint; returns the seconds already used."""
    kept = torch.load(out / "checkpoint.pt")
    shared.network.load_state_dict(kept["network"])
    for name, tensor in kept["optimizer"].items():
        shared.optimizer.state[name].copy_(tensor)
    shared.seen.value, shared.steps.value = kept["seen"], kept["steps"]
    return float(kept["seconds"])


def follow(worker: int, shared: Shared) -> None:
    """Train beside the first worker; the body of a process."""
    work(worker, shared, lambda: None, lambda: 0.0, lambda: None)


def run(plan: Plan, shape: Shape, *, again: bool) -> None:
    """Train."""
    torch.manual_seed(plan.seed)
    path = plan.out / "tokens.json"
    tokens = vocabulary(path, plan.seed)
    context: Any = mp.get_context("spawn")
    shared = share(plan, shape, context)
    seconds = resume(plan.out, shared) if again else 0.0
    print(f"{shared.network.size():,} parameters, {plan.workers} workers", flush=True)
    seed = plan.seed + 1000 * shared.steps.value
    others = [context.Process(target=produce, args=(shared.queue, path, seed, plan.size, shared.progress), daemon=True)]
    others += [context.Process(target=follow, args=(worker, shared), daemon=True) for worker in range(1, plan.workers)]
    for process in others:
        process.start()
    keeper = Keeper(plan, shared, tokens, seconds)
    work(0, shared, keeper.begin, keeper.clock, keeper.after)
    shared.moving.acquire()  # nobody moves a weight any more
    save(plan.out, shared, plan.minutes * 60)
    keeper.score(60)
    for process in others:
        process.terminate()


def main() -> None:
    """Read the options and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--matrix-rate", type=float, default=0.02)
    parser.add_argument("--rate", type=float, default=0.004)
    parser.add_argument("--decay", type=float, default=0.01)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--shape", type=json.loads, default={}, help="JSON with fields of Shape")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    plan = Plan(
        out=options.out,
        minutes=options.minutes,
        workers=options.workers,
        size=options.size,
        rates=Rates(matrix=options.matrix_rate, other=options.rate, decay=options.decay),
        seed=options.seed,
    )
    run(plan, Shape(**options.shape), again=options.resume)


if __name__ == "__main__":
    main()
