"""Failed seeds as scenario files: written when a seed breaks a promise, read by people, played again.

    run consensus seed 17 members 4 twin       what ran, as the options of scripts/simulate name it
    at 3120 crash 2 after 5                    the faults that it took, see faults.py

Everything else, such as which message is lost in a storm, follows from the seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fednode.errors import FednodeError
from tests.sim import world as consensus
from tests.sim.checker import Violation
from tests.sim.faults import Timed, cut_down, parse_timed
from tests.sim.script import play
from tests.sim.whole import world as whole

AnyPlan = consensus.Plan | whole.Plan
BROKEN = (Violation, FednodeError, AssertionError)
FLAGS = {"twin": "has_twin", "adversary": "has_adversary", "real": "is_real", "joins": "joins"}


def run_plan(plan: AnyPlan) -> tuple[str | None, tuple[Timed, ...]]:
    """Run a plan; return what it broke, None if nothing, and the faults that struck or would have."""
    world = consensus.World(plan) if isinstance(plan, consensus.Plan) else whole.World(plan)
    return find_broken(world), world.faults


def find_broken(world: consensus.World | whole.World) -> str | None:
    """Run a world; return the promise it broke, None if none."""
    try:
        world.run()
    except BROKEN as error:
        return str(error) or type(error).__name__
    return None


def minimise(plan: AnyPlan, faults: tuple[Timed, ...]) -> AnyPlan:
    """Return the plan with as few of its faults as still break a promise, whichever."""
    kept = cut_down(faults, lambda fewer: run_plan(replace(plan, script=fewer))[0] is not None)
    return replace(plan, script=kept)


def describe(plan: AnyPlan, broken: str) -> str:
    """Return the text of a scenario file."""
    title = f"# Broke a promise: {' '.join(broken.split())}"
    lines = [title, "# Found by a seed and cut down to the faults it takes.", "", head_of(plan)]
    return "\n".join([*lines, *(str(timed) for timed in plan.script or ())]) + "\n"


def head_of(plan: AnyPlan) -> str:
    """Return the line that says what ran."""
    words = f"seed {plan.seed} members {plan.members} faults {plan.faults}"
    if isinstance(plan, whole.Plan):
        trouble = f" trouble {plan.trouble}" if plan.trouble else ""
        return f"run whole {words} disk {plan.disk}{trouble}" + (f" crash-at {plan.crash_at}" if plan.crash_at else "")
    return f"run consensus {words}" + "".join(f" {name}" for name, flag in FLAGS.items() if getattr(plan, flag))


def parse(text: str) -> AnyPlan:
    """Read a scenario file of a seed; raise `ValueError` if it is none."""
    plan: AnyPlan | None = None
    faults: list[Timed] = []
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if words and plan is None:
            plan = _parse_head(words)
        elif words:
            faults.append(parse_timed(words))
    if plan is None:
        raise ValueError("an empty scenario")
    return replace(plan, script=tuple(faults))


def _parse_head(words: list[str]) -> AnyPlan:
    if words[:1] != ["run"] or words[1] not in ("consensus", "whole"):
        raise ValueError("a scenario of a seed begins with 'run consensus' or 'run whole'")
    found: dict[str, object] = {}
    at = 2
    while at < len(words):
        if words[at] in FLAGS:
            found[FLAGS[words[at]]] = True
            at += 1
        else:
            name, value = words[at].replace("-", "_"), words[at + 1]
            found[name] = int(value) if value.isdigit() else value
            at += 2
    return consensus.Plan(**found) if words[1] == "consensus" else whole.Plan(**found)  # type: ignore[arg-type]


def is_seed(text: str) -> bool:
    """Whether a scenario file holds a seed, not a play of single messages."""
    lines = (line.split("#")[0].split() for line in text.splitlines())
    return next((words[0] == "run" for words in lines if words), False)


def play_path(path: Path) -> None:
    """Play a scenario file of either kind; raise `ScenarioFailed` or `Violation` where it goes wrong."""
    text = path.read_text()
    if not is_seed(text):
        play(text, path.name)
        return
    broken, _ = run_plan(parse(text))
    if broken is not None:
        raise Violation(f"{path.name}: {broken}")


def save(directory: Path, plan: AnyPlan, broken: str, write: Callable[[str], None]) -> Path:
    """Write the scenario of a failed seed, cut down; return the file."""
    kind = "consensus" if isinstance(plan, consensus.Plan) else "whole"
    path = directory / f"found-{kind}-{plan.seed}.txt"
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text(describe(plan, broken))
    write(f"  written to {path}; see it again with: scripts/simulate --scenario {path}")
    return path
