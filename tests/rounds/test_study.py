"""Whole studies: statistics, training, closing, with members that are late, lost, unfit, or that change their mind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fednode.effects import Compute, ComputeDone
from fednode.ids import Hash, MemberId
from fednode.learn import jobs as work
from fednode.learn.tables.verdicts import Verdict
from fednode.ledger.studies.bodies import Expire, Outcome, Result, StudyAction, StudyBegin, StudyPause, StudyVote
from fednode.ledger.studies.records import StudyStatus
from fednode.ledger.sums.records import RoundKind
from fednode.rounds import events as ev
from fednode.rounds import jobs as round_jobs
from fednode.rounds.events import DataChanged
from fednode.sums import bodies
from fednode.sums.phase import Phase
from tests.rounds.training import points, strange_table
from tests.rounds.world import Absence, Member, World, check_all, check_models, check_sums, failed

ALL = (1, 2, 3, 4)


def vote(world: World, action: StudyAction, *members: int) -> None:
    for member in members:
        world.post(member, StudyVote(world.study, action))


def test_statistics_training_closing_end_with_one_model() -> None:
    world = World(rounds=3).run().settle()
    kinds = [RoundKind(report.kind) for report in world.reports]
    assert kinds == [RoundKind.STATISTICS, *[RoundKind.TRAINING] * 3, RoundKind.CLOSING]
    assert all(report.outcome == Outcome.OK and report.counted == ALL for report in world.reports)
    assert len({world.model_of(member) for member in ALL}) == 1
    losses = [report.metrics.loss for report in world.reports if report.metrics]
    assert losses == sorted(losses, reverse=True), "each round's model is better than the one before"
    assert world.life.model_hash == world.reports[3].model_hash == world.reports[4].model_hash
    check_all(world)
    assert all(isinstance(body, Result) for _, body, _ in world.refused), "a quorum of results may be faster"
    assert all(not member.disk.records for member in world.members.values()), "secrets of closed rounds remain"
    assert all(not member.problems for member in world.members.values())


@pytest.mark.slow
def test_target_accuracy_ends_training_early() -> None:
    world = World(rounds=50, accuracy=0.9).run()
    assert world.status == StudyStatus.FINISHED
    assert 1 < world.life.rounds_done < 10
    assert world.reports[-1].kind == RoundKind.CLOSING


TROUBLED = (Phase.ANSWER, Phase.RECHECK, Phase.REDEAL, Phase.CONFIRM, Phase.EXPOSE, Phase.REVEAL2)
TROUBLE_FREE_PHASES = [p for p in Phase if p not in (Phase.JOIN, *TROUBLED)]
"""The phases that honest members go through when nobody is missing."""


@pytest.mark.slow
@pytest.mark.parametrize("phase", TROUBLE_FREE_PHASES)
@pytest.mark.parametrize(
    "round_number", [1, pytest.param(0, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
def test_one_member_gone_for_good(phase: Phase, round_number: int) -> None:
    world = World(rounds=1, seed=int(phase), absences=(Absence(3, phase, round_number),)).run().settle()
    assert world.status == StudyStatus.FINISHED
    report = world.reports[round_number]
    assert report.outcome == Outcome.OK, report.reason
    assert {MemberId(1), MemberId(2), MemberId(4)} <= set(report.counted)
    assert len({world.model_of(member) for member in (1, 2, 4)}) == 1
    check_sums(world)
    later = world.reports[round_number + 1 :]
    assert all(3 not in report.counted for report in later)
    assert all(report.outcome == Outcome.OK for report in later)


@pytest.mark.slow
@pytest.mark.parametrize("phase", TROUBLE_FREE_PHASES)
def test_one_member_gone_for_a_while_is_counted_again(phase: Phase) -> None:
    """Gone for longer than any phase: absent in this round, ready again, counted in a later one."""
    world = World(rounds=100, seed=int(phase), absences=(Absence(2, phase, 1, down_ms=6_000),))
    world.run(lambda w: len(w.reports) > 2 and 2 in w.reports[-1].counted).settle()
    assert all(report.outcome == Outcome.OK for report in world.reports), [r.reason for r in world.reports]
    assert 2 not in world.reports[2].counted
    assert len({world.model_of(member) for member in ALL}) == 1
    check_sums(world)


@pytest.mark.slow
@pytest.mark.parametrize("phase", [p for p in TROUBLE_FREE_PHASES if p is not Phase.ACK])
def test_short_absence_costs_nothing(phase: Phase) -> None:
    world = World(rounds=1, absences=(Absence(4, phase, 1, down_ms=150),)).run().settle()
    assert [report.counted for report in world.reports] == [ALL] * 3
    assert not any(report.absent for report in world.reports)
    check_all(world)


def test_everybody_down_at_once() -> None:
    absences = tuple(Absence(member, Phase.ROSTER, 1, down_ms=200 + 30 * member) for member in ALL)
    world = World(rounds=2, absences=absences).run().settle()
    assert world.status == StudyStatus.FINISHED
    assert all(report.outcome == Outcome.OK and report.counted == ALL for report in world.reports)
    check_all(world)


def test_two_of_four_down_stops_the_clock_and_one_back_starts_it() -> None:
    absences = (Absence(1, Phase.COMMIT, 1), Absence(2, Phase.COMMIT, 1, down_ms=30_000))
    world = World(rounds=1, absences=absences)
    world.run(lambda w: not w.members[1].is_up and not w.members[2].is_up)
    height = world.at.height
    world.settle(20_000)
    assert world.at.height <= height + 1  # what was in the pool when they went
    world.run().settle()
    assert all(report.outcome == Outcome.OK for report in world.reports)
    assert len({world.model_of(member) for member in (2, 3, 4)}) == 1
    check_sums(world)


# --- who takes part ---------------------------------------------------------------------------------------------

def test_member_whose_data_do_not_fit_is_left_out_and_says_why() -> None:
    world = World(rounds=1, tables={2: strange_table()}).begin_without(2).run().settle()
    assert world.status == StudyStatus.FINISHED
    assert [report.expected for report in world.reports] == [(1, 3, 4)] * 3
    machine = world.members[2].machine
    assert machine.problem.startswith("the data do not fit the study: column 'x': not in the header")
    assert all(isinstance(body, Expire) for body in world.members[2].submitted)
    assert all(report.not_ready == (2,) for report in world.reports)
    world.model_of(2)  # it takes no part, but ends with the model as well


def test_member_without_data_only_follows() -> None:
    world = World(rounds=1, tables={4: None}).begin_without(4).run().settle()
    assert [report.expected for report in world.reports] == [(1, 2, 3)] * 3
    machine = world.members[4].machine
    assert machine is not None and machine.data is None and machine.problem is None
    world.model_of(4)


@pytest.mark.parametrize("strange", [(2,), (2, 3)])
def test_members_whose_data_do_not_fit_keep_the_study_waiting(strange: tuple[int, ...]) -> None:
    world = World(rounds=1, tables={member: strange_table() for member in strange})
    world.settle(600_000)
    assert world.status == StudyStatus.WAITING and world.round is None
    assert not world.reports
    assert not any(isinstance(body, Expire | StudyBegin) for m in world.members.values() for body in m.submitted)


def test_a_hospital_that_comes_late_is_waited_for() -> None:
    world = World(rounds=1, asleep=(3,))
    world.settle(600_000)
    assert not world.reports
    world.start(3)
    world.run().settle()
    assert all(report.counted == ALL and report.not_ready == () for report in world.reports)


def test_latecomer_joins_at_a_later_round_with_the_model() -> None:
    world = World(rounds=6, asleep=(3,)).begin_without(3)
    world.run(lambda w: w.life.rounds_done == 2)
    assert all(report.counted == (1, 2, 4) for report in world.reports)
    world.start(3)
    world.run().settle()
    assert any(report.counted == ALL for report in world.reports[3:])
    assert len({world.model_of(member) for member in ALL}) == 1
    check_sums(world)


# --- worker -----------------------------------------------------------------------------------------------------

def test_member_that_concludes_last_keeps_its_own_model_instead_of_fetching_it() -> None:
    world = World(rounds=1)
    slow, asked = world.members[4], []

    def late(member: Member, effect: ev.Effect) -> list[ev.Effect]:
        if isinstance(effect, ev.NeedModel):
            asked.append((world.now_ms, effect.hash, effect.hash in member.disk.models))
        if isinstance(effect, Compute) and isinstance(effect.job, round_jobs.Conclude):
            world.deliver(member, ComputeDone(effect.number, effect.job.run()), 400)
            return []
        return [effect]

    slow.tamper = late
    world.run().settle()
    check_models(world)
    assert asked and all(is_here for _, _, is_here in asked), "a model it was about to have was fetched"
    assert [report.outcome for report in world.reports] == [Outcome.OK] * 3


def test_model_that_is_not_what_the_others_have_is_fetched() -> None:
    world = World(rounds=1)
    odd = world.members[4]

    def spoil(member: Member, effect: ev.Effect) -> list[ev.Effect]:
        if isinstance(effect, Compute) and isinstance(effect.job, round_jobs.Conclude):
            job = replace(effect.job, study=b"x" * 32)
            world.deliver(member, ComputeDone(effect.number, job.run()), 400)
            return []
        return [effect]

    odd.tamper = spoil
    world.run().settle()
    check_models(world)
    wanted = world.model_of(1)
    assert set(odd.disk.models) <= {wanted, *world.members[1].disk.models}


def test_worker_that_fails_once_costs_one_round() -> None:
    world = World(rounds=5)
    worker = world.members[1].worker
    assert worker is not None
    world.run(lambda w: w.round is not None and w.round.number == 1)
    worker.failures.append(failed())
    world.run().settle()
    first = world.reports[1]
    assert first.outcome == Outcome.OK and first.counted == (2, 3, 4)
    assert any(1 in report.counted for report in world.reports[2:])
    machine = world.members[1].machine
    assert machine is not None and machine.problem is None, "a problem that is over is still shown"
    assert any("the worker failed: out of memory" in text for text in world.members[1].problems)
    check_models(world)


@pytest.mark.slow
def test_worker_that_always_fails_stops_costing_the_others_time() -> None:
    world = World(rounds=12)
    worker = world.members[1].worker
    assert worker is not None
    world.run(lambda w: w.round is not None and w.round.number == 1)
    worker.failures = [failed() for _ in range(50)]
    world.run().settle()
    assert world.status == StudyStatus.FINISHED
    assert sum(1 in report.expected for report in world.reports[1:]) <= 3
    machine = world.members[1].machine
    assert machine is not None and machine.problem is not None and "out of memory" in machine.problem
    check_models(world)


def test_update_that_is_no_number_costs_its_sender_alone() -> None:
    world = World(rounds=4)
    sick = world.members[4]
    honest = sick.worker.answer if sick.worker is not None else None
    assert sick.worker is not None and honest is not None

    def answer(job: work.Job) -> work.Answer:
        found = honest(job)
        if isinstance(found, work.Trained):
            return replace(found, delta=np.full(len(found.delta) // 4, np.nan, "<f4").tobytes())
        return found

    sick.worker.answer = answer  # type: ignore[method-assign]
    world.run().settle()
    assert [report.counted for report in world.reports] == [ALL, (1, 2, 3), (1, 2, 3), (1, 2, 3), (1, 2, 3), (1, 2, 3)]
    assert sum("not finite" in text for text in sick.problems) == 3, "it no longer announces itself after that"
    assert sick.is_up
    check_models(world)


def test_data_check_that_failed_is_tried_again() -> None:
    world = World(rounds=1)
    worker = world.members[3].worker
    assert worker is not None
    worker.check_failures = [failed("the training process ended by signal 9")]
    world.run().settle()
    assert world.members[3].problems == ["the data could not be checked: the training process ended by signal 9"]
    assert any(3 in report.counted for report in world.reports)


@pytest.mark.slow
def test_worker_that_hangs_costs_one_deadline_not_one_in_every_round() -> None:
    world = World(rounds=8)
    worker = world.members[1].worker
    assert worker is not None
    world.run(lambda w: w.round is not None and w.round.number == 1)
    worker.delay_ms = 20_000
    world.run().settle(30_000)
    assert sum(1 in report.expected for report in world.reports[2:]) <= 1
    assert sum(any(span.is_expired for span in report.phases) for report in world.reports) == 1
    machine = world.members[1].machine
    assert machine is not None and machine.problem is not None
    assert "took longer than the round waited; raise train_timeout_s" in machine.problem
    check_models(world)


@pytest.mark.slow
def test_damaged_round_record_means_silence_for_that_round_only() -> None:
    world = World(rounds=6)
    world.run(lambda w: w.round is not None and w.round.number == 2 and w.round.phase.kind == Phase.COMMIT)
    world.stop(2)
    world.members[2].disk.records[2, "damaged"] = b""
    world.start(2)
    world.run().settle()
    assert any("damaged" in text for text in world.members[2].problems)
    assert all(report.outcome == Outcome.OK for report in world.reports)
    assert any(2 in report.counted for report in world.reports[3:])
    check_all(world)


@pytest.mark.slow
def test_member_that_lost_its_record_never_masks_again_under_the_same_keys() -> None:
    world = World(rounds=6)
    world.run(lambda w: w.round is not None and w.round.number == 2 and w.round.phase.kind == Phase.COMMIT)
    world.stop(2)
    world.members[2].disk.records.clear()
    world.start(2)
    world.run(lambda w: len(w.reports) > 2)
    later = [body for body in world.members[2].submitted if isinstance(body, bodies.Commit) and body.round == 2]
    assert len({body.root for body in later}) <= 1
    world.run().settle()
    assert all(report.outcome == Outcome.OK for report in world.reports)
    assert any(2 in report.counted for report in world.reports[3:])


# --- people -----------------------------------------------------------------------------------------------------

def test_pause_takes_effect_after_the_round_and_resume_needs_a_quorum() -> None:
    world = World(rounds=3)
    world.run(lambda w: w.round is not None and w.round.number == 1)
    world.post(2, StudyPause(world.study, "audit"))
    world.run(lambda w: w.status == StudyStatus.PAUSING)
    world.run(lambda w: w.status == StudyStatus.PAUSED)
    assert world.reports[-1].number == 1 and world.reports[-1].outcome == Outcome.OK
    assert world.life.reason == "paused by member 2: audit"
    vote(world, StudyAction.RESUME, 1, 2)
    world.settle(20_000)
    assert world.status == StudyStatus.PAUSED
    vote(world, StudyAction.RESUME, 3)
    world.run().settle()
    assert world.status == StudyStatus.FINISHED and world.life.rounds_done == 3
    assert all(report.counted == ALL for report in world.reports)


def test_stop_ends_the_study_at_the_end_of_the_round() -> None:
    world = World(rounds=50)
    world.run(lambda w: w.round is not None and w.round.number == 2)
    vote(world, StudyAction.STOP, 1, 2, 3)
    world.run().settle()
    assert world.status == StudyStatus.STOPPED
    assert [report.number for report in world.reports] == [0, 1, 2]
    assert all(not member.disk.records for member in world.members.values())
    assert len({world.model_of(member) for member in ALL}) == 1


@pytest.mark.slow
def test_member_that_returns_during_a_pause_is_counted_after_it() -> None:
    world = World(rounds=4, absences=(Absence(4, Phase.COMMIT, 1),))
    world.run(lambda w: w.life.rounds_done == 1)
    world.post(1, StudyPause(world.study, ""))
    world.run(lambda w: w.status == StudyStatus.PAUSED)
    paused_after = world.reports[-1].number
    world.start(4)
    world.run(lambda w: 4 in w.life.ready_members)
    assert world.status == StudyStatus.PAUSED
    vote(world, StudyAction.RESUME, 1, 2, 4)
    world.run().settle()
    assert world.reports[paused_after + 1].counted == ALL
    assert len({Hash(world.model_of(member)) for member in ALL}) == 1


@pytest.mark.slow
def test_members_of_larger_federations() -> None:
    absences = (Absence(2, Phase.COMMIT, 1), Absence(5, Phase.SUMACK, 1))
    world = World(count=7, rounds=2, absences=absences, tables={7: points(9, 60)}).run().settle()
    assert world.status == StudyStatus.FINISHED
    assert all(report.outcome == Outcome.OK for report in world.reports)
    check_all(world)


def test_a_mended_table_is_checked_again_and_used() -> None:
    world = World(rounds=2)
    member = world.members[3]
    honest = member.worker.answer
    is_mended = False

    def answer(job: work.Job) -> work.Answer:
        if isinstance(job, work.CheckData) and not is_mended:
            return work.DataChecked((Verdict("age", "error", "the column is missing"),), 0, 0)
        return honest(job)

    member.worker.answer = answer  # type: ignore[method-assign]
    world.run(lambda _: bool(member.problems))
    machine = member.machine
    assert machine is not None and machine.problem is not None and "the column is missing" in machine.problem
    is_mended = True
    world.perform(member, machine.handle(DataChanged(machine.data)))
    world.run().settle()
    assert machine.problem is None
    assert any(3 in report.counted for report in world.reports)
