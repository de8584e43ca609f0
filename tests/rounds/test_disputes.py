"""A member that deals one honest holder no share, or another one, and keeps its opening back: in real machines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from fednode.effects import Asked, Job
from fednode.ledger import bodies as tx
from fednode.ledger.studies.bodies import Outcome
from fednode.ledger.studies.records import RoundReport, StudyStatus
from fednode.ledger.sums.disputes import DEALT_WRONG, NOT_CONFIRMED, NOT_REDEALT
from fednode.rounds import events as ev
from fednode.smpc import jobs as sum_jobs
from fednode.smpc import messages as sm
from fednode.smpc.proving import ProveUpdate
from fednode.sums import bodies
from fednode.sums.bodies import Confirm, Expose, Proof, Redeal
from fednode.sums.bounds import FEW
from fednode.sums.phase import Phase
from tests.rounds import world as worlds
from tests.rounds.world import Member, Tamper, World, check_all, check_models, values_of
from tests.smpc.sim import dealers

pytestmark = pytest.mark.slow

ALL, HONEST = (1, 2, 3, 4), (1, 2, 4)
LIAR, VICTIM = 3, 2
ROUND = 1
"""The first in which something is trained."""

Change = Callable[[tx.Body], tx.Body | None]


def keep_box(member: Member, effect: ev.Effect) -> list[ev.Effect]:
    """The victim's box is never sent."""
    inner = effect.effect if isinstance(effect, Asked) and effect.by.round == ROUND else None
    is_box = isinstance(inner, sm.SendChunk) and inner.ref.lane == sm.Lane.SHARES and inner.to == VICTIM
    return [] if is_box else [effect]


def post_other(change: Change) -> Tamper:
    """Post something else, or nothing, in the round."""

    def tamper(member: Member, effect: ev.Effect) -> list[ev.Effect]:
        if not isinstance(effect, ev.Submit) or getattr(effect.body, "round", None) != ROUND:
            return [effect]
        body = change(effect.body)
        return [] if body is None else [ev.Submit(body)]

    return tamper


def both(first: Tamper, second: Tamper) -> Tamper:
    return lambda member, effect: [last for kept in first(member, effect) for last in second(member, kept)]


def withhold(*forms: type) -> Tamper:
    """Messages of these kinds are not posted; of openings only the share of the summed sketch."""

    def change(body: tx.Body) -> tx.Body | None:
        if isinstance(body, bodies.Reveal) and bodies.Reveal in forms:
            return replace(body, opening=None)
        return None if isinstance(body, forms) else body

    return post_other(change)


def deal_off(job: Job[sum_jobs.Result]) -> sum_jobs.Result:
    """The victim's box holds elements, but others than its share; what is dealt again is right."""
    if isinstance(job, ProveUpdate):
        return dealers.deal_as(job, boxes=dealers.spoil_boxes({VICTIM}, is_opening=True))
    return job.run()


def play(tamper: Tamper, how: str = "kept", rounds: int = 2) -> World:
    world = World(rounds=rounds)
    liar = world.members[LIAR]
    liar.tamper = both(keep_box, tamper) if how == "kept" else tamper
    if how == "off":
        liar.run_sum_job = deal_off
    world.run().settle()
    assert world.status == StudyStatus.FINISHED
    check_all(world)
    assert all(not world.members[member].problems for member in HONEST)
    return world


def phases_of(report: RoundReport) -> list[Phase]:
    phases = [Phase(span.phase) for span in report.phases]
    return [phase for phase in phases if phase in (Phase.REDEAL, Phase.CONFIRM, Phase.EXPOSE)]


def undisturbed() -> World:
    world = World(rounds=2).run().settle()
    assert [report.counted for report in world.reports] == [ALL] * 4
    return world


@pytest.mark.parametrize("how", ["kept", "off"])
def test_a_withheld_opening_no_longer_fails_the_round(how: str) -> None:
    """The sum is that of all four, the model what it would have been."""
    world = play(withhold(bodies.Reveal), how)
    report = world.reports[ROUND]
    assert (report.outcome, report.counted, report.faulty, report.voids) == (Outcome.OK, ALL, (), ())
    assert phases_of(report) == [Phase.REDEAL, Phase.CONFIRM]
    expected = undisturbed()
    assert report.sum_digest == expected.reports[ROUND].sum_digest
    assert (values_of(world, VICTIM) == values_of(expected, VICTIM)).all()


