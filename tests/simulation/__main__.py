"""Run seeds, or show that the simulation notices a broken rule: `python -m simulation --help`.

Run as `PYTHONPATH=src:tests python -m simulation --seed 17` to see one seed again, exactly as it was.
"""

import argparse
import logging
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import structlog

from simulation.mutants import MUTANTS, Mutant
from simulation.world import Place

REPLAY = "PYTHONPATH=src:tests python -m simulation --seed {}"
MEMORY = Path("/dev/shm")  # noqa: S108  # worlds last milliseconds and are gone; a disk would only be slow


def main() -> int:
    """Do as the command line says; the exit status is 1 when a rule was broken, or a mutant lives."""
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--seeds", default="0:100", help="FIRST:LAST, the last one not included")
    parser.add_argument("--mutant", action="append", help="break this rule; `all` for each in turn")
    parser.add_argument("--traces", action="store_true", help="print a digest of all that happened in each seed")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    first, _, last = options.seeds.partition(":")
    seeds = range(int(first), int(last)) if options.seed is None else range(options.seed, options.seed + 1)
    with (
        tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as directory,
        Place(Path(directory)) as place,
    ):
        if options.mutant:
            chosen = [one for one in MUTANTS if "all" in options.mutant or one.name in options.mutant]
            return _hunt(place, chosen, seeds)
        return _run(place, seeds, traces=options.traces)


def _run(place: Place, seeds: range, *, traces: bool) -> int:
    """Run seeds; print what was broken and how to see it again."""
    counts, failed = Counter[str](), 0
    for seed in seeds:
        report = place.run(seed)
        counts += report.counts
        if traces:
            _say(f"seed {seed} trace {report.digest}")
        if report.breaches:
            failed += 1
            _say(f"seed {seed}: {report.breaches[0]}\n    {REPLAY.format(seed)}")
    _say(", ".join(f"{counts[name]} {name}" for name in sorted(counts)))
    _say(f"{len(seeds)} seeds, {failed} with a broken promise")
    return 1 if failed else 0


def _hunt(place: Place, mutants: list[Mutant], seeds: range) -> int:
    """Run seeds until each mutant is killed; print the table."""
    width = max(len(one.name) for one in mutants)
    living = 0
    for one in mutants:
        killed = next((report for seed in seeds if (report := place.run(seed, one.breaks)).breaches), None)
        living += killed is None
        found = "LIVES" if killed is None else f"seed {killed.seed - seeds.start + 1:>3}  {killed.breaches[0][:100]}"
        _say(f"{one.name:<{width}}  {found}")
    _say(f"{len(mutants)} mutants, {living} alive after {len(seeds)} seeds")
    return 1 if living else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of strings must be walked in the same order every time
        os.execve(  # noqa: S606  # ourselves
            sys.executable, [sys.executable, "-m", "simulation", *sys.argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"}
        )
    sys.exit(main())
