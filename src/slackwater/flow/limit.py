"""How many calls one backend may have in flight: what is configured, less while it refuses some, or found by trying.

With too few its capacity lies idle; with too many everybody waits in its queue behind what came earlier, where no order
of ours helps. So a limit that nobody configured rises while more in flight is answered faster, falls while less in
flight is answered as fast, and both are tried again from time to time. Speeds are compared and not latencies: a server
that computes many calls in one step takes longer for each the more there are, and is the faster for it.
"""

import math
from collections.abc import Generator
from typing import NamedTuple

DECREASE = 0.7
DECREASE_SECONDS = 1.0
"""At most one decrease in this time: the refusals of what was sent together count once."""

START = 16
"""Calls in flight at first where the limit is to be found."""
STALLED = 1.1
"""The climb ends where twice as much in flight is not so many times as fast."""
AS_FAST, FASTER = 0.97, 1.08
"""Less in flight is enough where it is at least so fast, more is worth it where it is at least so fast."""
HEADROOM = 1.25
"""So many calls for each one that the backend computes at once: the next one is there when a place becomes free."""
MORE, LESS, FINEST = 1.4, 0.8, 0.87
"""Steps up and down; on the way down none smaller than the last is tried."""
ROUNDS, ROUNDS_MIN, ANSWERS = 6, 2, 400
"""How many rounds a size is measured, or fewer after so many answers. In a round as many are answered as in flight."""
ROUNDS_KEPT, TIMES_KEPT = 20, 3
"""How long a size is kept before more is tried, which costs little, and how often that is done before less is tried."""
HOPELESS = 0.85
"""A size at which two rounds were so much slower than asked for is given up at once."""
BUSY, IDLE_MAX = 0.8, 0.25
"""Where less than this part of the limit is in flight, an answer tells nothing; of so many a round, a size neither."""
REQUEST_TOKENS = 50
"""What an answer counts beside its output tokens: its prompt was read."""


class Speed(NamedTuple):
    """What was answered in a second."""

    tokens: float
    calls: float


class Round:
    """One round of the climb: over at once, and not measured well."""

    def __init__(self, size: int, *, before: int | None = None) -> None:
        """Begin with the next answer, while so many are in flight as `before` it."""
        self.size = size
        self.busy = BUSY * (before or size)
        """Where less is in flight, an answer tells nothing."""
        self.answers = self.tokens = self.idle = 0
        self._began = self._last = math.inf

    def hear(self, tokens: int, now: float) -> Speed | None:
        """Count an answer; return the speed when it is known."""
        if self._began == math.inf:
            self._began = now
            return None
        self._count(tokens, now)
        return self._speed() if self.answers >= self.size and now > self._began else None

    def _count(self, tokens: int, now: float) -> None:
        self.answers += 1
        self.tokens += tokens + REQUEST_TOKENS
        self._last = now

    def _speed(self) -> Speed:
        seconds = max(self._last - self._began, 1e-9)
        return Speed(self.tokens / seconds, self.answers / seconds)


class Trial(Round):
    """A size that is measured.

    A server that begins many calls at once ends them at once. Time is taken from one pause between answers to another:
    measured from amid such a bunch, or to there, a speed would be as wrong as a bunch is large.
    """

    def __init__(self, size: int, *, after: int, enough: float = 0.0) -> None:
        """Begin with the first pause when all is answered that was in flight `after` another size."""
        super().__init__(size)
        self._answers_min = max(ROUNDS_MIN * size, min(ROUNDS * size, ANSWERS))
        self._skip = max(1, after)
        self._begun_by = self._skip + size
        self._hopeless = enough * HOPELESS
        self._widest = 0.0
        self._heard = 0

    def hear(self, tokens: int, now: float) -> Speed | None:
        """Count an answer; return the speed when it is known."""
        self._heard += 1
        gap = max(now - self._last, 0.0)
        pause = gap > 0.0 and gap >= self._widest / 2
        self._widest = max(self._widest, gap)
        if self._began == math.inf:
            if (pause and self._heard > self._skip) or self._heard > self._begun_by:
                self._began = self._last
            else:
                self._last = now
                return None
        elif pause or self.answers >= self._answers_min + self.size:
            speed = self._speed()
            hopeless = speed.tokens < self._hopeless and self.answers >= ROUNDS_MIN * self.size
            if hopeless or self.answers >= self._answers_min:
                return speed
        self._count(tokens, now)
        return None


