"""Mutants: each breaks one rule of the path, in this process only. A simulation that lets one live proves nothing."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sqlalchemy import Connection, Text, and_, bindparam, delete, exists, insert, literal, or_, select, tuple_, update

from slackwater import clock
from slackwater.clock import SystemClock
from slackwater.domain import batch as batch_domain
from slackwater.domain import lifecycle
from slackwater.domain.batch import Lease
from slackwater.domain.errors import APIError, AttemptFailedError, BackendAwayError, StoreUnavailableError
from slackwater.domain.result import CommitReport, Flush, ResultLine, ResultType
from slackwater.flow import batches as batch_steps
from slackwater.flow import close, dispatch, holding, infer, journal, record, sweep
from slackwater.flow.deliver import Delivery
from slackwater.ports import Sealed
from slackwater.store import Store, commit, ledger, rows, work
from slackwater.store import batches as batch_rows
from slackwater.store import sweep as sweep_rows
from slackwater.store.schema import EPOCH, OPEN_SHARD, RUNNING, Instant, backlogs, batches, creates, flushes, shards
from slackwater.wire.lines import canceled_line, expired_line


@dataclass(frozen=True)
class Mutant:
    """A rule, broken."""

    name: str
    breaks: Callable[[ExitStack], None]
    rare: bool = False
    """Noticed in one of hundreds of seeds: too long for every change."""


MUTANTS: list[Mutant] = []
ANYBODY_S = (batches.c.id == bindparam("of_batch"), bindparam("of_workspace", type_=Text) != "")
"""A batch, whosever it is."""


def mutant(breaks: Callable[[ExitStack], None], *, rare: bool = False) -> Callable[[ExitStack], None]:
    """Register one; its name is the function's."""
    MUTANTS.append(Mutant(breaks.__name__.replace("_", " "), breaks, rare))
    return breaks


def swap(stack: ExitStack, where: Any, name: str, what: Any) -> None:
    """Put something else in its place."""
    stack.enter_context(patch.object(where, name, what))


# The fence and the end


@mutant
def no_epoch_in_the_fence(stack: ExitStack) -> None:
    swap(
        stack, commit._Part, "admits", lambda part, _, positions: part.row.state == "open" and not part.done & positions
    )


@mutant
def a_repeated_commit_counts_twice(stack: ExitStack) -> None:
    def admits(part: Any, segment: Any, _: int) -> bool:
        return bool(part.row.epoch == segment.epoch)

    fresh = insert(flushes).prefix_with("OR REPLACE").returning(flushes.c.token)
    swap(stack, commit._Part, "admits", admits)
    swap(stack, commit, "_TOKEN", {"sqlite": fresh})


@mutant
def the_first_finished_shard_ends_the_batch(stack: ExitStack) -> None:
    swap(stack, commit._Whole, "shards_open", property(lambda one: 0 if one.finished else int(one.row.shards_open)))
    swap(stack, commit, "_end", lambda _, whole, now: {} if whole.shards_open else _ending(whole, now))


@mutant
def the_last_shard_does_not_end_the_batch(stack: ExitStack) -> None:
    swap(stack, commit, "_end", lambda *_: {})


@mutant
def recount_off_by_one(stack: ExitStack) -> None:
    def take(whole: Any, segment: Any) -> None:
        whole.segments.append(segment)
        for kind in segment.types[1:] or segment.types:
            whole.tally[kind] += 1

    swap(stack, commit._Whole, "take", take)


@mutant
def a_segment_without_usage(stack: ExitStack) -> None:
    swap(stack, commit, "_write_charges", lambda *_: None)


@mutant
def what_is_fenced_is_billed(stack: ExitStack) -> None:
    real = work.commit

    def billed(connection: Connection, flush: Flush, now: datetime) -> CommitReport:
        report = real(connection, flush, now)
        for segment in flush.segments:
            if (segment.batch_id, segment.shard_number) in report.fenced:
                ledger.add_to_batch(connection, [(segment.batch_id, charge) for charge in segment.charges])
        return report

    swap(stack, work, "commit", billed)


@mutant
def usage_is_booked_by_another_transaction(stack: ExitStack) -> None:
    real, book = Store.commit, commit._write_charges

    async def twofold(store: Store, flush: Flush, now: datetime) -> CommitReport:
        changed: list[Any] = []
        with patch.object(commit, "_write_charges", lambda _, wholes, __: changed.extend(wholes)):
            report = await real(store, flush, now)
        await store.database.write(lambda connection: book(connection, changed, now))
        return report

    swap(stack, Store, "commit", twofold)


