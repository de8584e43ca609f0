"""Run simulated federations: seeds, or the gate of broken rules.

    python -m tests.sim --seeds 0..500 [--members 7] [--faults 3]
    python -m tests.sim --mutants [--seeds 0..20]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable

from fednode.errors import FednodeError
from tests.sim.checker import Violation
from tests.sim.mutants import MUTANTS, hunt
from tests.sim.world import Plan, World, draw_plan


def parse_range(text: str) -> range:
    """Turn 'A..B' (both included) or 'N' into a range."""
    first, _, last = text.partition("..")
    return range(int(first), int(last or first) + 1)


def write(line: str) -> None:
    """Print one line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run_seeds(plans: Iterable[Plan]) -> int:
    """Run every plan; return how many broke a promise."""
    begin, count, failed, heights, events = time.perf_counter(), 0, 0, 0, 0
    for plan in plans:
        world = World(plan)
        try:
            world.run()
        except (Violation, FednodeError) as error:
            failed += 1
            write(f"seed {plan.seed} FAILED: {error}\n  {plan}")
        count, heights, events = count + 1, heights + len(world.checker.chain), events + world.events
    seconds = time.perf_counter() - begin
    write(
        f"{count} seeds, {failed} failed, {heights} heights, {events} events, {seconds:.1f} s, "
        f"{60 * count / seconds:.0f} seeds a minute"
    )
    return failed


def run_mutants(seeds: range) -> int:
    """Print who noticed each mutant; return how many live."""
    living = 0
    for mutant in MUTANTS:
        kill = hunt(mutant, seeds)
        living += kill.killer is None
        verdict = "LIVES " if kill.killer is None else "killed"
        write(f"{verdict}  {mutant.name:34} {kill.seconds:5.1f} s  {kill.killer or ''}")
    write(f"{len(MUTANTS)} mutants, {living} live")
    return living


def main() -> int:
    """Parse the command line."""
    parser = argparse.ArgumentParser("simulate", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=parse_range, default=range(200), metavar="A..B", help="seeds, both included")
    parser.add_argument("--members", type=int, default=4, help="members of each federation (4)")
    parser.add_argument("--faults", type=int, default=3, help="faults in each run (3)")
    parser.add_argument("--mutants", action="store_true", help="run the gate of broken rules")
    options = parser.parse_args()
    if options.mutants:
        return 1 if run_mutants(options.seeds) else 0
    return 1 if run_seeds(draw_plan(seed, options.members, options.faults) for seed in options.seeds) else 0


sys.exit(main())
