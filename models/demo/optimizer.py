"""How the weights move: Muon for the matrices inside the layers, Adam for everything else."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from network import Network
from torch import Tensor

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of Keller Jordan's quintic iteration."""
_MOMENTUM = 0.95
_BETAS = (0.9, 0.97)
_TINY = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """How far a step goes."""

    matrix: float
    """Of Muon: the size of a step relative to an orthogonal matrix."""
    other: float
    """Of Adam."""
    decay: float
    """By which share of its rate Muon shrinks a matrix at each step."""


def _orthogonal(stack: Tensor) -> Tensor:
    """Bring the singular values of `[count, rows, columns]`, rows <= columns, near one."""
    a, b, c = _NEWTON_SCHULZ
    x = stack / (stack.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x


class Optimizer:
    """Moves a network's weights; what it remembers lies in shared memory, so that any process may do a step."""

    def __init__(self, network: Network, rates: Rates) -> None:
        self._rates = rates
        self._weights = dict(network.named_parameters())
        self._matrices = [name for name, weight in self._weights.items() if name.startswith("blk.") and weight.ndim > 1]
        chosen = set(self._matrices)
        self._others = [name for name in self._weights if name not in chosen]
        self.state: dict[str, Tensor] = {name: torch.zeros_like(weight) for name, weight in self._weights.items()}
        self.state |= {f"{name}.square": torch.zeros_like(self._weights[name]) for name in self._others}
        for tensor in self.state.values():
            tensor.share_memory_()

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], count: int, share: float) -> None:
        """Do step number `count` (from 1) with `share` of the full rates."""
        shapes: defaultdict[tuple[int, ...], list[str]] = defaultdict(list)
        for name in self._matrices:
            shapes[tuple(self._weights[name].shape)].append(name)
        for names in shapes.values():
            self._muon(names, gradients, self._rates.matrix * share)
        for name in self._others:
            self._adam(name, gradients[name], count, self._rates.other * share)

    def _muon(self, names: Sequence[str], gradients: Mapping[str, Tensor], rate: float) -> None:
        gradient = torch.stack([gradients[name] for name in names])
        average = torch.stack([self.state[name] for name in names]).lerp_(gradient, 1 - _MOMENTUM)
        update = gradient.lerp(average, _MOMENTUM)
        rows, columns = update.shape[1:]
        update = _orthogonal(update) if rows <= columns else _orthogonal(update.mT).mT
        scale = rate * max(1.0, rows / columns) ** 0.5
        for name, kept, change in zip(names, average, update, strict=True):
            self.state[name].copy_(kept)
            self._weights[name].mul_(1 - rate * self._rates.decay).sub_(change, alpha=scale)

    def _adam(self, name: str, gradient: Tensor, count: int, rate: float) -> None:
        first, second = _BETAS
        mean = self.state[name].lerp_(gradient, 1 - first)
        square = self.state[f"{name}.square"].lerp_(gradient.square(), 1 - second)
        scale = (square / (1 - second**count)).sqrt_().add_(_TINY)
        self._weights[name].addcdiv_(mean, scale, value=-rate / (1 - first**count))