# Leases


@mutant
def rescue_without_a_new_epoch(stack: ExitStack) -> None:
    for name in ("_TAKE", "_TAKE_MODEL"):
        swap(stack, work, name, getattr(work, name).values(epoch=shards.c.epoch))


@mutant
def a_lease_takes_what_others_hold(stack: ExitStack) -> None:
    swap(stack, work, "_TAKE_MODEL", _taking(shards.c.model == bindparam("of_model")))
    swap(stack, work, "_BACKLOG", _backlog(batches.c.processing_status == "in_progress"))


@mutant
def closing_takes_what_workers_hold(stack: ExitStack) -> None:
    swap(stack, work, "_TAKE", _taking())
    over = or_(batches.c.processing_status == "canceling", batches.c.expires_at <= work._NOW)
    held = exists().where(shards.c.batch_id == batches.c.id, OPEN_SHARD)
    swap(stack, work, "_CLOSING", select(*rows.BATCH_COLUMNS).where(RUNNING, over, held).limit(work._MAX))


@mutant
def canceled_batches_are_leased(stack: ExitStack) -> None:
    due = batches.c.expires_at > work._NOW
    swap(
        stack, work, "_RUNNING", select(*rows.BATCH_COLUMNS).where(batches.c.id == bindparam("of_batch"), RUNNING, due)
    )
    swap(stack, work, "_BACKLOG", _backlog(backlogs.c.shards_open > work._HELD))


@mutant
def a_lease_is_renewed_after_it_lapsed(stack: ExitStack) -> None:
    async def renew(self: Any, holdings: Any) -> None:
        asked_at = self._clock.monotonic()
        until = self._clock.now() + timedelta(seconds=self._options.lease_seconds)
        await self._store.renew(self._options.worker_id, [one.lease for one in holdings], until)
        for one in holdings:
            one.renewed_at = asked_at

    swap(stack, dispatch.Dispatcher, "_renew", renew)
    swap(stack, dispatch.Dispatcher, "_doubt", lambda *_: None)


@mutant
def a_lease_is_never_renewed(stack: ExitStack) -> None:
    async def renew(*_: Any) -> None:
        pass

    swap(stack, dispatch.Dispatcher, "_renew", renew)


@mutant
def a_start_voids_the_leases_of_all_workers(stack: ExitStack) -> None:
    async def release_worker(store: Store, _: str) -> int:
        everything = update(shards).values(lease_until=EPOCH, worker_id=None)
        await store.database.write(lambda connection: connection.execute(everything).close())
        return 0

    swap(stack, Store, "release_worker", release_worker)


# Before a send


@mutant
def no_check_before_a_send(stack: ExitStack) -> None:
    swap(stack, holding.Holding, "may_send", lambda _: True)


@mutant
def no_cancel_before_a_send(stack: ExitStack) -> None:
    def may_send(one: Any) -> bool:
        return bool(one.certain and one.clock.now() < one.lease.expires_at)

    swap(stack, holding.Holding, "may_send", may_send)


@mutant
def no_expiry_before_a_send(stack: ExitStack) -> None:
    swap(stack, holding.Holding, "may_send", lambda one: one.stopped_at is None and one.certain)


@mutant
def no_lease_before_a_send(stack: ExitStack) -> None:
    def may_send(one: Any) -> bool:
        return bool(one.stopped_at is None and one.clock.now() < one.lease.expires_at)

    swap(stack, holding.Holding, "may_send", may_send)


@mutant
def cancels_elsewhere_are_not_heard(stack: ExitStack) -> None:
    async def stopped(*_: Any) -> frozenset[str]:
        return frozenset()

    swap(stack, Store, "stopped", stopped)


@mutant
def one_failure_is_enough(stack: ExitStack) -> None:
    swap(stack, infer, "ATTEMPTS_MAX", 1)


@mutant
def a_backend_that_is_away_costs_an_attempt(stack: ExitStack) -> None:
    real = infer.Infer._send

    async def send(*arguments: Any) -> Any:
        try:
            return await real(*arguments)
        except BackendAwayError as away:
            raise AttemptFailedError(away.reason, APIError()) from away

    swap(stack, infer.Infer, "_send", send)


