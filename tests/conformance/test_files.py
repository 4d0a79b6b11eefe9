"""`ports.FileStore`, pins and the sweep of files on both databases."""

import asyncio
import importlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from slackwater.domain.batch import Batch
from slackwater.domain.errors import InvalidRequestError
from slackwater.domain.file import METADATA_KEPT, File
from slackwater.store import Store
from support.stores import DAY, MINE, NOW, SECOND, THEIRS, admission, committed, file, leased, sealed, segment

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLENTY = 10**12


async def added(store: Store, data: bytes = b"some bytes", *, quota_bytes: int = PLENTY, **more: object) -> File:
    """Add a file."""
    return await store.add_file(file(data, **more), quota_bytes=quota_bytes)


async def end(store: Store, batch: Batch) -> None:
    """Answer what is left of a batch."""
    for lease in await leased(store, batch):
        await committed(store, segment(lease))


async def test_a_file_comes_back_as_it_was_added(store: Store) -> None:
    """Every field; adding it again is a repetition, not a second file (P2)."""
    for given in (file(), file(b"", filename="보고서.txt", mime_type="text/plain", expires_at=NOW + DAY)):
        assert await store.add_file(given, quota_bytes=PLENTY) == given
        assert await store.add_file(given, quota_bytes=PLENTY) == given
        assert await store.find_file(MINE, given.id) == given
    assert len((await store.files_page(MINE, limit=10)).items) == 2


async def test_another_workspace_s_file_is_not_there(store: Store) -> None:
    """W1, W2: for every question the answer is that of an id that never was."""
    given = await added(store)
    batch = await sealed(store, workspace_id=THEIRS, file_ids=frozenset({given.id}))
    assert await store.find_file(THEIRS, given.id) is None
    assert await store.find_file(THEIRS, given.id, batch_id=batch.id) is None
    assert await store.files_by_id(THEIRS, [given.id]) == []
    assert await store.delete_file(THEIRS, given.id, NOW) is None
    assert (await store.files_page(THEIRS, limit=10)).items == ()
    deleted = await store.delete_file(MINE, given.id, NOW)
    assert deleted is not None
    assert deleted.pinned_by == ()


async def test_equal_bytes_are_kept_once_in_a_workspace_and_never_across(store: Store) -> None:
    """A5: who uploads what somebody else has learns nothing from where it lies, nor from what it costs."""
    first = await added(store, b"equal")
    given = file(b"equal", filename="again.pdf")
    assert await store.add_file(given, quota_bytes=PLENTY) == replace(given, blob_key=first.blob_key)
    theirs = file(b"equal", workspace_id=THEIRS)
    assert await store.add_file(theirs, quota_bytes=PLENTY) == theirs
    assert theirs.blob_key != first.blob_key
    other = file(b"other")
    assert await store.add_file(other, quota_bytes=PLENTY) == other


async def test_bytes_go_with_the_last_file_that_has_them(store: Store) -> None:
    """I2: the caller learns which blob to remove; a second deletion finds nothing."""
    first, second = await added(store), await added(store)
    other = await added(store, b"other")
    one = await store.delete_file(MINE, first.id, NOW)
    assert one is not None
    assert (one.file, one.pinned_by, one.blob_key) == (first, (), None)
    assert await store.referenced([first.blob_key, other.blob_key]) == {first.blob_key, other.blob_key}
    two = await store.delete_file(MINE, second.id, NOW)
    assert two is not None
    assert two.blob_key == first.blob_key
    assert await store.referenced([first.blob_key, other.blob_key]) == {other.blob_key}
    assert await store.delete_file(MINE, first.id, NOW) is None
    assert await store.find_file(MINE, first.id) is None


async def test_the_quota_counts_each_byte_that_is_kept(store: Store) -> None:
    """All workspaces together, equal bytes of one workspace once; what was deleted makes room."""
    first = await added(store, b"12345", quota_bytes=10)
    await added(store, b"12345", workspace_id=THEIRS, quota_bytes=10)
    await added(store, b"12345", quota_bytes=10)
    with pytest.raises(InvalidRequestError, match="quota") as caught:
        await added(store, b"6", quota_bytes=10)
    assert caught.value.error_code == "storage_quota_exceeded"
    assert len((await store.files_page(MINE, limit=10)).items) == 2
    await store.delete_file(MINE, first.id, NOW)
    with pytest.raises(InvalidRequestError):
        await added(store, b"6", quota_bytes=10)
    (last,) = (await store.files_page(MINE, limit=10)).items
    await store.delete_file(MINE, last.id, NOW)
    await added(store, b"67890", quota_bytes=10)


