"""Any sequence of calls leaves the store in the state of a model made of plain dictionaries (X1, S1, S2, S4-S6, M1)."""
# the names of rules and invariants say it

import asyncio
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from slackwater.clock import SystemClock
from slackwater.domain.batch import Batch, Lease, RequestCounts
from slackwater.domain.result import RESULT_TYPES, CommitReport, Flush
from slackwater.store import Store
from slackwater.store.schema import EPOCH
from support.stores import DAY, LEASE, MINE, NOW, SECOND, THEIRS, admission, charge, empty, flush, segment

T = TypeVar("T")
WORKERS = ("worker_1", "worker_2")
indices = st.integers(min_value=0, max_value=99)


@dataclass
class ModelShard:
    """What is known of a shard."""

    model: str
    size: int
    epoch: int = 0
    until: datetime = EPOCH
    worker_id: str | None = None
    done: set[int] = field(default_factory=set)

    @property
    def complete(self) -> bool:
        return len(self.done) == self.size


@dataclass
class ModelBatch:
    """What is known of a batch."""

    batch: Batch
    shards: list[ModelShard]
    canceled_at: datetime | None = None
    ended_at: datetime | None = None
    archived_at: datetime | None = None
    tally: Counter[str] = field(default_factory=Counter)
    blobs: list[str] = field(default_factory=list)
    bytes: int = 0
    succeeded: Counter[str] = field(default_factory=Counter)
    """By model."""

    @property
    def status(self) -> str:
        return "ended" if self.ended_at else "canceling" if self.canceled_at else "in_progress"

    def free(self, now: datetime) -> list[tuple[int, ModelShard]]:
        return [(n, shard) for n, shard in enumerate(self.shards) if not shard.complete and shard.until < now]