Search = Generator[Round, Speed]
"""It says what to measure, and is told how fast that was."""


class Limit:
    """The limit of one backend."""

    def __init__(self, ceiling: int, *, adaptive: bool) -> None:
        """Make one that is the ceiling, or is found below it."""
        self._ceiling = ceiling
        self._size = min(ceiling, START) if adaptive else ceiling
        """The one that is tried."""
        self.value = float(self._size)
        self._searching = adaptive
        self._decreased_at = -math.inf
        self._at_ease: list[float] = []
        """How long calls took while few were in flight, in seconds."""
        self._kept = 0
        """The size that trials begin and end with, 0 while it climbs."""
        self._begin()

    def answered(self, in_flight: int, seconds: float | None, tokens: int, now: float) -> None:
        """Hear of an answer: how many calls were in flight with it, how long it took (None: no matter), its tokens."""
        if not self._searching:
            self.value = min(float(self._ceiling), self.value + 1.0 / self.value)
        elif seconds is not None:
            self._measure(in_flight, seconds, tokens, now)

    def _measure(self, in_flight: int, seconds: float, tokens: int, now: float) -> None:
        if len(self._at_ease) < START:
            self._at_ease.append(seconds)
        trial = self._trial
        speed = trial.hear(tokens, now)
        if trial.answers:
            trial.idle += in_flight < trial.busy
        if trial.idle > IDLE_MAX * trial.size:
            self._begin()
        elif speed is not None:
            self._try(self._search.send(speed))

    def refused(self, now: float) -> None:
        """Hear that the backend has too much to do: it says so itself, there is nothing more to find out."""
        if now - self._decreased_at >= DECREASE_SECONDS:
            self._searching = False
            self._decreased_at = now
            self.value = max(1.0, self.value * DECREASE)

    def disturbed(self) -> None:
        """Hear that the backend was away: what is being measured would call it slow, and it may be another one now."""
        if self._searching:
            self._kept = 0
            self._begin()

    def _begin(self) -> None:
        self._search = self._find()
        self._try(next(self._search))

    def _try(self, trial: Round) -> None:
        self._trial = trial
        self._size = trial.size
        self.value = float(trial.size)

    def _find(self) -> Search:
        while True:
            if self._kept:
                yield from self._watch()
            else:
                yield from self._climb()

    def _climb(self) -> Search:
        """Double while that is faster, then see whether what Little's law says would do."""
        size = self._size
        speed = yield Round(size)
        while size < self._ceiling:
            slower, size, before = speed, min(2 * size, self._ceiling), size
            for _ in range(2):  # once may be chance
                speed = yield Round(size, before=before)
                if speed.tokens >= STALLED * slower.tokens:
                    break
            else:
                break
        speed = yield Trial(size, after=size)
        self._kept = size
        guess = HEADROOM * speed.calls * sum(self._at_ease) / len(self._at_ease)
        if guess < size:
            yield from self._descend(speed, int(guess))

    def _watch(self) -> Search:
        """Keep the size for a while, and try what lies above and below."""
        size, more = self._kept, min(self._ceiling, math.ceil(self._kept * MORE))
        for _ in range(TIMES_KEPT):
            speed = yield Trial(size, after=ROUNDS_KEPT * size)
            faster = yield Trial(more, after=size)
            if faster.tokens >= FASTER * speed.tokens:
                self._kept, self._size = 0, more
                return
        yield from self._descend(speed, size)

    def _descend(self, speed: Speed, guess: int) -> Search:
        """Find a smaller size that is about as fast as `speed`, from a guess on."""
        least, enough = 1, AS_FAST * speed.tokens
        less = max(least, min(guess, int(LESS * self._kept)))
        while less <= FINEST * self._kept:
            slower = yield Trial(less, after=self._kept, enough=enough)
            if slower.tokens >= enough:
                self._kept = less
            else:  # no call gets quicker with more in flight: below the first no size is fast enough
                least = math.ceil(max(less * speed.tokens / slower.tokens, math.sqrt(less * self._kept)))
            less = max(least, int(LESS * self._kept))