def test_two_liars_of_seven_deal_different_members_wrong_and_keep_their_openings_back() -> None:
    """Before, this alone voided every attempt."""

    def keep_two(member: Member, effect: ev.Effect) -> list[ev.Effect]:
        inner = effect.effect if isinstance(effect, Asked) and effect.by.round == ROUND else None
        victims = {6: (1, 2), 7: (3, 4)}[int(member.number)]
        is_box = isinstance(inner, sm.SendChunk) and inner.ref.lane == sm.Lane.SHARES and inner.to in victims
        return [] if is_box else [effect]

    world = World(7, rounds=1)
    for liar in (6, 7):
        world.members[liar].tamper = both(keep_two, withhold(bodies.Reveal))
    world.run().settle()
    report = world.reports[ROUND]
    assert (report.outcome, report.counted, report.voids) == (Outcome.OK, tuple(range(1, 8)), ())
    assert phases_of(report) == [Phase.REDEAL, Phase.CONFIRM]
    check_all(world)


def test_without_a_dispute_nothing_is_dealt_again() -> None:
    assert not any(phases_of(report) for report in undisturbed().reports)


def test_who_does_not_deal_again_is_out_of_the_next_attempt() -> None:
    report = play(withhold(Redeal, bodies.Reveal)).reports[ROUND]
    assert report.outcome == Outcome.OK and report.counted == HONEST and report.faulty == ()
    assert [(void.reason, void.dropped) for void in report.voids] == [(NOT_REDEALT, (LIAR,))]


@pytest.mark.parametrize("is_readable", [True, False])
def test_who_deals_wrongly_twice_is_named(is_readable: bool) -> None:
    def spoil(body: tx.Body) -> tx.Body:
        if not isinstance(body, Redeal):
            return body
        if is_readable:  # lowest byte of an element in the middle
            return replace(body, box=body.box[:800] + bytes([body.box[800] ^ 1]) + body.box[801:])
        return replace(body, box=bytes(len(body.box)))

    world = play(post_other(spoil))
    report = world.reports[ROUND]
    assert report.outcome == Outcome.OK and report.counted == HONEST and report.faulty == (LIAR,)
    assert [(void.reason, void.dropped) for void in report.voids] == [(DEALT_WRONG, (LIAR,))]
    assert phases_of(report)[:3] == [Phase.REDEAL, Phase.CONFIRM, Phase.EXPOSE]
    assert world.life.faulty_members == (LIAR,)


def test_who_confirms_nothing_of_its_own_dealing_is_out() -> None:
    def spoil(body: tx.Body) -> tx.Body:
        return replace(body, data=b"\xff" * len(body.data)) if isinstance(body, Confirm) else body

    report = play(post_other(spoil)).reports[ROUND]
    assert report.outcome == Outcome.OK and report.counted == HONEST and report.faulty == ()
    assert [(void.reason, void.dropped) for void in report.voids] == [(NOT_CONFIRMED, (LIAR,))]


def test_who_disputes_what_was_dealt_rightly_delays_and_harms_nobody() -> None:
    """It says that it has no share of 1, and that what it is dealt again is off; it cannot show that it is."""

    def lie(body: tx.Body) -> tx.Body:
        if isinstance(body, Proof):
            return replace(body, data=b"\xff" * FEW.answer_bytes + body.data[FEW.answer_bytes:])
        return replace(body, data=b"\xff" * len(body.data)) if isinstance(body, Confirm) else body

    world = play(both(post_other(lie), withhold(bodies.Reveal)), how="nothing")
    report = world.reports[ROUND]
    assert (report.outcome, report.counted, report.faulty, report.voids) == (Outcome.OK, ALL, (), ())
    assert phases_of(report) == [Phase.REDEAL, Phase.CONFIRM, Phase.EXPOSE]
    refused = [(sender, reason) for sender, body, reason in world.refused if isinstance(body, Expose)]
    assert set(refused) == {(LIAR, "wrong-accusation")}


def test_members_that_crash_in_a_dispute_come_back_and_say_the_same() -> None:
    """The dealer after it dealt again, the holder before it confirms: what is on their disks is enough."""
    for phase in (Phase.REDEAL, Phase.CONFIRM):
        absences = tuple(worlds.Absence(member, phase, ROUND, down_ms=150) for member in (LIAR, VICTIM))
        world = World(rounds=1, absences=absences)
        world.members[LIAR].tamper = keep_box
        world.run().settle()
        report = world.reports[ROUND]
        assert (report.outcome, report.counted, report.faulty, report.voids) == (Outcome.OK, ALL, (), ()), phase
        assert phases_of(report) == [Phase.REDEAL, Phase.CONFIRM]
        check_models(world)
