"""The engine in the box, hurt: damaged models, killed children, a killed parent, too little memory. It is real."""

import asyncio
import os
import random
import signal
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from slackwater.backends.llamacpp import (
    Engine,
    LocalEngines,
    LocalModel,
    Running,
    engines,
    process,
    why_not,
)
from slackwater.backends.llamacpp import (
    engine as one_engine,
)
from slackwater.backends.llamacpp.causes import Failure
from slackwater.backends.llamacpp.machine import this_machine
from slackwater.clock import SystemClock
from slackwater.domain.errors import APIError, BackendAwayError
from support.gguf import tiny_model, tiny_projector
from support.waiting import until

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

FLIPS = 60
REQUESTS = 2_000
BACK_SECONDS = 2.0
GROWTH_KIB_MAX = 6_000
TOKENS = 4


class MovableClock(SystemClock):
    """The system's clock, which a test can put ahead."""

    ahead_seconds = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_seconds


@dataclass
class Engines:
    """Local models of one test."""

    folder: Path
    clock: MovableClock = field(default_factory=MovableClock)
    made: list[LocalEngines] = field(default_factory=list)

    def make(self, **settings: Any) -> LocalEngines:
        self.made.append(LocalEngines(clock=self.clock, **settings))
        return self.made[-1]

    def tiny(self, name: str = "tiny", **settings: Any) -> LocalModel:
        path = self.folder / f"{name}.gguf"
        return LocalModel(name=name, path=path if path.exists() else tiny_model(path), slots=2, threads=1, **settings)

    def damaged(self, name: str, content: bytes) -> LocalModel:
        path = self.folder / f"{name}.gguf"
        path.write_bytes(content)
        return LocalModel(name=name, path=path, slots=2, threads=1)


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[Engines]:
    """Build engines; every child is ended at the end of the test."""
    local = Engines(tmp_path)
    yield local
    await asyncio.gather(*(made.close() for made in local.made))


async def test_a_model_is_started_when_it_is_needed_and_answers(local: Engines) -> None:
    """Many callers share one start; the child is told what was fitted, and takes nobody without its key (A7)."""
    engine = local.make().add(local.tiny(context_tokens=600))
    assert engine.slots == 2
    assert engine.gguf is not None

    async def use() -> Running:
        async with engine.serving() as running:
            return running

    several = await asyncio.gather(*(use() for _ in range(20)))
    assert len({running.generation for running in several}) == 1
    running = several[0]
    assert running.control_tokens == ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    assert running.vision is False
    facts = await _get(running, "/props")
    assert facts["total_slots"] == 2 + 1
    assert facts["default_generation_settings"]["n_ctx"] == running.context_tokens == 768
    assert await _generate(running)
    async with aiohttp.ClientSession() as session, session.get(f"{running.url}/props") as answer:
        assert answer.status == 401


async def test_a_model_with_a_projector_takes_images(local: Engines) -> None:
    """And says so; a projector of something else is refused by name."""
    projector = tiny_projector(local.folder / "mmproj.gguf")
    made = local.make()
    async with made.add(local.tiny(mmproj=projector)).serving() as running:
        assert running.vision is True
        assert (await _get(running, "/props"))["modalities"]["vision"] is True
    refused = await _refusal(made.add(local.tiny(mmproj=local.folder / "tiny.gguf")))
    assert refused == "the projector of tiny is not a projector (mmproj) but a model of the architecture 'llama'."
    refused = await _refusal(made.add(local.tiny(mmproj=local.folder / "gone.gguf")))
    assert refused == "the projector of tiny does not exist."


