"""A hospital that is killed in mid-round: what it costs the others and itself, by how long it stays away."""

from __future__ import annotations

import pytest

from fednode.ids import MemberId
from fednode.learn import jobs as work
from fednode.ledger.studies.bodies import Outcome
from fednode.ledger.studies.records import get_report, get_round
from fednode.rounds.votes import LEASH_MS
from fednode.sums.phase import Phase
from tests.sim.whole.node import WholeNode
from tests.sim.whole.test_whole import ROUNDS
from tests.sim.whole.trouble import Trouble
from tests.sim.whole.world import FOUND_GONE_MS, Plan, World

TRAIN_MS = 3_000
VICTIM = MemberId(4)


class Killed(Trouble):
    """One hospital is killed while all train in the first round of training, and started again after `rest_ms`."""

    def __init__(self, world: World, rest_ms: int) -> None:
        super().__init__(world)
        self._rest_ms = rest_ms
        self._is_killed = self._is_back = False

    def spoil(self, node: WholeNode, answer: work.Answer) -> tuple[work.Answer, int]:
        return answer, TRAIN_MS if isinstance(answer, work.Trained) else 0

    def on_height(self, height: int) -> None:
        state = self.latest()
        current = None if state is None else get_round(state, self.world.studies[0])
        if current is not None and not self._is_killed and (current.number, current.phase.kind) == (1, Phase.COMMIT):
            self._is_killed = True
            self.world.after(500, self._kill)

    def _kill(self) -> None:
        self.world.nodes[VICTIM].stop()
        self.world.after(self._rest_ms, self._restart)

    def _restart(self) -> None:
        self._is_back = True
        self.world.start_soon(self.world.nodes[VICTIM])

    def is_over(self) -> bool:
        return self._is_back


def played(rest_ms: int) -> World:
    world = World(Plan(0, faults=0))
    world.trouble = Killed(world, rest_ms)
    return world.run()


def counted(world: World) -> list[bool]:
    """Whether the victim was counted, by round."""
    reports = [get_report(world.nodes[VICTIM].core.chain.state, world.studies[0], number) for number in range(ROUNDS)]
    assert all(report is not None and report.outcome == Outcome.OK for report in reports)
    return [report is not None and VICTIM in report.counted for report in reports]


@pytest.mark.slow
@pytest.mark.parametrize("rest_ms", [100, FOUND_GONE_MS - 300, FOUND_GONE_MS + LEASH_MS - 300])
def test_who_is_back_before_its_short_clock_has_run_out_stays_in_the_round(rest_ms: int) -> None:
    assert counted(played(rest_ms)) == [True] * ROUNDS


@pytest.mark.slow
@pytest.mark.parametrize("rest_ms", [FOUND_GONE_MS + LEASH_MS + 300, TRAIN_MS - 500])
def test_who_is_back_before_the_round_has_ended_loses_at_most_that_round(rest_ms: int) -> None:
    assert counted(played(rest_ms)) in ([True] * ROUNDS, [True, False, True, True])


def test_who_stays_away_costs_the_round_a_short_clock_and_the_next_ones_nothing() -> None:
    """The others train for three seconds anyway; the deadline for it would be far longer."""
    world = played(60_000)
    state = world.nodes[MemberId(1)].core.chain.state
    reports = [get_report(state, world.studies[0], number) for number in range(1, ROUNDS - 1)]
    taken = [0 if report is None else report.closed_ms - report.opened_ms for report in reports]
    assert max(taken) < TRAIN_MS + FOUND_GONE_MS + LEASH_MS
    assert [absence.member for absence in reports[0].absent] == [VICTIM]  # type: ignore[union-attr]
    assert VICTIM not in reports[1].expected  # type: ignore[union-attr]
