"""A member that lies about its rows: what no rows give names it, what some rows give moves a mean by one voice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fednode.effects import Compute, Job
from fednode.ids import Hash
from fednode.learn.measures import LOSS, RIGHT
from fednode.learn.model_file import read_model
from fednode.learn.tables.kind import MOMENTS
from fednode.learn.units import UNIT
from fednode.ledger.studies.bodies import Outcome, TrainingEnd
from fednode.ledger.studies.records import StudyStatus
from fednode.ledger.sums.records import RoundKind
from fednode.rounds import events as ev
from fednode.rounds.jobs import MakeInput
from fednode.smpc import jobs as sum_jobs
from fednode.smpc.proving import ProveUpdate
from fednode.sums.measures import CLAIM, Claims
from tests.rounds.world import Member, Tamper, World, check_all
from tests.smpc.sim import dealers

LIAR, HONEST = 3, (1, 2, 4)


def deal_the_impossible(job: Job[sum_jobs.Result]) -> sum_jobs.Result:
    """Two voices in one column, or in the share of rows right."""
    if isinstance(job, ProveUpdate) and job.statement.plan:
        return dealers.deal_as(job, bits=dealers.claim(1, {0: 0, 1: 1, 2: 0}, 0) if job.statement.plan[0].has_moments
                               else dealers.set_bit(job.statement.norm_length, 0))
    return job.run()


def claim(kind: RoundKind, claims: Claims) -> Tamper:
    """Claims of its own choice in rounds of a kind."""

    def tamper(member: Member, effect: ev.Effect) -> list[ev.Effect]:
        job = effect.job if isinstance(effect, Compute) else None
        if isinstance(effect, Compute) and isinstance(job, MakeInput) and job.kind is kind:
            return [replace(effect, job=replace(job, claim_bytes=claims.tobytes()))]
        return [effect]

    return tamper


def test_impossible_statistics_name_their_author_and_the_study_goes_on_without() -> None:
    world = World(rounds=1)
    world.members[LIAR].run_sum_job = deal_the_impossible
    world.run().settle()
    assert world.status == StudyStatus.FINISHED and world.life.faulty_members == (LIAR,)
    assert [(r.outcome, r.counted) for r in world.reports] == [(Outcome.OK, HONEST)] * 3
    assert world.reports[0].faulty == (LIAR,)
    check_all(world)


@pytest.mark.slow
def test_impossible_measures_of_a_model_name_their_author_too() -> None:
    world = World(rounds=2)
    world.run(lambda w: len(w.reports) == 1)
    world.members[LIAR].run_sum_job = deal_the_impossible
    world.run().settle()
    assert world.status == StudyStatus.FINISHED and world.reports[1].faulty == (LIAR,)
    assert all(r.outcome == Outcome.OK for r in world.reports)


def test_a_perfect_claim_ends_no_training() -> None:
    """It says that all is right from the first round on; the target would not hold without its voice."""
    perfect = np.array([RIGHT.unit, 0, 0, LOSS.unit], CLAIM)
    world, honest = World(rounds=3, accuracy=0.85), World(rounds=3, accuracy=0.85).run().settle()
    world.members[LIAR].tamper = claim(RoundKind.TRAINING, perfect)
    world.run().settle()
    assert world.status == StudyStatus.FINISHED and world.life.rounds_done >= honest.life.rounds_done
    first, untouched = (w.reports[1].metrics for w in (world, honest))
    assert first is not None and untouched is not None and first.voices == untouched.voices == 4
    assert 0 <= first.right - untouched.right <= RIGHT.unit, "one voice"


def test_a_hopeless_claim_keeps_no_training_going() -> None:
    """It says that nothing is right and never wishes to stop: three others see for themselves that training is done."""
    hopeless = np.array([0, RIGHT.unit, LOSS.unit, 0], CLAIM)
    world = World(rounds=50, accuracy=0.9)
    world.members[LIAR].tamper = claim(RoundKind.TRAINING, hopeless)
    world.run().settle()
    assert world.status == StudyStatus.FINISHED and 1 < world.life.rounds_done < 10
    assert world.life.training_end == TrainingEnd.WISHES and world.life.reason == TrainingEnd.WISHES.reason


def test_training_ends_when_a_quorum_sees_no_progress_whatever_a_liar_claims() -> None:
    """Nobody learns anything; the liar claims a lower loss in every round."""
    world = World(rounds=60, patience=2)
    lower = iter(range(LOSS.unit, 0, -1000))

    def idle(member: Member, effect: ev.Effect) -> list[ev.Effect]:
        job = effect.job if isinstance(effect, Compute) else None
        if not isinstance(effect, Compute) or not isinstance(job, MakeInput) or job.delta is None:
            return [effect]
        job = replace(job, delta=bytes(memoryview(job.delta).nbytes))
        if member.number == LIAR:
            loss = next(lower)
            job = replace(job, claim_bytes=np.array([0, RIGHT.unit, loss, LOSS.unit - loss], CLAIM).tobytes())
        return [replace(effect, job=job)]

    for member in world.members.values():
        member.tamper = idle
    world.run().settle()
    assert world.status == StudyStatus.FINISHED and world.life.rounds_done in (3, 4)
    assert world.life.training_end == TrainingEnd.WISHES


def test_dominating_statistics_leave_the_scaling_within_one_voice() -> None:
    """The largest mean there is and no variance, in every column."""
    unit = MOMENTS.unit
    world, honest = World(rounds=1), World(rounds=1).run().settle()
    world.members[LIAR].tamper = claim(RoundKind.STATISTICS, np.array([unit, 0, 0] * 7, CLAIM))
    world.run().settle()
    assert world.status == StudyStatus.FINISHED
    assert world.reports[0].counted == honest.reports[0].counted == (1, 2, 3, 4)
    lied, right = (read_model(w.members[1].disk.models[Hash(w.life.model_hash)]).scaling for w in (world, honest))
    for column in range(7):
        assert 0 <= lied.mean_q24[column] - right.mean_q24[column] <= UNIT // 4
        assert lied.deviation_q24[column] ** 2 >= right.deviation_q24[column] ** 2 // 2
