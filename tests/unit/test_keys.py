"""Workspaces and API keys, over the real store on a temporary SQLite file."""

import asyncio
import re
import statistics
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from slackwater.domain.errors import InvalidRequestError, NotFoundError
from slackwater.domain.workspace import APIKey
from slackwater.flow.keys import CACHE_SECONDS, CACHE_SIZE_MAX, Keys
from slackwater.store import Store

PEPPER = b"pepper that lies elsewhere, here"


class HandClock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now(self) -> datetime:
        """Return the instant."""
        return datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        """Return the seconds."""
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        """Move on."""
        self.seconds += seconds


def everything_below(directory: Path) -> bytes:
    """Return the bytes of every file."""
    return b"".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


@pytest.fixture
def clock() -> HandClock:
    """Return a clock that stands still."""
    return HandClock()


@pytest.fixture
async def store(tmp_path: Path, clock: HandClock) -> AsyncIterator[Store]:
    """Open a fresh store."""
    opened = await Store.open(f"sqlite:///{tmp_path / 'slackwater.db'}", clock=clock)
    yield opened
    await opened.close()


def keys_over(store: Store, clock: HandClock, pepper: bytes = PEPPER) -> Keys:
    """Return the step; two of these are two servers on one database."""
    numbers = count()
    return Keys(store, clock, lambda prefix: f"{prefix}_{clock.seconds:.0f}_{next(numbers)}_{id(numbers)}", pepper)


@pytest.fixture
def keys(store: Store, clock: HandClock) -> Keys:
    """Return the step."""
    return keys_over(store, clock)


async def test_a_key_opens_its_workspace_and_nothing_else_does(keys: Keys) -> None:
    """Ours are `slw_`, eight characters that find the row, and 256 random bits."""
    workspace = await keys.create_workspace("team")
    key, secret = await keys.issue(workspace.id, "laptop")
    assert re.fullmatch(r"slw_[1-9A-HJ-NP-Za-km-z]{8}_[A-Za-z0-9_-]{43}", secret)
    assert await keys.authenticate(secret) == key
    assert (key.workspace_id, key.name, key.hint) == (workspace.id, "laptop", secret[-4:])


@pytest.mark.parametrize("wrong", ["", "x", "slw_", "slw_11111111_" + "a" * 43, "\ud800", "한글 열쇠", "a" * 10_000])
async def test_a_wrong_key_is_nobody(keys: Keys, wrong: str) -> None:
    """A2: missing, malformed and unknown look the same."""
    await keys.bootstrap()
    assert await keys.authenticate(wrong) is None


async def test_the_right_id_with_a_wrong_rest_is_nobody(keys: Keys) -> None:
    """A2: the part that finds the row proves nothing."""
    made = await keys.bootstrap()
    assert made.secret is not None
    last = "A" if made.secret[-1] != "A" else "B"
    assert await keys.authenticate(made.secret[:-1] + last) is None


async def test_no_secret_is_anywhere_in_the_store(keys: Keys, store: Store, tmp_path: Path) -> None:
    """A1: the database, its log and a copy of both hold no secret, of our shape or chosen by the operator."""
    workspace = (await keys.bootstrap("chosen-by-the-operator")).workspace
    secrets = ["chosen-by-the-operator"]
    secrets += [(await keys.issue(workspace.id, f"key {number}"))[1] for number in range(20)]
    for secret in secrets:
        assert await keys.authenticate(secret) is not None
    await store.close()
    stored = everything_below(tmp_path)
    assert b"key 19" in stored
    assert [secret for secret in secrets if secret.encode() in stored or secret[13:].encode() in stored] == []


async def test_a_copy_of_the_database_is_useless_without_the_pepper(keys: Keys, store: Store, clock: HandClock) -> None:
    """A1: what is stored is an HMAC; under another pepper no key matches."""
    made = await keys.bootstrap()
    assert made.secret is not None
    assert await keys_over(store, clock, b"another pepper").authenticate(made.secret) is None


async def test_a_revoked_key_is_refused_at_once_here_and_within_a_second_elsewhere(
    keys: Keys, store: Store, clock: HandClock
) -> None:
    """A2: two servers on one database; the other one may trust what it read for at most a second."""
    made = await keys.bootstrap()
    assert made.key is not None
    assert made.secret is not None
    elsewhere = keys_over(store, clock)
    assert await elsewhere.authenticate(made.secret) is not None
    revoked = await keys.revoke(made.key.id)
    assert revoked.revoked_at == clock.now()
    assert await keys.authenticate(made.secret) is None
    clock.seconds += CACHE_SECONDS
    assert CACHE_SECONDS <= 1
    assert await elsewhere.authenticate(made.secret) is None
    clock.seconds += 5
    assert (await keys.revoke(made.key.id)).revoked_at == revoked.revoked_at


