"""Several processes that train one network together: each takes batches as it gets free, and they meet once per step.

One process with several threads would wait for its slowest thread in every matrix product; processes that share
memory wait once per step, which matters on a machine that does other things too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
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


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the workers have in common."""

    network: Network
    optimizer: Optimizer
    gradients: list[dict[str, Tensor]]
    """Of each worker."""
    said: Tensor
    """`[workers]`: the weights of the answers each worker has scored in this step."""
    lost: Tensor
    """`[workers]`: the weighted surprise about them."""
    queue: "Queue[Batch]"
    taken: "Synchronized[int]"
    """Batches taken in this step."""
    meeting: Barrier
    progress: "Synchronized[float]"
    """Share of the time that is over, 0 to 1; the first worker moves it."""
    steps: "Synchronized[int]"
    seen: "Synchronized[int]"
    """Tokens trained on."""
    together: int
    """Batches of one step, of all workers."""


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
    shared.meeting.wait()
    begin()
    while shared.progress.value < 1:
        _step(worker, shared, trunk, clock)
        after()


def _step(worker: int, shared: Shared, trunk: Callable[[Tensor], Tensor], clock: Callable[[], float]) -> None:
    network, mine = shared.network, shared.gradients[worker]
    start, end = PROMPT_WEIGHT
    said = lost = 0.0
    while _take(shared):
        batch = shared.queue.get()
        value, answers = loss(network, trunk, batch, start + (end - start) * shared.progress.value)
        value.backward()
        said, lost = said + batch.said, lost + answers
        with shared.seen.get_lock():
            shared.seen.value += batch.ids.size
    for name, weight in network.named_parameters():
        if weight.grad is not None:
            mine[name].copy_(weight.grad)
            weight.grad.zero_()
    shared.said[worker], shared.lost[worker] = said, lost
    shared.meeting.wait()
    total = float(shared.said.sum())
    sums = {name: sum(each[name] for each in shared.gradients) / total for name in mine}
    workers, share = len(shared.gradients), rate_share(shared.progress.value)
    shared.optimizer.step(sums, shared.steps.value + 1, share, worker, workers)  # type: ignore[arg-type]
    if worker == 0:
        shared.progress.value = clock()
    if shared.meeting.wait() == 0:
        shared.taken.value = 0
        shared.steps.value += 1
    shared.meeting.wait()


def _take(shared: Shared) -> bool:
    with shared.taken.get_lock():
        shared.taken.value += 1
        return shared.taken.value <= shared.together