@mutant
def a_create_that_was_overtaken_is_another_batch(stack: ExitStack) -> None:
    swap(stack, batch_rows, "_overtaken", lambda *_: None)


# Time


@mutant
def the_wall_clock_decides(stack: ExitStack) -> None:
    def now(_: SystemClock) -> datetime:
        return datetime.fromtimestamp(clock.time.time(), UTC)  # the world's

    swap(stack, SystemClock, "now", now)


@mutant
def a_restart_forgets_the_time(stack: ExitStack) -> None:
    swap(stack, SystemClock, "advance_to", lambda *_: None)


@mutant
def a_restart_believes_the_wall_clock(stack: ExitStack) -> None:
    swap(stack, SystemClock, "kept", lambda _: SystemClock())


# Recording


@mutant
def no_journal(stack: ExitStack) -> None:
    swap(stack, journal.Journal, "append", lambda *_: None)


@mutant
def the_journal_is_not_adopted(stack: ExitStack) -> None:
    swap(stack, record, "adoptable", lambda *_: ([], []))


@mutant
def committed_lines_are_adopted_again(stack: ExitStack) -> None:
    def adoptable(directory: Path, lease: Lease) -> Any:
        return journal.adoptable(directory, replace(lease, done=frozenset()))

    swap(stack, record, "adoptable", adoptable)


@mutant
def a_failed_flush_is_not_put_back(stack: ExitStack) -> None:
    swap(stack, record.Recorder, "_put_back", lambda *_: None)


@mutant
def a_failed_commit_is_forgotten(stack: ExitStack) -> None:
    real = record.Recorder._commit

    async def forgetful(self: Any) -> None:
        try:
            await real(self)
        except StoreUnavailableError:
            self._parcels.clear()
            raise

    swap(stack, record.Recorder, "_commit", forgetful)


# Closing and sweeping


@mutant
def the_closer_writes_lines_that_are_there(stack: ExitStack) -> None:
    swap(stack, close.Closer, "_close", _closing(skips=False))


@mutant
def the_closer_takes_expired_for_canceled(stack: ExitStack) -> None:
    swap(stack, close.Closer, "_close", _closing(skips=True))


@mutant
def nobody_closes(stack: ExitStack) -> None:
    async def close_some(_: Any) -> int:
        return 0

    swap(stack, close.Closer, "close_some", close_some)


@mutant
def orphans_are_swept_whatever_their_age(stack: ExitStack) -> None:
    swap(stack, sweep, "ORPHAN_LOOKS", 1)
    swap(stack, sweep, "ORPHAN_ROUND_SECONDS", 0.0)


@mutant
def joining_turns_the_lines_around(stack: ExitStack) -> None:
    real = sweep_rows._fragmented

    def fragmented(connection: Connection, limit: int) -> Any:
        return [replace(one, ranges=one.ranges[::-1]) for one in real(connection, limit)]

    swap(stack, sweep_rows, "_fragmented", fragmented)


# What owners do


@mutant
def a_create_is_answered_before_it_is_sealed(stack: ExitStack) -> None:
    real = Store.seal

    async def seal(store: Store, admission: Any) -> Sealed:
        try:
            return await real(store, admission)
        except StoreUnavailableError:
            return Sealed(batch=admission.batch, duplicate=False)

    swap(stack, Store, "seal", seal)


@mutant
def a_repeated_create_is_not_recognised(stack: ExitStack) -> None:
    swap(stack, batch_rows, "_repeated", lambda *_: None)


@mutant
def every_equal_body_is_a_repetition(stack: ExitStack) -> None:
    real = batch_rows._repeated
    swap(stack, batch_rows, "_repeated", lambda connection, one: real(connection, replace(one, retried=True)))


@partial(mutant, rare=True)
def a_create_is_forgotten_with_its_batch(stack: ExitStack) -> None:
    real = batch_rows._delete

    def delete_all(connection: Connection, workspace_id: str, batch_id: str) -> Any:
        found = real(connection, workspace_id, batch_id)
        connection.execute(delete(creates).where(creates.c.batch_id.not_in(select(batches.c.id))))
        return found

    swap(stack, batch_rows, "_delete", delete_all)


@mutant
def an_idempotency_key_takes_any_body(stack: ExitStack) -> None:
    real = batch_rows._repeated

    def repeated(connection: Connection, admission: Any) -> Any:
        query = select(creates.c.digest).where(creates.c.idempotency_key == admission.idempotency_key)
        digest = admission.idempotency_key and connection.scalar(query)
        return real(connection, replace(admission, digest=digest or admission.digest))

    swap(stack, batch_rows, "_repeated", repeated)


