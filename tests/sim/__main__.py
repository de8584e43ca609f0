"""Run simulated federations: seeds, or the gate of broken rules.

    python -m tests.sim --seeds 0..500 [--members 7] [--faults 3]     consensus alone
    python -m tests.sim --whole --seeds 0..60                         whole nodes that train a study
    python -m tests.sim --crash-points 1..600                         one member dies before each of its effects
    python -m tests.sim --mutants [--seeds 0..20]
    python -m tests.sim --sum-mutants [WORD...]                       broken secure sums and the tests that notice
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable

from fednode.errors import FednodeError
from tests.sim.checker import Violation
from tests.sim.mutants import MUTANTS, hunt
from tests.sim.whole import world as whole
from tests.sim.world import Plan, World, draw_plan
from tests.smpc import gate


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


def run_whole(plans: Iterable[whole.Plan]) -> int:
    """Run every plan with whole nodes; return how many broke a promise. A failed seed prints how to see it again."""
    begin, count, failed, heights, sums, double = time.perf_counter(), 0, 0, 0, 0, 0
    for plan in plans:
        world = whole.World(plan)
        try:
            world.run()
        except (Violation, FednodeError, AssertionError) as error:
            failed += 1
            options = f"--seeds {plan.seed} --members {plan.members} --faults {plan.faults} --disk {plan.disk}"
            options = f"--crash-points {plan.crash_at}" if plan.crash_at else f"--whole {options}"
            write(f"seed {plan.seed} FAILED ({plan.disk} disk): {error}\n  python -m tests.sim {options}")
        count, heights, sums = count + 1, heights + len(world.checker.blocks), sums + world.checker.sums
        double += len(world.checker.double_votes)
    seconds = time.perf_counter() - begin
    write(
        f"{count} seeds, {failed} failed, {heights} heights, {sums} sums opened and exact, {double} double votes of "
        f"members whose disk lied, {seconds:.1f} s, {60 * count / seconds:.0f} seeds a minute"
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
    parser.add_argument("--seeds", type=parse_range, metavar="A..B", help="seeds, both included")
    parser.add_argument("--whole", action="store_true", help="whole nodes with rounds instead of consensus alone")
    parser.add_argument("--crash-points", type=parse_range, metavar="A..B", help="numbers of effects, both included")
    parser.add_argument("--members", type=int, default=4, help="members of each federation (4)")
    parser.add_argument("--faults", type=int, default=3, help="faults in each run (3)")
    parser.add_argument("--disk", choices=sorted(set(whole.DISKS)), help="what is wrong with one whole node's disk")
    parser.add_argument("--mutants", action="store_true", help="run the gate of broken rules")
    parser.add_argument("--sum-mutants", nargs="*", metavar="WORD", help="run the gate of broken secure sums")
    options = parser.parse_args()
    if options.sum_mutants is not None:
        return 1 if gate.main(options.sum_mutants) else 0
    if options.mutants:
        return 1 if run_mutants(options.seeds or range(20)) else 0
    if options.crash_points:
        return 1 if run_whole(whole.Plan(0, options.members, 0, crash_at=at) for at in options.crash_points) else 0
    if options.whole:
        seeds = options.seeds or range(60)
        plans = (whole.draw_plan(seed, options.members, options.faults, options.disk) for seed in seeds)
        return 1 if run_whole(plans) else 0
    seeds = options.seeds or range(200)
    return 1 if run_seeds(draw_plan(seed, options.members, options.faults) for seed in seeds) else 0


sys.exit(main())
