"""`ports.KeyStore` and `ports.Ledger` on both databases."""

from dataclasses import replace

import pytest

from slackwater.domain.errors import InvalidRequestError
from slackwater.domain.result import Charge
from slackwater.domain.workspace import APIKey, Workspace
from slackwater.ports import UsageRow
from slackwater.store import Store
from support.stores import DAY, MINE, NOW, SECOND, THEIRS, charge, ended

pytestmark = pytest.mark.asyncio(loop_scope="module")


WORKSPACE = Workspace(id=MINE, name="default", created_at=NOW)
KEY = APIKey(
    id="apikey_1",
    workspace_id=MINE,
    name="first",
    lookup="abc",
    digest=b"\x00\xff",
    hint="wxyz",
    created_at=NOW,
)


async def test_workspaces_are_listed_oldest_first(store: Store) -> None:
    """They come back as they were made; making one twice is a repetition, not a second one (P2)."""
    young = Workspace(id=THEIRS, name="b", created_at=NOW + SECOND)
    await store.create_workspace(young)
    await store.create_workspace(WORKSPACE)
    await store.create_workspace(WORKSPACE)
    assert await store.workspaces() == [WORKSPACE, young]


async def test_a_workspace_name_is_taken_once(store: Store) -> None:
    """400 that names the parameter; an archived workspace keeps its name."""
    await store.create_workspace(WORKSPACE)
    await store.archive_workspace(MINE, NOW)
    with pytest.raises(InvalidRequestError, match=r"name: .*`default`"):
        await store.create_workspace(replace(WORKSPACE, id=THEIRS))
    assert len(await store.workspaces()) == 1


async def test_archiving_a_workspace_stops_its_keys(store: Store) -> None:
    """D7: from the answer on; the first instant stays."""
    await store.create_workspace(WORKSPACE)
    await store.create_key(KEY)
    assert await store.find_key("abc") == KEY
    archived = replace(WORKSPACE, archived_at=NOW)
    assert await store.archive_workspace(MINE, NOW) == archived
    assert await store.archive_workspace(MINE, NOW + SECOND) == archived
    assert await store.archive_workspace("wrkspc_unknown", NOW) is None
    assert await store.find_key("abc") is None
    assert await store.workspaces() == [archived]


async def test_a_revoked_key_opens_nothing(store: Store) -> None:
    """D7: from the answer on; the first instant stays."""
    await store.create_workspace(WORKSPACE)
    await store.create_key(KEY)
    revoked = replace(KEY, revoked_at=NOW)
    assert await store.revoke_key(KEY.id, NOW) == revoked
    assert await store.revoke_key(KEY.id, NOW + SECOND) == revoked
    assert await store.revoke_key("apikey_unknown", NOW) is None
    assert await store.find_key("abc") is None
    assert await store.find_key("unknown") is None
    assert await store.keys() == [revoked]


async def test_keys_are_listed_oldest_first_by_workspace(store: Store) -> None:
    """W1: a workspace's list holds its own keys only."""
    foreign = replace(KEY, id="apikey_0", lookup="x", workspace_id=THEIRS)
    young = replace(KEY, id="apikey_2", lookup="y", created_at=NOW + SECOND)
    for key in (young, KEY, foreign, KEY):
        await store.create_key(key)
    assert await store.keys() == [foreign, KEY, young]
    assert await store.keys(MINE) == [KEY, young]


async def test_the_ledger_adds_up_by_day_workspace_model_and_tier(store: Store) -> None:
    """S4, M1: batches and synchronous calls have lines of their own; days are those of UTC."""
    await ended(store, (2, 1))
    await ended(store, (1,), models=("n",), workspace_id=THEIRS)
    for _ in range(2):
        await store.charge(MINE, "standard", charge("m", 1), NOW + DAY)
    today, tomorrow = "2026-11-22", "2026-11-23"

    def row(day: str, workspace_id: str, tier: str, charged: Charge) -> UsageRow:
        return UsageRow(day=day, workspace_id=workspace_id, tier=tier, charge=charged)  # type: ignore[arg-type]

    mine = [row(today, MINE, "batch", charge("m", 3)), row(tomorrow, MINE, "standard", charge("m", 2))]
    theirs = [row(today, THEIRS, "batch", charge("n", 1))]
    assert await store.usage() == [mine[0], *theirs, mine[1]]
    assert await store.usage(MINE) == mine
    assert await store.usage(THEIRS) == theirs


async def test_money_beyond_32_bits_is_exact(store: Store) -> None:
    """Nano-dollars of a long year still add up to the last one."""
    large = replace(charge("m", 1), cost_nanousd=2**61 + 1)
    await store.charge(MINE, "standard", large, NOW)
    await store.charge(MINE, "standard", replace(large, cost_nanousd=2**61), NOW)
    (line,) = await store.usage()
    assert line.charge.cost_nanousd == 2**62 + 1
