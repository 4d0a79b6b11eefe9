"""A model of an engine's prefix cache: blocks of 16 tokens, each known by all before it; the least recently used go."""

from collections import OrderedDict
from dataclasses import dataclass

from slackwater.backends.simulated.prompt import TOKEN_BYTES, Prompt

BLOCK_TOKENS = 16
_BLOCK_BYTES = BLOCK_TOKENS * TOKEN_BYTES


@dataclass(frozen=True, kw_only=True, slots=True)
class InputUsage:
    """The input tokens of one request; the four sum to the prompt."""

    uncached: int
    """Neither read nor written at a breakpoint: what the Messages API calls `input_tokens`."""
    read: int
    created_5m: int = 0
    created_1h: int = 0

    @property
    def total(self) -> int:
        """Return the whole prompt's tokens."""
        return self.uncached + self.read + self.created_5m + self.created_1h

    @property
    def prefill(self) -> int:
        """Return the tokens that have to be computed."""
        return self.total - self.read


class PrefixCache:
    """Remembers blocks of prompts.

    A block becomes usable when `keep` is called, after the prefill of the request that brought it: of two requests
    with one prefix that start together neither helps the other. Breakpoints decide what is called *created*, not what
    is kept; a life time is not modelled.
    """

    def __init__(self, tokens_max: int) -> None:
        self._blocks_max = tokens_max // BLOCK_TOKENS
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def look_up(self, prompt: Prompt) -> tuple[InputUsage, list[int]]:
        """Return how the prompt's tokens are accounted for, and its chain of blocks for `keep`."""
        total = prompt.tokens
        if not self._blocks_max:
            return InputUsage(uncached=total, read=0), []
        chain = _chain(prompt.rendered)
        hits = 0
        # As in a real engine, the last token is always computed.
        for block in chain[: (total - 1) // BLOCK_TOKENS]:
            if block not in self._blocks:
                break
            hits += 1
        return _account(prompt, total, hits * BLOCK_TOKENS), chain

    def keep(self, chain: list[int]) -> None:
        """Make a chain's blocks the most recently used, its start the last to go."""
        for block in reversed(chain):
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) > self._blocks_max:
            self._blocks.popitem(last=False)

    def __len__(self) -> int:
        """Return the tokens held."""
        return len(self._blocks) * BLOCK_TOKENS


def _chain(rendered: bytes) -> list[int]:
    chain = []
    link = 0
    for start in range(0, len(rendered) - _BLOCK_BYTES + 1, _BLOCK_BYTES):
        link = hash((link, rendered[start : start + _BLOCK_BYTES]))
        chain.append(link)
    return chain


def _account(prompt: Prompt, total: int, read: int) -> InputUsage:
    created = {True: 0, False: 0}
    reached = read
    for mark in prompt.marks:
        end = min(mark.end_bytes // TOKEN_BYTES, total)
        if end > reached:
            created[mark.one_hour] += end - reached
            reached = end
    return InputUsage(uncached=total - reached, read=read, created_5m=created[False], created_1h=created[True])
