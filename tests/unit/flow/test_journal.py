"""The journal keeps whole lines through any kill and adopts nothing else."""

import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slackwater.domain.batch import Lease, Shard, Terms
from slackwater.domain.result import ResultLine, Usage
from slackwater.flow.journal import Journal, adoptable

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = Lease(
    batch_id="msgbatch_01x",
    workspace_id="w",
    shard=Shard(number=3, model="m", offset=0, length=10, count=10),
    epoch=1,
    until=NOW,
    requests_key="requests/x",
    terms=Terms(version="2023-06-01"),
    created_at=NOW,
    expires_at=NOW + timedelta(hours=24),
)


def line(position: int, text: str = "é\\u2028") -> ResultLine:
    return ResultLine(
        position=position,
        type="succeeded",
        line=f'{{"custom_id":"r{position}","t":"{text}\t"}}\n'.encode(),
        model="local/qwen",
        usage=Usage(input_tokens=1, output_tokens=2, cache_creation_5m_input_tokens=3, cache_read_input_tokens=4),
        cost_nanousd=12345678901234,
    )


def written(directory: Path, lease: Lease, *positions: int) -> Path:
    journal = Journal(directory, lease)
    for position in positions:
        journal.append(line(position))
    journal.close()
    return journal.path


def test_what_an_earlier_epoch_journaled_comes_back_field_by_field(tmp_path: Path) -> None:
    """X3: work that was done before a kill is not done again."""
    path = written(tmp_path, LEASE, 0, 4, 7)
    found, files = adoptable(tmp_path, replace(LEASE, epoch=2))
    assert found == [line(0), line(4), line(7)]
    assert files == [path]


def test_committed_positions_other_shards_and_the_lease_s_own_epoch_are_left_alone(tmp_path: Path) -> None:
    """S3: a line that is visible is never replaced by another."""
    written(tmp_path, LEASE, 0, 1, 2)
    written(tmp_path, replace(LEASE, shard=replace(LEASE.shard, number=33)), 5)
    written(tmp_path, replace(LEASE, epoch=2), 6)
    found, _ = adoptable(tmp_path, replace(LEASE, epoch=2, done=frozenset({0, 2})))
    assert [one.position for one in found] == [1]


def test_a_position_that_two_epochs_have_is_adopted_once(tmp_path: Path) -> None:
    """S1: an adopted line that was journaled again and killed again still counts once."""
    written(tmp_path, LEASE, 0, 1)
    written(tmp_path, replace(LEASE, epoch=2), 1, 2)
    found, files = adoptable(tmp_path, replace(LEASE, epoch=3))
    assert sorted(one.position for one in found) == [0, 1, 2]
    assert len(files) == 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(cut=st.integers(0, 2_000))
def test_any_torn_tail_costs_only_the_line_it_tears(tmp_path: Path, cut: int) -> None:
    """D2 for lines: a file that ends anywhere yields exactly its complete records."""
    path = written(tmp_path, LEASE, *range(5))
    data = path.read_bytes()
    ends = [at + 1 for at, byte in enumerate(data) if byte == ord("\n")]
    cut = min(cut, len(data))
    path.write_bytes(data[:cut])
    found, _ = adoptable(tmp_path, replace(LEASE, epoch=2))
    path.unlink()
    assert found == [line(position) for position in range(sum(end <= cut for end in ends))]


@pytest.mark.parametrize("at", [0, 20, 60, 100])
def test_a_flipped_bit_is_not_adopted(tmp_path: Path, at: int) -> None:
    """D5 for lines: what fails its checksum is worked on again instead."""
    path = written(tmp_path, LEASE, 0, 1)
    data = bytearray(path.read_bytes())
    data[at] ^= 0x01
    path.write_bytes(data)
    found, _ = adoptable(tmp_path, replace(LEASE, epoch=2))
    assert all(one == line(one.position) for one in found)
    assert len(found) < 2


def test_a_record_of_another_version_is_worked_on_again(tmp_path: Path) -> None:
    """U1: its checksum is right and its fields are not ours; that stops no start."""
    payload = b'[0,"succeeded","m",1,[1,2]]\t{"custom_id":"a"}\n'
    path = tmp_path / f"{LEASE.batch_id}.{LEASE.shard.number}.{LEASE.epoch}.journal"
    path.write_bytes(b"%08x" % zlib.crc32(payload) + payload)
    assert adoptable(tmp_path, replace(LEASE, epoch=LEASE.epoch + 1)) == ([], [path])
