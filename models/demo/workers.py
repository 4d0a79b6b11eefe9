"""Several processes that train one network together: weights and gradients lie in memory that they share.

One process with several threads would wait for its slowest thread in every matrix product; these never wait for each
other, which matters on a machine that does other things too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier, Lock
from typing import TYPE_CHECKING, Any

import torch
from batches import HEARD, Batch
from network import Network
from optimizer import Optimizer
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.sharedctypes import Synchronized

PROMPT_WEIGHT = (0.04, 0.01)
"""How much a token of the prompt counts beside the average one of an answer (0.25), at the start and at the end."""
WARM_UP = 0.01
STEADY = 0.4
"""Share of the time after which the rates come down."""
TOGETHER = (6, 9)
"""Batches of one step, at the start and at the end."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the workers have in common."""

    network: Network
    optimizer: Optimizer
    gradients: dict[str, Tensor]
    """Sums over the batches since the last step."""
    sums: Tensor
    """`[said, lost]`, both since the beginning: the weights of answers, and the weighted surprise about them."""
    queue: "Queue[Batch]"
    adding: Lock
    """Held while gradients and the numbers here are added to."""
    moving: Lock
    """Held during a step."""
    given: "Synchronized[int]"
    """Batches since the last step."""
    said: "Synchronized[float]"
    """Weights of the answers in them."""
    ready: Barrier
    progress: "Synchronized[float]"
    """Share of the time that is over, 0 to 1; the first worker moves it."""
    steps: "Synchronized[int]"
    seen: "Synchronized[int]"
    """Tokens trained on."""


def rate_share(progress: float) -> float:
    """Tell the share of the full rates when `progress` (0-1) of the time is over."""
    if progress < WARM_UP:
        return 0.1 + 0.9 * progress / WARM_UP
    return min(1.0, max(0.0, (1 - progress) / (1 - STEADY)))


def loss(
    network: Network, trunk: Callable[[Tensor], Tensor], batch: Batch, prompt_weight: float
) -> tuple[Tensor, float]:
    """Sum the weighted surprise over a batch: (answers and the sampled part of the prompts, answers alone)."""
    states = trunk(torch.from_numpy(batch.ids)).flatten(0, 1)
    scores = network.logits(states[torch.from_numpy(batch.spots)])
    surprise = functional.cross_entropy(scores, torch.from_numpy(batch.targets), reduction="none")
    weights = torch.from_numpy(batch.weights)
    everything = (surprise * torch.where(weights > 0, weights, prompt_weight / HEARD)).sum()
    return everything, float((surprise.detach() * weights).sum())


def work(
    worker: int, shared: Shared, begin: Callable[[], None], clock: Callable[[], float], after: Callable[[], None]
) -> None:
    """Train until `clock` says 1; `begin` is called when all are ready, `after` after every step."""
    torch.set_num_threads(1)
    network = shared.network
    compiled: Any = torch.compile(network, dynamic=True)

    def trunk(ids: Tensor) -> Tensor:
        several: Tensor = (compiled if len(ids) > 1 else network)(ids)  # a single row would be compiled anew
        return several

    while len((batch := shared.queue.get()).ids) == 1:
        pass
    loss(network, trunk, batch, 0.0)[0].backward()
    network.zero_grad(set_to_none=False)
    shared.ready.wait()
    begin()
    while shared.progress.value < 1:
        batch, progress = shared.queue.get(), shared.progress.value
        start, end = PROMPT_WEIGHT
        value, answers = loss(network, trunk, batch, start + (end - start) * progress)
        value.backward()
        mean = _give(shared, batch, answers)
        if mean is not None:
            with shared.moving:
                shared.steps.value += 1
                shared.optimizer.step(mean, shared.steps.value, rate_share(progress))
        if worker == 0:
            shared.progress.value = clock()
            after()


def _give(shared: Shared, batch: Batch, answers: float) -> dict[str, Tensor] | None:
    """Add a batch's gradients; returns the mean ones when there are enough for a step.

    Nobody waits for a step: others go on with weights that are about to move, which costs less than waiting.
    """
    first, last = TOGETHER
    with shared.adding:
        shared.seen.value += batch.ids.size
        shared.sums.add_(torch.tensor([batch.said, answers], dtype=torch.float64))
        shared.said.value += batch.said
        shared.given.value += 1
        for name, weight in shared.network.named_parameters():
            if weight.grad is not None:
                shared.gradients[name] += weight.grad
                weight.grad.zero_()
        if shared.given.value < round(first + (last - first) * shared.progress.value):
            return None
        mean = {name: total / shared.said.value for name, total in shared.gradients.items()}
        for total in shared.gradients.values():
            total.zero_()
        shared.given.value, shared.said.value = 0, 0.0
        return mean
