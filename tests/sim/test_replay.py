"""Failed seeds become scenario files: read back as they were written, cut down, and played again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fednode.chain.consensus.driver import Driver
from tests.sim import __main__ as command
from tests.sim import replay
from tests.sim.checker import Violation
from tests.sim.faults import Crash, CrashAll, Deafen, Split, Storm, Timed, cut_down, parse_timed
from tests.sim.mutants import MUTANTS, Mutant
from tests.sim.whole import world as whole
from tests.sim.world import Plan, World, draw_plan
from tests.support.patches import applied

EVERY_KIND = (
    Timed(5, Crash(2, 7)), Timed(1, CrashAll((0, 1, 2, 3)), 12), Timed(90, Split((0, 1, 1, 2), 500)),
    Timed(4, Storm(0.3, 0.05, 300, 2_000), 0), Timed(3, Deafen(0.4, 8131, 9_000)),
)
NO_PERSISTENCE = next(mutant for mutant in MUTANTS if mutant.name == "no persistence")


def test_every_fault_is_one_line_that_reads_back() -> None:
    for timed in EVERY_KIND:
        assert parse_timed(str(timed).split()) == timed
    for line in ("crash 2 after 5", "at 5 explode", "at x crash 1 after 2", "at 5 crash 1"):
        with pytest.raises(ValueError, match=r"."):
            parse_timed(line.split())


@pytest.mark.parametrize("plan", [
    Plan(3, 7, 2, has_twin=True), Plan(1, has_adversary=True, is_real=True), Plan(8, joins=True),
    whole.Plan(4, disk="lying", trouble="members"), whole.Plan(0, faults=0, crash_at=120),
])
def test_a_plan_reads_back(plan: replay.AnyPlan) -> None:
    plan = replace(plan, script=EVERY_KIND[:4])
    text = replay.describe(plan, "a promise\nin two lines")
    assert replay.parse(text) == plan and replay.is_seed(text)


def test_what_the_seed_draws_and_what_the_file_lists_is_one_run() -> None:
    drawn = World(draw_plan(5))
    drawn.run()
    listed = World(replace(draw_plan(5), script=drawn.faults))
    listed.run()
    assert [block.hash for block in drawn.checker.chain] == [block.hash for block in listed.checker.chain]


def test_faults_are_cut_down_to_those_it_takes() -> None:
    needed = {EVERY_KIND[1], EVERY_KIND[4]}
    assert cut_down(EVERY_KIND, lambda kept: needed <= set(kept)) == (EVERY_KIND[1], EVERY_KIND[4])


@pytest.mark.slow
def test_a_failed_seed_is_written_and_played_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with applied(NO_PERSISTENCE.patches):
        assert command.main(["--seeds", "0..3", "--save", str(tmp_path)]) == 1
        (path, *_) = sorted(tmp_path.glob("found-*.txt"))
        assert f"scripts/simulate --scenario {path}" in capsys.readouterr().out
        assert command.main(["--scenario", str(path)]) == 1
        with pytest.raises(Violation, match=path.name):
            replay.play_path(path)
    assert command.main(["--scenario", str(path)]) == 0, "the sound rules keep their promises in the same run"
    assert path.read_text().startswith("# Broke a promise: ")


def test_a_play_of_messages_and_nonsense(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenarios = Path(__file__).resolve().parent.parent / "scenarios"
    assert command.main(["--scenario", str(scenarios / "amnesia.txt")]) == 0
    path = tmp_path / "nonsense.txt"
    path.write_text("dance 3\n")
    assert command.main(["--scenario", str(path)]) == 2
    assert "is no scenario" in capsys.readouterr().out


@pytest.mark.slow
def test_the_gate_fails_where_a_mutant_lives(capsys: pytest.CaptureFixture[str]) -> None:
    """A rule that is not broken at all lives, whatever is tried: the gate says so."""
    same = Mutant("nothing is broken", ((Driver, "_persist", Driver._persist),))
    assert command.run_mutants(range(2), (NO_PERSISTENCE, same)) == 1
    shown = capsys.readouterr().out
    assert "LIVES   nothing is broken" in shown and "killed  no persistence" in shown and "2 mutants, 1 live" in shown
