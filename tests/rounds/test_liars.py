"""One member that lies, within what the ledger lets through: the sum may be spoilt, nothing more is ever opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fednode.effects import Asked, Compute
from fednode.ids import MemberId
from fednode.ledger.studies.bodies import Outcome, Result, StudyAction, StudyVote
from fednode.ledger.studies.records import StudyStatus
from fednode.ledger.sums.recheck import SPOILED
from fednode.rounds import events as ev
from fednode.smpc import jobs as sum_jobs
from fednode.smpc import messages as sm
from fednode.sums import bodies
from fednode.sums.bounds import MASKS_WRONG
from tests.rounds.world import Member, World, check_all

LIAR = 3
HONEST = (1, 2, 4)


def spoil_sums(rounds: range) -> Callable[[Member, ev.Effect], list[ev.Effect]]:
    """An owner that adds 2^31 to one element of its chunk, and stands by it: digest and data agree."""

    def tamper(member: Member, effect: ev.Effect) -> list[ev.Effect]:
        if not isinstance(effect, Asked) or effect.by.round not in rounds:
            return [effect]
        inner = effect.effect
        if not isinstance(inner, Compute) or not isinstance(inner.job, sum_jobs.SumChunks):
            return [effect]
        chunks = []
        for number, parts in inner.job.chunks:
            first = np.frombuffer(parts[0], "<u4").copy()
            first += np.uint32(1 << 31)
            chunks.append((number, (first.tobytes(), *parts[1:])))
        return [Asked(effect.by, Compute(inner.number, sum_jobs.SumChunks(tuple(chunks))))]

    return tamper


def change_results(change: Callable[[Result], Result]) -> Callable[[Member, ev.Effect], list[ev.Effect]]:
    def tamper(member: Member, effect: ev.Effect) -> list[ev.Effect]:
        if isinstance(effect, ev.Submit) and isinstance(effect.body, Result):
            return [ev.Submit(change(effect.body))]
        return [effect]

    return tamper


def test_spoilt_sum_fails_the_round() -> None:
    """It is seen before anything opens."""
    world = World(rounds=3)
    world.members[LIAR].tamper = spoil_sums(range(1, 2))
    world.run(lambda w: len(w.reports) == 2)
    report = world.reports[1]
    assert report.outcome == Outcome.OK and report.counted == HONEST and report.faulty == (LIAR,)
    assert [(void.reason, void.dropped) for void in report.voids] == [(SPOILED, (LIAR,))]
    world.run().settle()
    assert all(r.outcome == Outcome.OK and r.counted == HONEST for r in world.reports[2:])
    assert world.life.pin is None and world.life.rounds_done == 3
    check_all(world)


@pytest.mark.slow
def test_a_member_named_faulty_waits_until_people_readmit_it() -> None:
    world = World(rounds=5)
    world.members[LIAR].tamper = spoil_sums(range(1, 2))
    world.run(lambda w: len(w.reports) == 3)
    assert world.life.faulty_members == (LIAR,) and world.reports[2].counted == HONEST
    assert not world.reports[2].absent and not any(span.is_expired for span in world.reports[2].phases)
    for member in HONEST:
        world.post(member, StudyVote(world.study, StudyAction.READMIT))
    world.run().settle()
    assert world.status == StudyStatus.FINISHED and world.reports[-1].counted == (1, 2, 3, 4)
    assert world.life.kept_out is None
    check_all(world)


@pytest.mark.slow
def test_pinned_statistics_go_on_without_a_liar_and_with_it_again_when_it_is_readmitted() -> None:
    """Three unmaskings of vectors that never change: all of them over the same honest members."""
    world = World(rounds=1)
    spoil, disagree = spoil_sums(range(1, 2)), change_results(lambda r: replace(r, model_hash=bytes(32)))

    def tamper(member: Member, effect: ev.Effect) -> list[ev.Effect]:
        return spoil(member, effect) if world.reports else disagree(member, effect)

    world.members[LIAR].tamper, world.members[4].tamper = tamper, disagree
    world.run(lambda w: len(w.reports) == 1)
    assert world.reports[0].reason == "no agreement on the result" and world.life.pin == (1, 2, 3, 4)
    world.run(lambda w: len(w.reports) == 2)
    assert world.reports[1].faulty == (LIAR,) and world.reports[1].is_unmasked and not world.life.has_statistics_sum
    world.members[4].tamper = None
    assert world.life.pin == (1, 2, 3, 4) and world.round is not None and world.round.pinned == HONEST
    for member in HONEST:
        world.post(member, StudyVote(world.study, StudyAction.READMIT))
    world.run(lambda w: w.life.kept_out is None)
    assert world.round is not None and world.round.pinned == HONEST, "from the next round on"
    world.stop(4, 30_000)  # the round without the liar comes to nothing, and the next is over the whole set again
    world.run(lambda w: w.status == StudyStatus.PAUSED)
    assert "missing: 4" in world.life.reason
    world.run(lambda w: {LIAR, 4} <= set(w.life.ready_members))
    for member in HONEST:
        world.post(member, StudyVote(world.study, StudyAction.RESUME))
    world.run().settle()
    sets = [included for number, _, included in world.opened if number <= 3]
    assert sets == [(1, 2, 3, 4), HONEST, (1, 2, 3, 4)]
    assert all(set(HONEST) == set(included) - {LIAR} for included in sets)
    assert world.status == StudyStatus.FINISHED
    check_all(world)


def test_wrong_vote_on_the_result_is_outvoted() -> None:
    world = World(rounds=2)
    world.members[LIAR].tamper = change_results(lambda r: replace(r, model_hash=bytes(32)))
    world.run()
    assert all(report.outcome == Outcome.OK for report in world.reports)
    assert len({world.model_of(member) for member in HONEST}) == 1


def test_liar_that_votes_failure_is_outvoted() -> None:
    world = World(rounds=2)
    world.members[LIAR].tamper = change_results(
        lambda r: replace(r, outcome=Outcome.FAILED, reason="no", model_hash=bytes(32), weight=0, metrics=None)
    )
    world.run()
    assert all(report.outcome == Outcome.OK for report in world.reports)


@pytest.mark.slow
@pytest.mark.parametrize("victim", HONEST)
def test_chunks_kept_from_one_member_do_not_stop_the_round(victim: int) -> None:
    def tamper(member: Member, effect: ev.Effect) -> list[ev.Effect]:
        if isinstance(effect, Asked) and isinstance(effect.effect, sm.SendChunk) and effect.effect.to == victim:
            return []
        return [effect]

    world = World(rounds=2)
    world.members[LIAR].tamper = tamper
    world.run().settle()
    assert world.status == StudyStatus.FINISHED
    assert all(report.outcome == Outcome.OK for report in world.reports), [r.reason for r in world.reports]
    assert all(set(HONEST) <= set(report.counted) for report in world.reports), "an honest member was left out"
    check_all(world)


def test_forged_chunks_are_dropped() -> None:
    def tamper(member: Member, effect: ev.Effect) -> list[ev.Effect]:
        if isinstance(effect, Asked) and isinstance(effect.effect, sm.SendChunk):
            forged = memoryview(bytes(len(effect.effect.data)))
            return [Asked(effect.by, replace(effect.effect, data=forged))]
        return [effect]

    world = World(rounds=2)
    world.members[LIAR].tamper = tamper
    world.run().settle()
    assert world.status == StudyStatus.FINISHED
    assert any("not what the ledger says" in note for m in HONEST for note in world.members[m].notes)
    check_all(world)


def test_garbage_in_place_of_sealed_shares_only_hurts_the_liar() -> None:
    def tamper(member: Member, effect: ev.Effect) -> list[ev.Effect]:
        if isinstance(effect, ev.Submit) and isinstance(effect.body, bodies.Keys):
            sealed = tuple((holder, b"\xff" * len(box)) for holder, box in effect.body.sealed)
            return [ev.Submit(replace(effect.body, sealed=sealed))]
        return [effect]

    world = World(rounds=1)
    world.members[LIAR].tamper = tamper
    world.run().settle()
    assert world.status == StudyStatus.FINISHED
    assert all(report.outcome == Outcome.OK for report in world.reports)
    assert all(LIAR in report.barred and LIAR not in report.counted for report in world.reports)


@pytest.mark.slow
def test_liar_with_a_vector_out_of_all_bounds_fails_its_rounds_and_nothing_else() -> None:
    """A member that sums in huge numbers: the round ends without result, the model stays, nobody crashes.

    It must also have proven something short: the open sum is not that of the sketches.
    """

    def tamper(member: Member, effect: ev.Effect) -> list[ev.Effect]:
        if isinstance(effect, Asked) and isinstance(effect.effect, Compute):
            job = effect.effect.job
            if isinstance(job, sum_jobs.MaskInput):
                huge = np.full_like(job.values, 0x7FFFFFFF)
                return [Asked(effect.by, replace(effect.effect, job=replace(job, values=huge)))]
        return [effect]

    world = World(rounds=2)
    world.run(lambda w: w.round is not None and w.round.number == 1)
    world.members[LIAR].tamper = tamper
    world.run(lambda w: w.status == StudyStatus.PAUSED)
    assert f"2 rounds failed because {MASKS_WRONG}" in world.life.reason
    assert world.life.model_hash == world.reports[0].model_hash
    assert all(member.machine is not None for member in world.members.values())
    assert [MemberId(m) for m in (1, 2, 3, 4)] == list(world.life.pin or ())