async def test_callers_who_come_together_ask_the_store_once(
    keys: Keys, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection for each of a hundred programs costs one look-up a second; one that leaves takes none along."""
    made = await keys.bootstrap()
    assert made.secret is not None
    asked: list[str] = []
    find = store.find_key

    async def counted(lookup: str) -> APIKey | None:
        asked.append(lookup)
        return await find(lookup)

    monkeypatch.setattr(store, "find_key", counted)
    callers = [asyncio.create_task(keys.authenticate(made.secret)) for _ in range(100)]
    await asyncio.sleep(0)
    callers[0].cancel()
    assert await asyncio.gather(*callers[1:]) == [made.key] * 99
    assert len(asked) == 1


async def test_a_revocation_during_the_look_up_is_not_outlived_by_the_cache(
    keys: Keys, store: Store, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A2: an answer that was long on its way counts from when it was asked for."""
    made = await keys.bootstrap()
    assert made.key is not None
    assert made.secret is not None
    find_key = store.find_key

    async def slow(lookup: str) -> APIKey | None:
        found = await find_key(lookup)
        clock.seconds += CACHE_SECONDS
        return found

    monkeypatch.setattr(store, "find_key", slow)
    assert await keys.authenticate(made.secret) is not None
    await keys_over(store, clock).revoke(made.key.id)
    assert await keys.authenticate(made.secret) is None


async def test_a_known_key_is_looked_up_once_a_second(
    keys: Keys, store: Store, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is not asked for every call; unknown keys are never remembered, and what is remembered is bounded."""
    made = await keys.bootstrap()
    assert made.secret is not None
    asked: list[str] = []
    find_key = store.find_key

    async def counted(lookup: str) -> APIKey | None:
        asked.append(lookup)
        return await find_key(lookup)

    monkeypatch.setattr(store, "find_key", counted)
    for _ in range(10):
        await keys.authenticate(made.secret)
    assert len(asked) == 1
    clock.seconds += CACHE_SECONDS
    await keys.authenticate(made.secret)
    assert len(asked) == 2
    for number in range(10):
        await keys.authenticate(f"guess number {number}")
    assert len(asked) == 12
    assert len(keys._recent) == 1
    assert CACHE_SIZE_MAX >= 1


async def test_unknown_and_wrong_keys_take_the_same_time(keys: Keys) -> None:
    """A2: no oracle for which ids exist. Medians of interleaved calls; the bound leaves room for a busy machine."""
    made = await keys.bootstrap()
    assert made.secret is not None
    guesses = {
        "unknown": "slw_11111111_" + "a" * 43,
        "wrong": made.secret[:-1] + ("A" if made.secret[-1] != "A" else "B"),
    }
    taken: dict[str, list[float]] = {kind: [] for kind in guesses}
    for _ in range(200):
        for kind, guess in guesses.items():
            began = time.perf_counter()
            await keys.authenticate(guess)
            taken[kind].append(time.perf_counter() - began)
    medians = sorted(statistics.median(times) for times in taken.values())
    assert medians[1] - medians[0] < 0.001


async def test_a_first_start_makes_one_workspace_and_one_key_and_a_second_start_nothing(
    keys: Keys, store: Store, clock: HandClock
) -> None:
    """A6: no default password; the secret is returned once."""
    first = await keys.bootstrap()
    assert (first.workspace.name, first.secret is not None) == ("default", True)
    again = await keys_over(store, clock).bootstrap("another-value")
    assert (again.workspace, again.key, again.secret) == (first.workspace, None, None)
    assert [len(await keys.workspaces()), len(await keys.list())] == [1, 1]


async def test_a_first_start_that_died_half_way_is_completed(keys: Keys) -> None:
    """The workspace was made, its key was not."""
    await keys.create_workspace("default")
    assert (await keys.bootstrap()).secret is not None
    assert len(await keys.workspaces()) == 1


async def test_the_operator_may_choose_the_first_key(keys: Keys) -> None:
    """SLACKWATER_API_KEY: any text of eight characters or more that fits into a header."""
    made = await keys.bootstrap("test-key-1234")
    assert made.secret == "test-key-1234"
    assert await keys.authenticate("test-key-1234") == made.key


@pytest.mark.parametrize(
    "unusable", ["short", "with space in it", "tab\tin\tit....", "nicht-für-kopfzeilen", "x" * 513]
)
async def test_an_unusable_key_is_refused(keys: Keys, unusable: str) -> None:
    """It could not be sent in a header, or be guessed."""
    with pytest.raises(InvalidRequestError, match="8 to 512 ASCII"):
        await keys.bootstrap(unusable)


async def test_the_same_secret_is_not_issued_twice(keys: Keys) -> None:
    """Two rows under one secret would make revoking one of them meaningless."""
    made = await keys.bootstrap("test-key-1234")
    with pytest.raises(InvalidRequestError, match="in use"):
        await keys.issue(made.workspace.id, "again", "test-key-1234")


async def test_an_archived_workspace_is_closed(keys: Keys) -> None:
    """Its keys stop working, no new ones are made, and the default workspace cannot be archived."""
    await keys.bootstrap()
    workspace = await keys.create_workspace("team")
    _, secret = await keys.issue("team", "laptop")
    assert await keys.authenticate(secret) is not None
    assert (await keys.archive_workspace("team")).archived_at is not None
    assert await keys.authenticate(secret) is None
    with pytest.raises(InvalidRequestError, match="archived"):
        await keys.issue(workspace.id, "another")
    with pytest.raises(InvalidRequestError, match="default workspace"):
        await keys.archive_workspace("default")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x1b[2J", "n" * 65])
async def test_an_unusable_name_is_refused(keys: Keys, name: str) -> None:
    """1 to 64 printable characters."""
    with pytest.raises(InvalidRequestError, match="name: must be 1 to 64"):
        await keys.create_workspace(name)


async def test_a_workspace_is_found_by_id_before_name(keys: Keys) -> None:
    """A name that looks like another workspace's id does not stand in its way."""
    first = await keys.create_workspace("first")
    await keys.create_workspace(first.id)
    assert await keys.workspace(first.id) == first
    with pytest.raises(InvalidRequestError, match="first"):
        await keys.create_workspace("first")


async def test_what_is_not_there_is_not_found(keys: Keys) -> None:
    """Unknown ids are a NotFoundError that names them."""
    with pytest.raises(NotFoundError, match="apikey_x"):
        await keys.revoke("apikey_x")
    with pytest.raises(NotFoundError, match="nobody"):
        await keys.list("nobody")
    with pytest.raises(NotFoundError, match="nobody"):
        await keys.issue("nobody", "key")