async def test_the_child_has_nothing_of_ours_but_its_pipes(local: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket and no secret is inherited, a Ctrl-C reaches it through us only, its key is in no command line."""
    for name in ("SLACKWATER_PEPPER", "SLACKWATER_API_KEY", "GPU0_API_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, "secret-of-ours")
    monkeypatch.setenv("LLAMA_SETTING", "kept")
    listening = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    ours = os.fstat(listening.sockets[0].fileno()).st_ino
    os.set_inheritable(listening.sockets[0].fileno(), True)  # noqa: FBT003  # the worst case
    engine = local.make().add(local.tiny())
    async with engine.serving() as running:
        pid = _pid(engine)
        assert f"socket:[{ours}]" not in _files(pid)
        assert os.getsid(pid) == pid
        assert running.api_key not in _started_with(pid)
        assert "secret-of-ours" not in _started_with(pid)
        assert "LLAMA_SETTING=kept" in _started_with(pid)
        os.kill(pid, signal.SIGINT)
        assert await _generate(running)
    listening.close()


async def test_every_damaged_model_is_one_sentence_and_others_go_on(local: Engines) -> None:
    """Whatever the engine says against a file ends up in words; operators hear the path, clients the model's name."""
    good = local.tiny()
    whole = good.path.read_bytes()
    cases = {
        "martian": (
            whole.replace(_text("llama"), _text("marsi")),
            "has the architecture 'marsi', which this engine does not know",
        ),
        "tokenizer": (
            whole.replace(_text("gpt-2"), _text("gpt-9")),
            "has a tokenizer of the kind 'gpt-9', which this engine does not know",
        ),
        "nameless": (
            whole.replace(b"output_norm.weight", b"output_nurm.weight"),
            "(llama) cannot be loaded: check_tensor_dims: tensor 'output_norm.weight' not found.",
        ),
        "wordless": (
            whole.replace(b"tokenizer.ggml.model", b"tokenizer.ggml.mxdel"),
            "cannot be loaded: key not found in model: tokenizer.ggml.model.",
        ),
        "numberless": (whole[:-100_000] + struct.pack("<f", float("nan")) * 25_000, "has damaged weights"),
        "short": (whole[:-100], "is cut off: it should have"),
        "headless": (whole[:3_000], "is cut off inside its header"),
        "foreign": (b"PK\x03\x04" + whole, "is not a GGUF file"),
        "empty": (b"", "is empty."),
    }
    made = local.make()
    with_models = made.add(good)
    async with with_models.serving() as running:
        for name, (content, said) in cases.items():
            model = local.damaged(name, content)
            engine = made.add(model)
            sentence = await _refusal(engine)
            assert sentence.startswith(f"{name} "), sentence
            assert str(local.folder) not in sentence, sentence
            assert (engine.refusal or "").startswith(f"{model.path} ")
            assert said in sentence, sentence
            assert sentence.count(". ") == 0, sentence
        assert await _generate(running)
        assert running.generation == 1


async def test_weights_that_are_no_numbers_are_found_by_generating(
    local: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large files are not looked through while they are loaded: the first tokens show it."""
    monkeypatch.setattr(process, "CHECKED_BYTES_MAX", 0)
    whole = local.tiny().path.read_bytes()
    model = local.damaged("nan", whole[:-100_000] + struct.pack("<f", float("nan")) * 25_000)
    sentence = await _refusal(local.make().add(model))
    assert sentence == "nan has damaged weights: what it generates are no numbers; download it again."


async def test_random_damage_never_hangs_or_kills_anyone(local: Engines) -> None:
    """Flipped bytes in the header or the weights: the model loads, or says one sentence, and the good one goes on."""
    good = local.tiny()
    whole = good.path.read_bytes()
    chance = random.Random(20261122)  # noqa: S311  # where to hurt
    made = local.make()
    kinds: list[str] = []

    async def hurt(number: int) -> None:
        content = bytearray(whole)
        for _ in range(chance.choice([1, 4, 16])):
            content[chance.randrange(chance.choice([8_000, len(content)]))] = chance.randrange(256)
        engine = made.add(local.damaged(f"flipped-{number}", bytes(content)))
        try:
            async with engine.serving():
                kinds.append("loaded")
        except (APIError, BackendAwayError) as error:
            assert str(error).endswith(".")  # noqa: PT017  # either is fine
            kinds.append("refused")
        await engine.close()

    async with made.add(good).serving() as running:
        for first in range(0, FLIPS, 3):
            await asyncio.gather(*(hurt(first + more) for more in range(3)))
        assert await _generate(running)
    assert len(kinds) == FLIPS
    assert set(kinds) == {"loaded", "refused"}


async def test_a_file_that_was_put_right_is_tried_anew(local: Engines) -> None:
    """A refused file is not opened again until it changes."""
    model = local.damaged("late", b"not yet")
    engine = local.make().add(model)
    assert engine.slots == 1
    assert engine.gguf is None
    assert "is not a GGUF file" in await _refusal(engine)
    tiny_model(model.path)
    async with engine.serving() as running:
        assert await _generate(running)
    assert engine.slots == 2


async def test_calls_of_a_killed_child_fail_at_once_and_the_next_ones_work(local: Engines) -> None:
    """`kill -9` with calls in flight: nobody waits for a dead child, and another one is there soon."""
    engine = local.make().add(local.tiny())
    loop = asyncio.get_running_loop()

    async def use() -> None:
        async with engine.serving() as running:
            await _generate(running, tokens=100_000)

    calls = [asyncio.create_task(use()) for _ in range(3)]
    async with engine.serving() as first:
        await _busy(first)
        os.kill(_pid(engine), signal.SIGKILL)
        killed_at = loop.time()
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(outcome, aiohttp.ClientError)
    # Connections may break a moment before the process is gone.
    await _event(lambda: engine.reserved_bytes == 0)
    async with engine.serving() as second:
        assert await _generate(second)
        assert second.generation == first.generation + 1
        assert second.api_key != first.api_key
    assert loop.time() - killed_at < BACK_SECONDS


async def test_a_file_that_is_cut_while_it_serves_is_refused_from_then_on(local: Engines) -> None:
    """Weights are read from the file as they are needed: the child dies of it, and the next start says why."""
    model = local.tiny()
    engine = local.make().add(model)
    async with engine.serving() as running:
        assert await _generate(running)
        os.truncate(model.path, 1_000)
        with pytest.raises(aiohttp.ClientError):
            await _generate(running)
    await _event(lambda: engine.reserved_bytes == 0)
    assert await _refusal(engine) == "tiny is cut off inside its header, after 1,000 bytes; download it again."
    model.path.unlink()
    tiny_model(model.path)
    async with engine.serving() as running:
        assert await _generate(running)


async def test_a_child_that_keeps_dying_is_started_less_and_less_often(local: Engines) -> None:
    """The wait doubles; soon work is sent away with the time to come back; a minute of health forgives everything."""
    engine = local.make().add(local.tiny())
    for _ in range(5):
        async with engine.serving():
            await _kill(engine)
    with pytest.raises(BackendAwayError) as away:
        async with engine.serving():
            pass
    assert 1 < (away.value.retry_after_seconds or 0) <= 1.6
    local.clock.ahead_seconds += 2
    async with engine.serving():
        local.clock.ahead_seconds += 61
        await _kill(engine)
    async with engine.serving() as running:
        assert await _generate(running)


async def test_two_models_in_memory_for_one_take_turns(local: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle one makes room; one in use keeps its memory for its turn, then it takes no new calls and gives way."""
    monkeypatch.setattr(engines, "ROOM_SECONDS", 0.2)
    first, second = _two(local)
    async with first.serving():
        pass
    async with second.serving() as running:
        assert await _generate(running)
        assert first.reserved_bytes == 0
        with pytest.raises(BackendAwayError, match="models in use hold it"):
            await first.serving().__aenter__()
        async with second.serving() as still:
            assert still.generation == running.generation
        local.clock.ahead_seconds += engines.TURN_SECONDS
        with pytest.raises(BackendAwayError, match="models in use hold it"):
            await first.serving().__aenter__()
        with pytest.raises(BackendAwayError, match="gives its memory"):
            await second.serving().__aenter__()
        monkeypatch.setattr(engines, "ROOM_SECONDS", 10)
        waiting = asyncio.create_task(first.serving().__aenter__())
        await asyncio.sleep(0)
    assert await _generate(await waiting)
    assert second.reserved_bytes == 0


async def test_a_model_that_nobody_uses_gives_its_memory_back(local: Engines) -> None:
    """After its idle time, and not while somebody uses it; the next call starts it again."""
    engine = local.make(idle_seconds=0.2).add(local.tiny())
    async with engine.serving():
        pid = _pid(engine)
        await _event(lambda: False, seconds=0.4)
        assert _alive(pid)
    for _ in range(20):
        async with engine.serving():
            assert len(engine._tasks) == 2, "one watches for its end, one for its idleness"
    await _event(lambda: engine.reserved_bytes == 0)
    assert not _alive(pid)
    async with engine.serving() as running:
        assert running.generation == 2


async def test_a_model_that_needs_too_much_memory_says_how_much(local: Engines) -> None:
    """At once, without a child."""
    engine = local.make(memory_bytes=10 * 2**20).add(local.tiny())
    assert engine.slots == 1
    sentence = await _refusal(engine)
    assert "needs about" in sentence
    assert sentence.endswith("or raise engine.memory_mib.")


async def test_memory_that_is_free_again_is_found(local: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a configured limit the machine is asked again after a while: another program may have ended."""
    full = replace(this_machine(), memory_bytes=10 * 2**20)
    monkeypatch.setattr(engines, "this_machine", lambda: full)
    engine = local.make().add(local.tiny())
    assert "needs about" in await _refusal(engine)
    monkeypatch.undo()
    assert "needs about" in await _refusal(engine)
    local.clock.ahead_seconds += one_engine.LOOK_SECONDS
    async with engine.serving() as running:
        assert await _generate(running)


async def test_what_the_machine_lacks_is_said(local: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason why no engine runs here is the answer to every call."""
    monkeypatch.setattr(one_engine, "why_not", lambda: "The engine needs a processor with AVX2.")
    assert await _refusal(local.make().add(local.tiny())) == "The engine needs a processor with AVX2."


async def test_a_child_that_never_gets_ready_is_ended(local: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading has a deadline by the size of the file; the work is sent away and may try again."""
    monkeypatch.setattr(process, "START_SECONDS", 0.0)
    engine = local.make().add(local.tiny())
    with pytest.raises(BackendAwayError, match="was not loaded: nothing after 0 seconds"):
        await engine.serving().__aenter__()
    assert engine.reserved_bytes == 0
    assert _children(os.getpid()) == []


async def test_a_child_that_may_not_be_killed_because_it_has_ended_is_waited_for(
    local: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS, where a process that has ended and was not reaped yet refuses signals."""
    real = os.killpg

    def killpg(group: int, number: int) -> None:
        real(group, number)
        raise PermissionError

    engine = local.make().add(local.tiny())
    async with engine.serving():
        pid = _pid(engine)
    monkeypatch.setattr(process.os, "killpg", killpg)
    await engine.stop("a test")
    assert not _alive(pid)
    assert engine.reserved_bytes == 0


async def test_an_ended_child_leaves_nothing_open(local: Engines) -> None:
    """Who asks after a child that has just ended is told when its pipes are closed too, before any loop can end."""
    engine = local.make().add(local.tiny())
    for _ in range(5):
        async with engine.serving():
            child = engine._process
            assert child is not None
        gone = asyncio.create_task(child.ended())
        await asyncio.sleep(0)
        os.kill(child.pid, signal.SIGKILL)
        gone.cancel()
        await _event(lambda child=child: child.status is not None)  # type: ignore[misc]
        assert await child.ended() == -signal.SIGKILL
        assert child._process._transport.is_closing()  # type: ignore[attr-defined]


async def test_no_process_to_be_had_is_no_verdict_on_the_model(local: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work is sent away and may come back."""
    engine = local.make().add(local.tiny())
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/nothing/here")
        with pytest.raises(BackendAwayError, match="could not be started"):
            await engine.serving().__aenter__()
    async with engine.serving() as running:
        assert await _generate(running)


async def test_closing_ends_starts_too(local: Engines) -> None:
    """A server that ends while a model is loaded leaves no child and no waiting caller."""
    made = local.make()
    engine = made.add(local.tiny())
    waiting = asyncio.create_task(engine.serving().__aenter__())
    await _event(lambda: bool(_children(os.getpid())))
    await made.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert _children(os.getpid()) == []
    with pytest.raises(BackendAwayError, match="is being closed"):
        await engine.serving().__aenter__()


async def test_a_child_that_hangs_is_ended_when_somebody_doubts_it(
    local: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that still turns is left alone; a stopped one is replaced by the next call."""
    engine = local.make().add(local.tiny())
    async with engine.serving() as running:
        engine.doubt(running)
        await _examined(engine)
        assert await _generate(running)
        monkeypatch.setattr(one_engine, "DOUBT_SECONDS", 0.1)
        os.kill(_pid(engine), signal.SIGSTOP)
        engine.doubt(running)
        engine.doubt(running)
        await _event(lambda: engine.reserved_bytes == 0)
        engine.doubt(running)
    async with engine.serving() as another:
        assert await _generate(another)
        assert another.generation == 2


async def test_a_file_that_makes_the_engine_crash_is_given_up_after_some_tries(
    local: Engines, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Twice the work is sent away, then the model is refused until its file changes; want of memory is no such case."""
    child = tmp_path / "child.py"
    monkeypatch.setattr(process, "CHILD", child)
    child.write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    killed = local.make().add(local.tiny("killed"))
    child.write_text("import os; os.abort()")
    crashing = local.make().add(local.tiny("crashing"))
    for _ in range(2):
        with pytest.raises(
            BackendAwayError, match="makes the engine crash while it is loaded: it was ended by SIGABRT"
        ):
            await crashing.serving().__aenter__()
    assert "makes the engine crash" in await _refusal(crashing)
    child.write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    for _ in range(4):
        with pytest.raises(BackendAwayError, match="most likely for want of memory"):
            await killed.serving().__aenter__()


def _failing(failures: Iterable[Failure]) -> Any:  # stands for a class
    """Return what fails to start as it is told, one failure after the other."""
    waiting = iter(failures)

    async def start(_plan: object) -> None:
        await asyncio.sleep(0)
        raise process.StartFailedError(next(waiting))

    return SimpleNamespace(start=start)


async def test_only_failures_that_the_file_may_have_caused_count_against_it(
    local: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Children that were killed, and memory that was missing, make the next start wait and nothing else."""
    engine = local.make().add(local.tiny())
    for _ in range(3):
        async with engine.serving():
            await _kill(engine)
    memory, slow = Failure(sentence="No memory.", tries=None), Failure(sentence="Slow.", tries=3)
    monkeypatch.setattr(one_engine, "EngineProcess", _failing([memory, slow, memory, slow]))
    for _ in range(4):
        local.clock.ahead_seconds += 60
        with pytest.raises(BackendAwayError):
            await engine.serving().__aenter__()
    monkeypatch.undo()
    local.clock.ahead_seconds += 60
    async with engine.serving() as running:
        assert await _generate(running)


async def test_a_model_that_fails_for_days_still_only_waits(local: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait between two starts is computable however many failures there were."""
    engine = local.make().add(local.tiny())
    monkeypatch.setattr(one_engine, "EngineProcess", _failing(repeat(Failure(sentence="No memory.", tries=None))))
    for _ in range(1_100):
        local.clock.ahead_seconds += 60
        with pytest.raises(BackendAwayError) as away:
            await engine.serving().__aenter__()
    assert away.value.retry_after_seconds == one_engine.BACKOFF_SECONDS_MAX


async def test_a_start_that_fails_wakes_who_waits_for_the_memory(
    local: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory that was set aside for a child is free as soon as the child could not be had."""
    first, second = _two(local)
    failing, asked = asyncio.Event(), asyncio.Event()
    real = one_engine.EngineProcess

    async def start(plan: process.Plan) -> process.EngineProcess:
        if plan.model.name == "second":
            return await real.start(plan)
        asked.set()
        await failing.wait()
        raise process.StartFailedError(Failure(sentence="No memory.", tries=None))

    monkeypatch.setattr(engines, "ROOM_SECONDS", 60)
    monkeypatch.setattr(one_engine, "EngineProcess", SimpleNamespace(start=start))
    hopeless = asyncio.create_task(first.serving().__aenter__())
    await asked.wait()
    waiting = asyncio.create_task(second.serving().__aenter__())
    await _event(lambda: second in second._neighbors._wanted)  # type: ignore[attr-defined]
    failing.set()
    with pytest.raises(BackendAwayError):
        await hopeless
    async with asyncio.timeout(20):
        assert await _generate(await waiting)


async def test_memory_stays_flat_over_thousands_of_requests(local: Engines) -> None:
    """No request leaves anything behind: every prompt is another one."""
    engine = local.make().add(local.tiny(context_tokens=256))
    async with engine.serving() as running:
        await _many(running, 200)
        before = _resident_kib(_pid(engine))
        await _many(running, REQUESTS)
        assert _resident_kib(_pid(engine)) - before < GROWTH_KIB_MAX


PARENT = """
import asyncio, sys
from pathlib import Path
from slackwater.backends.llamacpp import LocalEngines, LocalModel
from slackwater.clock import SystemClock
from slackwater.telemetry import configure_logging

async def main():
    configure_logging()
    engine = LocalEngines(clock=SystemClock()).add(LocalModel(name="m", path=Path(sys.argv[1]), slots=2, threads=1))
    print("begin", flush=True)
    async with engine.serving():
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("moment", ["ready", "0", "2", "5"])
def test_a_killed_parent_leaves_no_child(tmp_path: Path, moment: str) -> None:
    """`kill -9` of the server, when the child serves or some looks after it was started: it is gone in a moment."""
    path = tiny_model(tmp_path / "tiny.gguf")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "begin\n"
        children = until(lambda: _children(parent.pid))
        if moment == "ready":
            assert parent.stdout.readline() == "ready\n"
        else:
            looks = iter(range(int(moment) + 1))
            until(lambda: next(looks) == int(moment))
    finally:
        parent.kill()
        parent.communicate()
    until(lambda: not any(_alive(child) for child in children), deadline_seconds=5)


def _two(local: Engines) -> tuple[Engine, Engine]:
    needed = local.make().add(local.tiny("first")).fit
    assert needed is not None
    made = local.make(memory_bytes=needed.memory_bytes * 3 // 2)
    return made.add(local.tiny("first")), made.add(local.tiny("second"))


async def _refusal(engine: Engine) -> str:
    with pytest.raises(APIError) as refused:
        await engine.serving().__aenter__()
    assert engine.reserved_bytes == 0
    return refused.value.message


async def _kill(engine: Engine) -> None:
    pid = _pid(engine)
    os.kill(pid, signal.SIGKILL)
    await _event(lambda: engine.reserved_bytes == 0)


async def _event(look: Callable[[], bool], *, seconds: float = 10) -> None:
    """Wait in a thread until something is seen, at most so long."""
    try:
        await asyncio.to_thread(until, look, deadline_seconds=seconds)
    except TimeoutError:
        if seconds >= 1:
            raise


async def _examined(engine: Engine) -> None:
    """Wait until a doubt is settled."""
    while engine._doubted:
        await asyncio.wait(engine._tasks, return_when=asyncio.FIRST_COMPLETED)


async def _busy(running: Running) -> None:
    """Wait until it generates."""
    for _ in range(1_000):
        if any(slot["is_processing"] for slot in await _get(running, "/slots")):
            return
    message = "nothing is generated"
    raise TimeoutError(message)


async def _get(running: Running, path: str) -> Any:
    async with _session(running) as session, session.get(running.url + path) as answer:
        assert answer.status == 200
        return await answer.json()


async def _generate(running: Running, *, tokens: int = TOKENS) -> str:
    async with _session(running) as session:
        return await _complete(session, running, "Hello", tokens)


async def _many(running: Running, count: int) -> None:
    numbers = iter(range(count))

    async def caller(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            await _complete(session, running, f"This is {number * 7919}, {'x' * (number % 100)}", 1)

    async with _session(running) as session:
        await asyncio.gather(*(caller(session) for _ in range(3)))


async def _complete(session: aiohttp.ClientSession, running: Running, prompt: str, tokens: int) -> str:
    body = {"prompt": prompt, "n_predict": tokens, "temperature": 0, "ignore_eos": True}
    async with session.post(f"{running.url}/completion", json=body) as answer:
        assert answer.status == 200
        return str((await answer.json())["content"])


def _session(running: Running) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True), headers={"Authorization": f"Bearer {running.api_key}"}
    )


def _pid(engine: Engine) -> int:
    child = engine._process
    assert child is not None
    return child.pid


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def _children(pid: int) -> list[int]:
    """Return the engines that a process has started, from their first moment on; ended ones do not count."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return [child for child in children if process.CHILD.name in _started_with(child)]


def _files(pid: int) -> list[str]:
    return [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]


def _started_with(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()
    except OSError:
        return ""


def _resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()