@mutant
def an_ended_batch_can_be_canceled(stack: ExitStack) -> None:
    everywhere = frozenset({"in_progress", "canceling", "ended"})
    swap(stack, lifecycle, "allowed_from", lambda _: everywhere)


@mutant
def the_second_cancel_counts(stack: ExitStack) -> None:
    def cancel(connection: Connection, workspace_id: str, batch_id: str, now: datetime) -> Any:
        statement = (
            update(batches)
            .where(batch_rows._OWNED, RUNNING)
            .values(processing_status="canceling", cancel_initiated_at=literal(now, Instant))
        )
        connection.execute(statement, batch_rows._own(workspace_id, batch_id))
        return batch_rows.find(connection, workspace_id, batch_id)

    swap(stack, batch_rows, "_cancel", cancel)


@mutant
def a_running_batch_can_be_deleted(stack: ExitStack) -> None:
    swap(stack, lifecycle, "after", lambda _, trigger: "gone" if trigger == "delete" else "ended")


@mutant
def batches_are_found_across_workspaces(stack: ExitStack) -> None:
    swap(stack, batch_rows, "_FIND", select(*rows.BATCH_COLUMNS).where(*ANYBODY_S))


@mutant
def batches_are_canceled_across_workspaces(stack: ExitStack) -> None:
    swap(stack, batch_rows, "_OWNED", and_(*ANYBODY_S))


@mutant
def results_are_given_before_the_end(stack: ExitStack) -> None:
    async def results(self: Any, workspace_id: str, batch_id: str) -> Delivery:
        await self.retrieve(workspace_id, batch_id)
        ranges = await self._store.results(workspace_id, batch_id)
        length = sum(part.length for part in ranges)

        async def locate() -> Any:
            return await self._store.results(workspace_id, batch_id)

        return Delivery(length=length, etag="", ranges=ranges, blobs=self._blobs, locate=locate)

    swap(stack, batch_steps.Batches, "results", results)


@mutant
def counts_move_before_the_end(stack: ExitStack) -> None:
    swap(stack, batch_domain.Batch, "counts", property(lambda one: one.tally))


def _ending(whole: Any, now: datetime) -> dict[str, Any]:
    return {"processing_status": "ended", "ended_at": now, "result_blobs": 1 if whole else 0}


def _taking(*conditions: Any) -> Any:
    """Lease shards whoever holds them."""
    free = (
        select(shards.c.batch_id, shards.c.number)
        .where(shards.c.batch_id == bindparam("of_batch"), OPEN_SHARD, *conditions)
        .order_by(shards.c.number)
        .limit(work._MAX)
        .cte("free")
    )
    return (
        update(shards)
        .where(tuple_(shards.c.batch_id, shards.c.number).in_(select(free.c.batch_id, free.c.number)))
        .values(
            epoch=shards.c.epoch + 1,
            worker_id=bindparam("to_worker"),
            lease_until=bindparam("to_until", type_=Instant),
        )
        .returning(*work.SHARD_COLUMNS)
    )


def _backlog(condition: Any) -> Any:
    """List batches with open shards, if a condition holds."""
    columns = (batches.c.id, batches.c.workspace_id, backlogs.c.model, backlogs.c.shards_open.label("free"))
    return (
        select(*columns, batches.c.created_at, batches.c.expires_at)
        .join_from(batches, backlogs, backlogs.c.batch_id == batches.c.id)
        .where(RUNNING, condition, batches.c.expires_at > work._NOW)
        .order_by(batches.c.created_at, batches.c.id, backlogs.c.model)
        .limit(work._MAX)
    )


def _closing(*, skips: bool) -> Any:
    """Close a shard: also what is done, unless it `skips` that, and all of it as canceled if it does."""

    async def close_one(self: Any, lease: Lease) -> None:
        requests = await close.requests_of(lease, self._blobs)
        done = self._recorder.open(lease)
        for position, request in enumerate(requests or ()):
            if skips and position in done:
                continue
            line = canceled_line(request.custom_id) if lease.canceled or skips else expired_line(request.custom_id)
            kind: ResultType = "canceled" if lease.canceled or skips else "expired"
            self._recorder.add(lease, ResultLine(position=position, type=kind, line=line, model=lease.shard.model))

    return close_one
