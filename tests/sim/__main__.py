"""Run simulated federations: seeds, scenarios, or the gate of broken rules.

    python -m tests.sim --seeds 0..500 [--members 7] [--faults 3]     consensus alone
    python -m tests.sim --whole --seeds 0..60 [--trouble members]     whole nodes that train a study
    python -m tests.sim --crash-points 1..600                         one member dies before each of its effects
    python -m tests.sim --mutants [--seeds 0..20]                     broken rules: each has to be noticed
    python -m tests.sim --sum-mutants [WORD...]                       broken secure sums and the tests that notice
    python -m tests.sim --rule-mutants [WORD...]                      broken consensus and catch-up, likewise
    python -m tests.sim --whole --mutants                             the same for whole nodes and the ways back
    python -m tests.sim --scenario FILE                               a play of messages, or a seed that failed

A seed that breaks a promise is cut down to the faults it takes and written to a scenario file (--save FOLDER).
Exit code 1: a promise was broken, or a broken rule lives.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.sim import replay
from tests.sim.checker import Violation
from tests.sim.faults import Timed
from tests.sim.mutants import MUTANTS, Mutant, hunt
from tests.sim.script import ScenarioFailed
from tests.sim.whole import world as whole
from tests.sim.whole.mutants import MUTANTS as WHOLE_MUTANTS
from tests.sim.whole.mutants import find_killer
from tests.sim.whole.troubles import TROUBLES
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


def pace(count: int, begin: float) -> str:
    """Return how long a run took since `begin`, in processor time: other work on the machine does not count."""
    seconds = time.process_time() - begin
    return f"{seconds:.1f} s of one core, {60 * count / seconds:.0f} seeds a minute"


def is_held(plan: replay.AnyPlan, broken: str | None, faults: tuple[Timed, ...], folder: Path) -> bool:
    """Tell of a broken promise and write the scenario of it; return whether there was none."""
    if broken is None:
        return True
    write(f"seed {plan.seed} FAILED: {broken}")
    replay.save(folder, replay.minimise(plan, faults), broken, write)
    return False


def run_seeds(plans: Iterable[Plan], folder: Path) -> int:
    """Run every plan; return how many broke a promise."""
    begin, count, failed, heights, events = time.process_time(), 0, 0, 0, 0
    for plan in plans:
        world = World(plan)
        failed += not is_held(plan, replay.find_broken(world), world.faults, folder)
        count, heights, events = count + 1, heights + len(world.checker.chain), events + world.events
    write(f"{count} seeds, {failed} failed, {heights} heights, {events} events, {pace(count, begin)}")
    return failed


def run_whole(plans: Iterable[whole.Plan], folder: Path) -> int:
    """Run every plan with whole nodes; return how many broke a promise."""
    begin, count, failed, heights, sums, double = time.process_time(), 0, 0, 0, 0, 0
    for plan in plans:
        world = whole.World(plan)
        failed += not is_held(plan, replay.find_broken(world), world.faults, folder)
        count, heights, sums = count + 1, heights + len(world.checker.blocks), sums + world.checker.sums
        double += len(world.checker.double_votes)
    write(
        f"{count} seeds, {failed} failed, {heights} heights, {sums} sums opened and exact, {double} double votes of "
        f"members whose disk lied or that ran twice, {pace(count, begin)}"
    )
    return failed


def run_scenario(path: Path) -> int:
    """Play a scenario file; return 1 if something in it goes wrong."""
    broken = None
    try:
        replay.play_path(path)
    except (ScenarioFailed, Violation) as error:
        broken = str(error)
    except ValueError as error:
        write(f"{path} is no scenario: {error}")
        return 2
    write(f"{path}: every promise held" if broken is None else f"{path}: FAILED: {broken}")
    return 0 if broken is None else 1


def run_mutants(seeds: range, mutants: Sequence[Mutant] = MUTANTS) -> int:
    """Print who noticed each mutant; return how many live."""
    living = 0
    for mutant in mutants:
        kill = hunt(mutant, seeds)
        living += kill.killer is None
        verdict = "LIVES " if kill.killer is None else "killed"
        write(f"{verdict}  {mutant.name:34} {kill.seconds:5.1f} s  {kill.killer or ''}")
    write(f"{len(mutants)} mutants, {living} live")
    return living


def run_whole_mutants(seeds: range) -> int:
    """Print who noticed each broken way back of whole nodes; return how many live."""
    living = 0
    for mutant in WHOLE_MUTANTS:
        killer = find_killer(mutant, seeds)
        living += killer is None
        write(f"{'LIVES ' if killer is None else 'killed'}  {mutant.name:34} {killer or ''}")
    write(f"{len(WHOLE_MUTANTS)} mutants, {living} live")
    return living


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser("simulate", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=parse_range, metavar="A..B", help="seeds, both included")
    parser.add_argument("--whole", action="store_true", help="whole nodes with rounds instead of consensus alone")
    parser.add_argument("--crash-points", type=parse_range, metavar="A..B", help="numbers of effects, both included")
    parser.add_argument("--members", type=int, default=4, help="members of each federation (4)")
    parser.add_argument("--faults", type=int, default=3, help="faults in each run (3)")
    parser.add_argument("--disk", choices=sorted(set(whole.DISKS)), help="what is wrong with one whole node's disk")
    parser.add_argument("--trouble", choices=sorted(filter(None, TROUBLES)), help="what else happens to whole nodes")
    parser.add_argument("--mutants", action="store_true", help="run the gate of broken rules")
    parser.add_argument("--sum-mutants", nargs="*", metavar="WORD", help="run the gate of broken secure sums")
    parser.add_argument("--rule-mutants", nargs="*", metavar="WORD", help="run the gate of broken ledger rules")
    parser.add_argument("--scenario", type=Path, metavar="FILE", help="play a scenario file")
    parser.add_argument("--save", type=Path, metavar="FOLDER", default=Path("build/scenarios"),
                        help="where scenarios of failed seeds go (build/scenarios)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; return the exit code."""
    options = parse_options(arguments)
    if options.scenario is not None:
        return run_scenario(options.scenario)
    if options.sum_mutants is not None:
        return 1 if gate.main(options.sum_mutants, gate.SUMS) else 0
    if options.rule_mutants is not None:
        return 1 if gate.main(options.rule_mutants, gate.RULES) else 0
    if options.mutants and options.whole:
        return 1 if run_whole_mutants(options.seeds or range(20)) else 0
    if options.mutants:
        return 1 if run_mutants(options.seeds or range(20)) else 0
    if options.crash_points:
        points = (whole.Plan(0, options.members, 0, crash_at=at) for at in options.crash_points)
        return 1 if run_whole(points, options.save) else 0
    if options.whole:
        seeds = options.seeds or range(60)
        plans = (
            whole.draw_plan(seed, options.members, options.faults, options.disk, options.trouble) for seed in seeds
        )
        return 1 if run_whole(plans, options.save) else 0
    seeds = options.seeds or range(200)
    return 1 if run_seeds((draw_plan(seed, options.members, options.faults) for seed in seeds), options.save) else 0


if __name__ == "__main__":
    sys.exit(main())