async def test_one_of_many_gets_the_last_place(store: Store) -> None:
    """A8: uploads that end together do not exceed the quota together."""
    tries = await asyncio.gather(
        *(added(store, bytes([number]) * 6, quota_bytes=10) for number in range(20)), return_exceptions=True
    )
    assert sum(isinstance(one, File) for one in tries) == 1
    assert sum(isinstance(one, InvalidRequestError) for one in tries) == 19


async def test_files_are_listed_newest_first_in_both_directions(store: Store) -> None:
    """Contract §3: `before` walks to newer ones and delivers newest first; a deleted file stands for its place."""
    made = [await added(store) for _ in range(5)]
    newest = made[::-1]

    async def seen(limit: int, **cursor: str) -> tuple[list[File], bool]:
        page = await store.files_page(MINE, limit=limit, **cursor)
        return list(page.items), page.has_more

    assert await seen(5) == (newest, False)
    assert await seen(2) == (newest[:2], True)
    assert await seen(2, after=newest[1].id) == (newest[2:4], True)
    assert await seen(2, after=newest[3].id) == (newest[4:], False)
    assert await seen(2, before=newest[4].id) == (newest[2:4], True)
    assert await seen(2, before=newest[2].id) == (newest[:2], False)
    await store.delete_file(MINE, newest[2].id, NOW)
    assert await seen(2, after=newest[2].id) == (newest[3:], False)
    assert await seen(2, before=newest[2].id) == (newest[:2], False)
    assert await seen(2, before=newest[0].id) == ([], False)
    with pytest.raises(InvalidRequestError, match=r"after_id: .*`row_7`"):
        await seen(2, after="row_7")
    with pytest.raises(InvalidRequestError, match="before_id"):
        await seen(2, before="file_01")


async def test_files_are_found_by_id(store: Store) -> None:
    """Newest first, each once, whatever is unknown or deleted left out (contract §6.2)."""
    first, second, third = [await added(store) for _ in range(3)]
    await store.delete_file(MINE, second.id, NOW)
    wanted = [first.id, third.id, second.id, first.id, "file_unknown"]
    assert await store.files_by_id(MINE, wanted) == [third, first]
    assert await store.files_by_id(MINE, []) == []


async def test_an_unfinished_batch_keeps_what_its_owner_deletes(store: Store) -> None:
    """I3: the owner sees it no more, the batch has it to its end; then the bytes go, a late worker finds nothing."""
    given, other = await added(store), await added(store, b"other")
    batch = await sealed(store, file_ids=frozenset({given.id, other.id, "file_01" + "1" * 22}))
    again = await sealed(store, file_ids=frozenset({given.id}))
    deleted = await store.delete_file(MINE, given.id, NOW)
    assert deleted is not None
    assert (deleted.pinned_by, deleted.blob_key) == (tuple(sorted([batch.id, again.id])), None)
    assert await store.delete_file(MINE, given.id, NOW) is None
    assert await store.find_file(MINE, given.id) is None
    assert await store.files_by_id(MINE, [given.id]) == []
    assert (await store.files_page(MINE, limit=10)).items == (other,)
    late = await sealed(store, file_ids=frozenset({given.id}))
    assert await store.find_file(MINE, given.id, batch_id=late.id) is None

    assert await store.find_file(MINE, given.id, batch_id=batch.id) == given
    await end(store, batch)
    assert await store.find_file(MINE, given.id, batch_id=batch.id) is None
    assert await store.find_file(MINE, given.id, batch_id=again.id) == given
    assert await store.sweep_files(NOW, limit=10) == []
    assert await store.referenced([given.blob_key]) == {given.blob_key}
    await end(store, again)
    assert await store.sweep_files(NOW, limit=10) == [given.blob_key]
    assert await store.sweep_files(NOW, limit=10) == []
    assert await store.referenced([given.blob_key]) == frozenset()
    assert await store.find_file(MINE, given.id, batch_id=again.id) is None
    assert await store.find_file(MINE, other.id, batch_id=batch.id) == other


async def test_deleting_the_batch_lets_go_of_its_files(store: Store) -> None:
    """A pin is the batch's: compacted or deleted, it keeps nothing; a file that is still there is not touched."""
    given = await added(store)
    batch = await sealed(store, (1, 1), file_ids=frozenset({given.id}))
    await end(store, batch)
    await store.compacted(batch.id, "results/whole", 20)
    assert await store.delete(MINE, batch.id) is not None
    assert await store.sweep_files(NOW, limit=10) == []
    deleted = await store.delete_file(MINE, given.id, NOW)
    assert deleted is not None
    assert (deleted.pinned_by, deleted.blob_key) == ((), given.blob_key)