class StoreMachine(RuleBasedStateMachine):
    """The rules; `url` is set for each database."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = self.wait(Store.open(self.url, clock=SystemClock()))
        self.wait(empty(self.store))
        self.now = NOW
        self.batches: dict[str, ModelBatch] = {}
        self.leases: list[Lease] = []
        self.flushes: list[tuple[Flush, CommitReport]] = []
        self.ledger: Counter[tuple[str, str, str]] = Counter()

    def wait(self, call: Awaitable[T]) -> T:
        async def main() -> T:
            return await call

        return self.runner.run(main())

    def teardown(self) -> None:
        self.wait(self.store.close())
        self.runner.close()

    def pick(self, index: int) -> ModelBatch:
        return list(self.batches.values())[index % len(self.batches)]

    def granted(self, leases: list[Lease], worker_id: str) -> None:
        for lease in leases:
            shard = self.batches[lease.batch_id].shards[lease.shard.number]
            shard.epoch += 1
            shard.until, shard.worker_id = lease.until, worker_id
            assert lease.epoch == shard.epoch
            assert lease.done == shard.done
            self.leases.append(lease)

    @rule(
        sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3),
        models=st.sampled_from([("a",), ("a", "b")]),
        workspace_id=st.sampled_from([MINE, THEIRS]),
    )
    def seal(self, sizes: list[int], models: tuple[str, ...], workspace_id: str) -> None:
        admitted = admission(sizes, models=models, workspace_id=workspace_id, created_at=self.now)
        answer = self.wait(self.store.seal(admitted))
        assert not answer.duplicate
        shards = [ModelShard(model=shard.model, size=shard.count) for shard in admitted.shards]
        self.batches[answer.batch.id] = ModelBatch(admitted.batch, shards)

    @rule(seconds=st.sampled_from([1, 20, 30]))
    def wait_a_little(self, seconds: int) -> None:
        self.now += seconds * SECOND

    @rule()
    def wait_a_day(self) -> None:
        self.now += DAY

    @precondition(lambda self: self.batches)
    @rule(index=indices, model=st.sampled_from("ab"), worker_id=st.sampled_from(WORKERS), limit=st.integers(1, 3))
    def lease(self, index: int, model: str, worker_id: str, limit: int) -> None:
        known = self.pick(index)
        runs = known.status == "in_progress" and self.now < known.batch.expires_at
        expected = [number for number, shard in known.free(self.now) if shard.model == model][:limit] if runs else []
        leases = self.wait(
            self.store.lease(
                known.batch.id, model, worker_id=worker_id, now=self.now, until=self.now + LEASE, limit=limit
            )
        )
        assert [lease.shard.number for lease in leases] == expected
        self.granted(leases, worker_id)

    @rule(worker_id=st.sampled_from(WORKERS), limit=st.integers(1, 5))
    def lease_closing(self, worker_id: str, limit: int) -> None:
        closing = [
            (known.batch.id, number)
            for known in sorted(self.batches.values(), key=lambda known: (known.batch.created_at, known.batch.id))
            if known.status == "canceling" or (not known.ended_at and known.batch.expires_at <= self.now)
            for number, _ in known.free(self.now)
        ]
        leases = self.wait(
            self.store.lease_closing(worker_id=worker_id, now=self.now, until=self.now + LEASE, limit=limit)
        )
        assert [lease.key for lease in leases] == closing[:limit]
        self.granted(leases, worker_id)

    @rule(worker_id=st.sampled_from(WORKERS))
    def renew(self, worker_id: str) -> None:
        until = self.now + LEASE
        expected = set()
        for lease in self.leases:
            known = self.batches.get(lease.batch_id)
            shard = known.shards[lease.shard.number] if known else None
            if shard and not shard.complete and shard.epoch == lease.epoch and shard.worker_id == worker_id:
                shard.until = until
                expected.add(lease.key)
        assert self.wait(self.store.renew(worker_id, self.leases, until)) == expected

    @precondition(lambda self: self.leases)
    @rule(index=indices)
    def release(self, index: int) -> None:
        lease = self.leases[index % len(self.leases)]
        self.wait(self.store.release([lease]))
        known = self.batches.get(lease.batch_id)
        if known and known.shards[lease.shard.number].epoch == lease.epoch:
            shard = known.shards[lease.shard.number]
            shard.until, shard.worker_id = EPOCH, None

    @rule(worker_id=st.sampled_from(WORKERS))
    def release_worker(self, worker_id: str) -> None:
        held = [
            shard
            for known in self.batches.values()
            for shard in known.shards
            if shard.worker_id == worker_id and not shard.complete
        ]
        assert self.wait(self.store.release_worker(worker_id)) == len(held)
        for shard in held:
            shard.until, shard.worker_id = EPOCH, None

    @precondition(lambda self: self.leases)
    @rule(
        chosen=st.lists(
            st.tuples(indices, st.sets(st.integers(0, 2), min_size=1), st.sampled_from(RESULT_TYPES)),
            min_size=1,
            max_size=4,
        )
    )
    def commit(self, chosen: list[tuple[int, set[int], Any]]) -> None:
        segments = []
        for index, positions, kind in chosen:
            lease = self.leases[-1 - index % len(self.leases)]
            inside = sorted(position for position in positions if position < lease.shard.count)
            if inside:
                segments.append(segment(lease, inside, kind=kind))
        gathered = flush(*segments)
        report = self.wait(self.store.commit(gathered, self.now))
        assert report == self.committed(gathered)
        self.flushes.append((gathered, report))

    def committed(self, gathered: Flush) -> CommitReport:
        fenced, finished, ended = set(), set(), set()
        for part in gathered.segments:
            known = self.batches.get(part.batch_id)
            shard = known.shards[part.shard_number] if known else None
            key = (part.batch_id, part.shard_number)
            if not known or not shard or shard.epoch != part.epoch or known.ended_at or shard.done & {*part.positions}:
                fenced.add(key)
                continue
            shard.done |= {*part.positions}
            known.tally.update(part.types)
            known.blobs.append(part.blob_key)
            known.bytes += part.length
            for booked in part.charges:
                known.succeeded[booked.model] += booked.requests
                day = self.now.date().isoformat()
                self.ledger[day, known.batch.workspace_id, booked.model] += booked.requests
            if shard.complete:
                shard.until, shard.worker_id = EPOCH, None
                finished.add(key)
                ended |= {part.batch_id} if all(other.complete for other in known.shards) else set()
        for batch_id in ended:
            known = self.batches[batch_id]
            due = known.batch.expires_at if known.tally["expired"] else self.now
            known.ended_at = max(self.now, due, known.canceled_at or self.now)
        return CommitReport(fenced=frozenset(fenced), finished=frozenset(finished), ended=frozenset(ended))

    @precondition(lambda self: self.flushes)
    @rule()
    def commit_the_last_flush_again(self) -> None:
        gathered, report = self.flushes[-1]
        again = self.wait(self.store.commit(gathered, self.now))
        kept = {batch_id for batch_id in report.ended if batch_id in self.batches}
        assert kept <= again.ended

    @precondition(lambda self: self.batches)
    @rule(index=indices)
    def cancel(self, index: int) -> None:
        known = self.pick(index)
        answer = self.wait(self.store.cancel(known.batch.workspace_id, known.batch.id, self.now))
        if not known.ended_at:
            known.canceled_at = known.canceled_at or self.now
        assert answer is not None
        assert answer.processing_status == known.status

    @precondition(lambda self: self.batches)
    @rule(index=indices)
    def delete(self, index: int) -> None:
        known = self.pick(index)
        answer = self.wait(self.store.delete(known.batch.workspace_id, known.batch.id))
        assert answer is not None
        assert answer.ended_at == known.ended_at
        if known.ended_at:
            del self.batches[known.batch.id]

    @rule()
    def compact(self) -> None:
        found = {each.batch_id: each.ranges for each in self.wait(self.store.fragmented(limit=100))}
        several = {
            known.batch.id: known
            for known in self.batches.values()
            if known.ended_at and not known.archived_at and len(known.blobs) > 1
        }
        assert {batch_id: sum(part.length for part in ranges) for batch_id, ranges in found.items()} == {
            batch_id: known.bytes for batch_id, known in several.items()
        }
        for known in several.values():
            key = f"results/{known.batch.id}/whole"
            assert self.wait(self.store.compacted(known.batch.id, key, known.bytes))
            known.blobs = [key]

    @rule()
    def archive(self) -> None:
        due = [
            known
            for known in self.batches.values()
            if known.ended_at and not known.archived_at and known.batch.created_at < self.now - DAY
        ]
        keys = self.wait(self.store.archive_due(self.now, self.now - DAY, limit=100))
        assert sorted(keys) == sorted(key for known in due for key in [known.batch.requests_key, *known.blobs])
        for known in due:
            known.archived_at, known.blobs, known.bytes = self.now, [], 0

    @invariant()
    def every_batch_is_as_it_should_be(self) -> None:
        for known in self.batches.values():
            workspace_id, batch_id = known.batch.workspace_id, known.batch.id
            found = self.wait(self.store.find(workspace_id, batch_id))
            assert found is not None
            assert found.processing_status == known.status
            resolved = {kind: known.tally[kind] for kind in RESULT_TYPES}
            processing = known.batch.size - sum(resolved.values())
            assert found.tally == RequestCounts(processing=processing, **resolved)
            instants = (found.cancel_initiated_at, found.ended_at, found.archived_at)
            assert instants == (known.canceled_at, known.ended_at, known.archived_at)
            ranges = self.wait(self.store.results(workspace_id, batch_id))
            assert [part.blob_key for part in ranges] == known.blobs
            assert sum(part.length for part in ranges) == known.bytes
            charges = self.wait(self.store.charges(workspace_id, batch_id))
            assert charges == [charge(model, count) for model, count in sorted(known.succeeded.items())]

    @invariant()
    def the_ledger_is_the_sum_of_all_charges(self) -> None:
        lines = {(row.day, row.workspace_id, row.charge.model): row.charge for row in self.wait(self.store.usage())}
        assert lines == {key: charge(key[2], count) for key, count in self.ledger.items()}

    @invariant()
    def the_backlog_is_what_is_free(self) -> None:
        expected: Counter[tuple[str, str]] = Counter()
        for known in self.batches.values():
            if known.status == "in_progress" and self.now < known.batch.expires_at:
                expected.update((known.batch.id, shard.model) for _, shard in known.free(self.now))
        backlog = self.wait(self.store.backlog(self.now, limit=1000))
        assert {(entry.batch_id, entry.model): entry.shards for entry in backlog} == expected


@pytest.mark.parametrize("steps", [30, pytest.param(60, marks=pytest.mark.slow)])
def test_the_store_does_as_the_model_does(url: str, steps: int) -> None:
    """Hypothesis looks for a sequence of calls after which the two differ, and shows the shortest."""

    class Machine(StoreMachine):
        pass

    Machine.url = url
    examples = 6 if steps < 60 else 60
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=steps < 60,
            suppress_health_check=list(HealthCheck),
        ),
    )
