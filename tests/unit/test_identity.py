"""A worker's name outlives the process, and two that live at once never share one."""

from itertools import count
from pathlib import Path

from slackwater.domain.ids import IdSource
from slackwater.identity import worker_identity

_milliseconds = count(1)
IDS = IdSource(lambda: next(_milliseconds))


def test_a_restarted_process_has_the_name_of_its_predecessor(tmp_path: Path) -> None:
    """L3: so that the leases of the dead one can be voided at once."""
    with worker_identity(tmp_path, IDS) as first:
        pass
    with worker_identity(tmp_path, IDS) as second:
        pass
    assert first == second


def test_processes_that_live_at_once_have_different_names(tmp_path: Path) -> None:
    """X1: nobody voids the leases of a living worker."""
    with worker_identity(tmp_path, IDS) as one, worker_identity(tmp_path, IDS) as other:
        assert one != other
    with worker_identity(tmp_path, IDS) as again:
        assert again == one
