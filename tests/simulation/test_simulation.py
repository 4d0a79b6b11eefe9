"""Server, workers and sweeper in a small world that follows a seed: nothing that happens there breaks a promise (F26).

Each seed draws machines, clients, backends and blows (kills, pauses beyond the lease, lost databases and answers, full
disks, stepped clocks) and the order of every step. What clients are told, what the backends saw and what lies in the
database is held against D1, D3, D4, D7, S1, S2, S3, S4, S5, S6, S7, X1, X2, X3, X4, X5, X7, C1, C2, C3, C4, T1, T2,
T3, R1, W1, M1, P1, P2 and L1 at every send and at every look.
"""

import re
import subprocess

import pytest

from simulation.mutants import MUTANTS
from support.seeds import simulation

SEEDS, AT_ONCE = 2_000, 250
SEEDS_SHORT = 60
SEEDS_LONG = 50_000
MUTANT_SEEDS, RARE_MUTANT_SEEDS, PARTS = 200, 3_000, 4


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the simulation."""
    command, environment = simulation(*arguments)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_first_seeds_break_no_promise() -> None:
    """Whatever dies, stops or lies, and in whatever order: a short walk; `make test` runs many beside the tests."""
    done = simulate("--seeds", f"0:{SEEDS_SHORT}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{SEEDS_SHORT} seeds, 0 with a broken promise" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_no_seed_breaks_a_promise(first: int) -> None:
    """Whatever dies, stops or lies, and in whatever order: a failing seed prints itself and how to see it again."""
    done = simulate("--seeds", f"{first}:{first + AT_ONCE}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{AT_ONCE} seeds, 0 with a broken promise" in done.stdout


@pytest.mark.slow
def test_no_seed_of_very_many_breaks_a_promise() -> None:
    """The long form walks through orders that the short one never met."""
    done = simulate("--seeds", f"{SEEDS}:{SEEDS + SEEDS_LONG}")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("part", range(PARTS))
def test_every_broken_rule_is_noticed(part: int) -> None:
    """A simulation that lets a mutant live would let the same mistake of ours live (S5, X5, C2, T2, M1 and others)."""
    _notices([one.name for one in MUTANTS if not one.rare][part::PARTS], MUTANT_SEEDS)


@pytest.mark.slow
def test_every_broken_rule_that_few_seeds_notice_is_noticed() -> None:
    """Likewise, with more patience."""
    _notices([one.name for one in MUTANTS if one.rare], RARE_MUTANT_SEEDS)


def _notices(names: list[str], seeds: int) -> None:
    done = simulate(*(f"--mutant={name}" for name in names), "--seeds", f"0:{seeds}")
    print(done.stdout)  # noqa: T201  # the table
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(names)} mutants, 0 alive" in done.stdout
    # A mutant that is not written well any more makes everybody meet an error, which proves nothing.
    upset = {line.partition("  ")[0] for line in done.stdout.splitlines() if " S8: " in line}
    assert upset <= {"orphans are swept whatever their age"}  # somebody's file is gone


def test_a_seed_runs_the_same_way_every_time() -> None:
    """In another process, after other seeds, or alone: without this a failure could not be looked at again."""
    first, second = (simulate("--traces", "--seeds", "30:36").stdout for _ in range(2))
    assert len(set(re.findall(r"trace (\w{64})", first))) == 6
    assert first == second
    (alone,) = re.findall(r"seed 35 trace \w{64}", simulate("--traces", "--seed", "35").stdout)
    assert alone in first
