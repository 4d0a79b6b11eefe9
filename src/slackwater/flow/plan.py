"""Plan: the order in which requests are worked on, and its cut into shards.

Requests are ordered by model and then by shared prompt prefix. A prompt is read as the API reads it, tools → system →
messages, and cut at a few places; each cut is a node of a tree in which equal starts share a node. Walking the tree
depth-first puts requests that share the most next to each other, and siblings stay in the order of their first
appearance, so that a batch without shared prefixes keeps the order in which it was sent.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from slackwater.domain.batch import Shard
from slackwater.domain.limits import SHARD_BYTES_MAX, SHARD_REQUESTS_MAX
from slackwater.wire.prompt import Prompt

PREFIX_BYTES_MIN = 4_096
"""Shortest shared start worth warming a cache for: about 1,024 tokens, the usual minimum (contract §10)."""
SHORT_PREFIX_BYTES_MIN = 1_024
"""Shortest shared start worth staying in a slot for: an engine on this machine reads it as slowly as anything else."""
MODELS_MAX = 256
"""Batches that name more models than this have the rarest of them share shards, so that shards stay few."""
MIXED = ""
"""The model of shards whose requests name different models, or none that can be read."""


class Planned(msgspec.Struct, frozen=True, gc=False):
    """A request in its place."""

    index: int
    """Position in the create call."""
    model: str
    """The shard's model: the request's own, or `MIXED`."""
    group: int
    """Prefix group, 1…; negative when the shared prefix is worth a slot only, 0 when none is that long."""


def plan(prompts: Iterable[Prompt | None]) -> list[Planned]:
    """Order requests; None stands for params whose prompt cannot be read."""
    tree = _Tree()
    models: list[str] = []
    paths: list[tuple[int, ...]] = []
    for prompt in prompts:
        model = prompt.model if prompt is not None else MIXED
        models.append(model)
        paths.append(tree.path(model, prompt.cuts if prompt is not None else ()))
    ranks = _ranks(models)
    # Sorting keeps what is equal in the order of arrival.
    order = sorted(
        range(len(models)), key=[(ranks.get(m, 0), p) for m, p in zip(models, paths, strict=True)].__getitem__
    )
    groups = tree.groups(paths)
    members = Counter(groups)
    return [
        Planned(
            index,
            models[index] if models[index] in ranks else MIXED,
            groups[index] if members[groups[index]] > 1 else 0,
        )
        for index in order
    ]


def _ranks(models: Sequence[str]) -> dict[str, int]:
    """Give models numbers from 1 as they first appear; the rarest beyond `MODELS_MAX` get none."""
    kept = {model for model, _ in Counter(models).most_common(MODELS_MAX)}
    first_seen = dict.fromkeys(model for model in models if model in kept and model != MIXED)
    return {model: rank for rank, model in enumerate(first_seen, start=1)}


class _Tree:
    """Equal starts get equal nodes; nodes are numbered as they first appear."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[int, str | int], int] = {}
        self._requests = [0]
        """By node, how many requests begin like this. There is no node 0."""
        self._long: set[int] = set()
        self._short: set[int] = set()

    def path(self, model: str, cuts: Sequence[tuple[int, int]]) -> tuple[int, ...]:
        """Enter a request; `cuts` are (bytes from the prompt's start, hash of them) in growing order."""
        node = self._enter((0, model))
        path: tuple[int, ...] = (node,)
        for length, digest in cuts:
            node = self._enter((node, digest))
            path += (node,)
            if length >= SHORT_PREFIX_BYTES_MIN:
                (self._long if length >= PREFIX_BYTES_MIN else self._short).add(node)
        return path

    def _enter(self, key: tuple[int, str | int]) -> int:
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = len(self._requests)
            self._requests.append(1)
        else:
            self._requests[node] += 1
        return node

    def groups(self, paths: Sequence[tuple[int, ...]]) -> list[int]:
        """Return the deepest node of each path that is shared and long, else one that is short, negative, else 0."""
        long, short = ({node for node in nodes if self._requests[node] > 1} for nodes in (self._long, self._short))
        return [_deepest(path, long) or -_deepest(path, short) for path in paths]


def _deepest(path: Sequence[int], nodes: set[int]) -> int:
    return next((node for node in reversed(path) if node in nodes), 0) if nodes else 0


def cut(sizes: Iterable[tuple[str, int]]) -> Iterator[Shard]:
    """Cut requests, given in plan order as (model, stored bytes), into shards.

    A shard holds one model, at most `SHARD_REQUESTS_MAX` requests and at most `SHARD_BYTES_MAX` bytes; a larger
    request gets a shard of its own.
    """
    number = offset = length = count = 0
    current: str | None = None
    for model, size in sizes:
        full = count == SHARD_REQUESTS_MAX or length + size > SHARD_BYTES_MAX
        if current is not None and (model != current or full):
            yield Shard(number=number, model=current, offset=offset, length=length, count=count)
            number, offset, length, count = number + 1, offset + length, 0, 0
        current = model
        length += size
        count += 1
    if current is not None:
        yield Shard(number=number, model=current, offset=offset, length=length, count=count)