async def test_a_batch_pins_only_what_it_could_use(store: Store) -> None:
    """W3: not what is deleted, expired or another workspace's; a create that repeats another pins nothing anew."""
    gone, old, theirs = await added(store), await added(store, expires_at=NOW), await added(store, workspace_id=THEIRS)
    await store.delete_file(MINE, gone.id, NOW)
    ids = frozenset({gone.id, old.id, theirs.id})
    first = (await store.seal(admission(digest=b"same", file_ids=ids))).batch
    late = await added(store)
    repeated = admission(digest=b"same", retried=True, file_ids=frozenset({late.id}))
    assert (await store.seal(repeated)).batch == first
    assert await store.find_file(MINE, old.id, batch_id=first.id) == old
    for workspace_id, one in ((MINE, old), (THEIRS, theirs), (MINE, late)):
        deleted = await store.delete_file(workspace_id, one.id, NOW)
        assert deleted is not None
        assert deleted.pinned_by == ()


async def test_many_files_of_one_batch_are_pinned(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request may name many, and a batch has many requests: more than one statement takes."""
    monkeypatch.setattr("slackwater.store.files._IDS_MAX", 3)
    made = [await added(store) for _ in range(7)]
    batch = await sealed(store, file_ids=frozenset(one.id for one in made))
    for one in made:
        deleted = await store.delete_file(MINE, one.id, NOW)
        assert deleted is not None
        assert deleted.pinned_by == (batch.id,)


async def test_bytes_go_at_the_expiry_and_metadata_a_month_later(store: Store) -> None:
    """T4: to the microsecond; equal bytes that another file still needs stay."""
    given = await added(store, expires_at=NOW + DAY)
    lasting = await added(store, b"lasting")
    shared = await added(store, b"lasting", expires_at=NOW + DAY)
    just_before = timedelta(microseconds=1)
    assert await store.sweep_files(NOW + DAY - just_before, limit=10) == []
    assert await store.sweep_files(NOW + DAY, limit=10) == [given.blob_key]
    for one in (given, shared):
        assert await store.find_file(MINE, one.id) == replace(one, blob_key="")
    assert await store.referenced([given.blob_key, lasting.blob_key]) == {lasting.blob_key}
    assert len((await store.files_page(MINE, limit=10)).items) == 3

    month = NOW + DAY + METADATA_KEPT
    assert await store.sweep_files(month - just_before, limit=10) == []
    assert await store.find_file(MINE, given.id) is not None
    assert await store.sweep_files(month, limit=10) == []
    assert (await store.files_page(MINE, limit=10)).items == (lasting,)


async def test_an_expired_file_makes_room_and_is_not_taken_to_again(store: Store) -> None:
    """Its bytes are gone: equal ones that come later are kept and counted anew; deleting it removes the metadata."""
    given = await added(store, b"12345", expires_at=NOW + DAY, quota_bytes=5)
    assert await store.sweep_files(NOW + DAY, limit=10) == [given.blob_key]
    again = await added(store, b"12345", quota_bytes=5)
    assert again.blob_key != given.blob_key
    deleted = await store.delete_file(MINE, given.id, NOW + DAY)
    assert deleted is not None
    assert deleted.blob_key is None
    assert await store.find_file(MINE, given.id) is None


async def test_what_expires_stays_while_a_batch_needs_it(store: Store) -> None:
    """I3: pinned before its expiry, it is there for the batch without one; the owner sees that it has expired."""
    given = await added(store, expires_at=NOW + SECOND)
    batch = await sealed(store, file_ids=frozenset({given.id}))
    later = NOW + SECOND + METADATA_KEPT
    assert await store.sweep_files(later, limit=10) == []
    assert await store.find_file(MINE, given.id, batch_id=batch.id) == replace(given, expires_at=None)
    assert await store.find_file(MINE, given.id) == given
    await end(store, batch)
    assert await store.find_file(MINE, given.id, batch_id=batch.id) == given
    assert await store.sweep_files(NOW + SECOND, limit=10) == [given.blob_key]


async def test_the_sweep_takes_a_little_at_a_time(store: Store) -> None:
    """What is left over comes with the next round; pinned files are in nobody's way."""
    pinned = [await added(store, b"p%d" % n, expires_at=NOW) for n in range(3)]
    batch = await sealed(store, created_at=NOW - SECOND, file_ids=frozenset(one.id for one in pinned))
    made = {(await added(store, b"%d" % n, expires_at=NOW + SECOND)).blob_key for n in range(5)}
    found = [await store.sweep_files(NOW + SECOND, limit=2) for _ in range(4)]
    assert [len(keys) for keys in found] == [2, 2, 1, 0]
    assert {key for keys in found for key in keys} == made
    await end(store, batch)
    assert len(await store.sweep_files(NOW + SECOND, limit=10)) == 3


class Disk:
    """The blobs, as far as these tests go: names that are there."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.keys: set[str] = set()

    async def upload(self, data: bytes) -> File:
        """Do what an upload does, in its order."""
        given = file(data)
        self.keys.add(given.blob_key)
        stored = await self.store.add_file(given, quota_bytes=PLENTY)
        if stored.blob_key != given.blob_key:
            self.keys.remove(given.blob_key)
        return stored

    async def delete(self, file_id: str) -> None:
        """Do what a deletion does."""
        deleted = await self.store.delete_file(MINE, file_id, NOW)
        if deleted is not None and deleted.blob_key is not None:
            self.keys.remove(deleted.blob_key)

    async def sweep(self) -> None:
        """Do what a round of the sweep does."""
        for key in await self.store.sweep_files(NOW + DAY, limit=10):
            self.keys.remove(key)


async def test_an_upload_never_takes_to_bytes_that_are_being_removed(store: Store) -> None:
    """I3: the last file with these bytes is deleted while they come again; all that is visible can be read."""
    disk = Disk(store)
    files = [await disk.upload(b"the same")]
    for number in range(30):
        doomed = file(b"the same", expires_at=NOW + DAY) if number % 3 == 0 else None
        if doomed is not None:  # the sweep removes it at the same time
            disk.keys.add(doomed.blob_key)
            stored = await store.add_file(doomed, quota_bytes=PLENTY)
            disk.keys -= {doomed.blob_key} - {stored.blob_key}
        work = [disk.sweep(), *(disk.delete(one.id) for one in files), *(disk.upload(b"the same") for _ in range(2))]
        turn = number % len(work)
        done = await asyncio.gather(*work[turn:], *work[:turn])
        files = [one for one in done if isinstance(one, File)]
        await disk.sweep()
        assert {one.blob_key for one in files} == disk.keys
        assert [one.blob_key for one in await store.files_by_id(MINE, [one.id for one in files])]


async def test_deletions_and_pins_may_cross(store: Store) -> None:
    """I3: whatever comes first, a batch finds a file exactly if its bytes are there."""
    disk = Disk(store)
    for number in range(30):
        one = await disk.upload(b"%d" % number)
        batch, _ = await asyncio.gather(sealed(store, file_ids=frozenset({one.id})), disk.delete(one.id))
        found = await store.find_file(MINE, one.id, batch_id=batch.id)
        assert (found is not None) == (one.blob_key in disk.keys)


class Held:
    """A step inside a transaction that others get the time to run into, before the commit that makes it seen."""

    def __init__(self, patch: pytest.MonkeyPatch, step: str) -> None:
        self.reached = asyncio.Event()
        module, _, name = step.rpartition(".")
        real = getattr(importlib.import_module(module), name)
        loop = asyncio.get_running_loop()

        def slowly(connection: Connection, *arguments: Any) -> Any:  # whatever the step is given and gives
            done = real(connection, *arguments)
            loop.call_soon_threadsafe(self.reached.set)
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("SELECT pg_sleep(0.1)")
            return done

        patch.setattr(step, slowly)


async def test_a_deletion_sees_the_pin_that_came_before_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """I3: the seal has pinned but not committed yet; the deletion waits for it, and so does the sweep."""
    deleted, expired = await added(store), await added(store, b"other", expires_at=NOW + SECOND)
    held = Held(monkeypatch, "slackwater.store.batches.pin")
    sealing = asyncio.ensure_future(sealed(store, file_ids=frozenset({deleted.id, expired.id})))
    await held.reached.wait()
    deletion, swept = await asyncio.gather(
        store.delete_file(MINE, deleted.id, NOW), store.sweep_files(NOW + SECOND, limit=10)
    )
    batch = await sealing
    assert deletion is not None
    assert (deletion.pinned_by, deletion.blob_key) == ((batch.id,), None)
    assert swept == []
    assert await store.find_file(MINE, expired.id, batch_id=batch.id) == replace(expired, expires_at=None)


async def test_a_batch_does_not_pin_what_was_just_deleted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """I3: the deletion has not committed yet; the create waits for it, and succeeds without a pin."""
    one = await added(store)
    held = Held(monkeypatch, "slackwater.store.files._let_go")
    deleting = asyncio.ensure_future(store.delete_file(MINE, one.id, NOW))
    await held.reached.wait()
    batch = await sealed(store, file_ids=frozenset({one.id}))
    deletion = await deleting
    assert deletion is not None
    assert deletion.blob_key == one.blob_key
    assert await store.find_file(MINE, one.id, batch_id=batch.id) is None


async def test_an_upload_waits_for_a_deletion_of_the_same_bytes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """I3: the deletion has given the blob up but not committed yet; the upload keeps its own."""
    one = await added(store)
    held = Held(monkeypatch, "slackwater.store.files._let_go")
    deleting = asyncio.ensure_future(store.delete_file(MINE, one.id, NOW))
    await held.reached.wait()
    given = file()
    assert await store.add_file(given, quota_bytes=one.size_bytes) == given
    deletion = await deleting
    assert deletion is not None
    assert deletion.blob_key == one.blob_key
