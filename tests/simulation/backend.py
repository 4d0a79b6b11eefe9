"""The backends, and their own account of who asked what when: nothing in it comes from the server."""

from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from slackwater.domain.errors import APIError, AttemptFailedError, BackendAwayError, InvalidRequestError
from slackwater.ports import Call

ANSWERED_BY_FAILURE = frozenset({"away", "full", "failed"})
LONG_SECONDS = 7.5
"""Of a call that takes longer than a lease (X4)."""


@dataclass(eq=False)
class Send:
    """One call that arrived at a backend."""

    custom_id: str
    server: Any
    at: float
    outcome: str = ""
    """`ok`, `away`, `full`, `failed`, `refused`, `aborted`, or nothing while it is unknown: also after a kill."""
    back_at: float = 0.0
    text: str = ""


class Witness:
    """Answers calls by the nature of the request and by chance, and writes everything down."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self.sends: defaultdict[str, list[Send]] = defaultdict(list)
        self.natures: dict[str, str] = {}
        """By custom_id: `failing` never succeeds, `refused` is invalid, `long` takes long, `nobody` has no route."""
        self.numbers = 0

    async def answer(self, backend: str, server: Any, call: Call) -> dict[str, Any]:
        """Take a call."""
        world = self._world
        custom_id = call.custom_id or ""
        send = Send(custom_id, server, world.now)
        world.rules.sent(send, self.sends[custom_id])
        self.sends[custom_id].append(send)
        send.outcome = "aborted"
        try:
            outcome = await self._serve(backend, self.natures.get(custom_id, "plain"))
        except BaseException:
            world.note("aborted", custom_id)
            raise
        send.outcome, send.back_at = outcome, world.now
        world.note(outcome, custom_id)
        match outcome:
            case "away" | "full":
                pause = world.chance.choice([None, 0.3, 1.0])
                raise BackendAwayError(outcome, full=outcome == "full", retry_after_seconds=pause)
            case "failed":
                raise AttemptFailedError("failed", APIError("the model fell over"))
            case "refused":
                raise InvalidRequestError("the model does not do that")
        self.numbers += 1
        send.text = f"{custom_id}#{self.numbers}"
        usage = {"input_tokens": world.chance.randint(1, 50), "output_tokens": world.chance.randint(1, 50)}
        return {
            "id": f"msg_{self.numbers}",
            "content": [{"type": "text", "text": send.text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": usage,
        }

    async def _serve(self, backend: str, nature: str) -> str:
        world, chance = self._world, self._world.chance
        if world.now < world.away_until[backend]:
            await world.clock.sleep(0.01)
            return "away"
        outcome = {"failing": "failed", "refused": "refused"}.get(nature, "ok")
        seconds = LONG_SECONDS if nature == "long" else min(3.0, chance.expovariate(1 / world.call_seconds))
        if outcome == "ok" and chance.random() < world.backend_faults:
            outcome = chance.choice(["away", "full", "failed", "failed"])
        if outcome in {"away", "full"}:
            seconds = 0.02
        await world.clock.sleep(seconds)
        return outcome


class Endpoint:
    """A backend as one server process reaches it: `ports.Backend`."""

    def __init__(self, name: str, server: Any, witness: Witness) -> None:
        self._name = name
        self._server = server
        self._witness = witness

    @property
    def name(self) -> str:
        """The configured name."""
        return self._name

    async def reads(self) -> frozenset[str]:
        """Read text only."""
        return frozenset()

    async def infer(self, call: Call) -> dict[str, Any]:
        """Send a call."""
        return await self._witness.answer(self._name, self._server, call)

    async def stream(self, call: Call) -> AsyncIterator[dict[str, Any]]:
        """Stream nothing: nobody here asks for it."""
        yield {"type": "message_stop", "call": call.upstream}

    async def count_tokens(self, call: Call) -> int | None:
        """Count nothing."""
        return None if call.upstream else 0

    async def models(self) -> list[str]:
        """Offer one model."""
        return [self._name]

    async def close(self) -> None:
        """Have nothing open."""
