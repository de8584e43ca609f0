"""After the one Unmask: openings, results, and the set that a failed round leaves pinned."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fednode.crypto import scalar_bytes
from fednode.ledger.refusals import Refusal
from fednode.ledger.studies.bodies import Outcome, StudyAction, StudyVote
from fednode.ledger.studies.records import StudyStatus
from fednode.ledger.sums.phases import pending_phase
from fednode.ledger.sums.records import RoundKind
from fednode.sums import bodies
from fednode.sums.phase import Phase
from tests.ledger.sum_world import World, at
from tests.ledger.world import TERMS, Dealing
from tests.support.seeds import seed_of


def at_phase(phase: Phase, *absent: int, **parts: object) -> World:
    return at(phase, absent=absent, **{"terms": replace(TERMS, rounds=9), **parts})


def without_dealer_4(phase: Phase = Phase.REVEAL) -> World:
    """Member 4 is in Q, but its chunk reached nobody: U = (1, 2, 3)."""
    return at_phase(phase, kept_chunks={(4, 1), (4, 2), (4, 3)})


def seven_without_7(*silent: int) -> World:
    """Of seven members 7 is in Q and not in U; in REVEAL the `silent` ones said nothing."""
    world = at_phase(Phase.REVEAL, size=7, kept_chunks={(7, owner) for owner in (1, 2, 3)})
    assert world.round.attempt.included == (1, 2, 3, 4, 5, 6)
    world.go_without(*silent)
    assert world.phase.kind == Phase.REVEAL2 and world.round.attempt.silent_b == silent
    return world


def share(world: World, which: str, dealer: int, holder: int) -> bytes:
    return Dealing.share(getattr(world.dealing(dealer), which), holder)


# --- what may be opened ------------------------------------------------------------------------------------------

def test_a_member_of_u_opens_its_own_b_and_nothing_else_R() -> None:
    world = at_phase(Phase.REVEAL)
    good = world.reveal(1)
    assert good.own_b is not None and good.a_shares == ()
    assert world.refused(1, replace(good, own_b=None)) == Refusal.OWN_B_MISSING
    assert world.refused(1, replace(good, own_b=scalar_bytes(world.dealing(2).b[0]))) == Refusal.OWN_B_WRONG
    assert world.refused(1, replace(good, own_b=scalar_bytes(world.dealing(1).a[0]))) == Refusal.OWN_B_WRONG
    assert world.refused(1, replace(good, own_b=bytes(32))) == Refusal.OWN_B_WRONG
    for dealer in (2, 3, 4):  # a of a member of U together with its b gives away its update
        opened = ((dealer, share(world, "a", dealer, 1)),)
        assert world.refused(1, replace(good, a_shares=opened)) == Refusal.WRONG_OPENINGS
        opened = ((dealer, share(world, "b", dealer, 1)),)
        assert world.refused(1, replace(good, b_shares=opened)) == Refusal.WRONG_OPENINGS
    assert world.post(1, good).ok


def test_a_member_dropped_from_u_never_opens_its_own_b_R() -> None:
    world = without_dealer_4()
    assert world.round.attempt.included == (1, 2, 3)
    own = scalar_bytes(world.dealing(4).b[0])
    assert world.refused(4, bodies.Reveal(*world.place(), own)) == Refusal.OWN_B_NOT_INCLUDED
    seven = seven_without_7(1)
    assert seven.refused(1, bodies.Reveal(*seven.place(), None)) == Refusal.NOTHING_OWED
    own, shares = scalar_bytes(seven.dealing(7).b[0]), ((1, share(seven, "b", 1, 7)),)
    assert seven.refused(7, bodies.Reveal(*seven.place(), own, (), shares)) == Refusal.OWN_B_NOT_INCLUDED
    assert seven.post(7, bodies.Reveal(*seven.place(), None, (), shares)).ok


def test_shares_of_b_are_opened_only_of_silent_members_of_u_R() -> None:
    world = seven_without_7(1)
    good = world.reveal(2)
    assert [dealer for dealer, _ in good.b_shares] == [1]
    for dealer in (3, 7):
        extra = tuple(sorted((*good.b_shares, (dealer, share(world, "b", dealer, 2)))))
        assert world.refused(2, replace(good, b_shares=extra)) == Refusal.WRONG_OPENINGS
    assert world.refused(2, replace(good, a_shares=((7, share(world, "a", 7, 2)),))) == Refusal.WRONG_OPENINGS
    assert world.refused(2, replace(good, own_b=scalar_bytes(world.dealing(2).b[0]))) == Refusal.WRONG_OPENINGS
    assert world.refused(2, replace(good, b_shares=((1, share(world, "a", 1, 2)),))) == Refusal.WRONG_SHARE
    assert world.post(2, good).ok


def test_shares_of_a_are_opened_of_exactly_the_members_dropped_from_u_R() -> None:
    world = without_dealer_4()
    good = world.reveal(1)
    assert [dealer for dealer, _ in good.a_shares] == [4]
    assert world.refused(1, replace(good, a_shares=())) == Refusal.WRONG_OPENINGS
    extra = tuple(sorted((*good.a_shares, (2, share(world, "a", 2, 1)))))
    assert world.refused(1, replace(good, a_shares=extra)) == Refusal.WRONG_OPENINGS
    assert world.refused(1, replace(good, a_shares=((4, share(world, "a", 4, 2)),))) == Refusal.WRONG_SHARE
    assert world.refused(1, replace(good, a_shares=((4, share(world, "b", 4, 1)),))) == Refusal.WRONG_SHARE


def test_only_holders_of_the_attempt_open_anything() -> None:
    world = at_phase(Phase.REVEAL, 4)
    assert world.round.attempt.present == (1, 2, 3)
    assert world.refused(4, bodies.Reveal(*world.place(), bytes(32))) == Refusal.NOT_IN_PHASE


def test_nothing_is_opened_before_the_unmask_R() -> None:
    world = at_phase(Phase.SUMACK)
    own = scalar_bytes(world.dealing(1).b[0])
    assert world.refused(1, bodies.Reveal(*world.place(), own)) == Refusal.PHASE_CLOSED


# --- how the openings end ----------------------------------------------------------------------------------------

def test_with_everything_open_nobody_else_is_waited_for() -> None:
    world = without_dealer_4()
    for member in (1, 2, 3):
        assert world.phase.kind == Phase.REVEAL
        assert world.post(member, world.reveal(member)).ok
    assert world.phase.kind == Phase.RESULT
    assert world.round.absent_members == {4}, "left out in the roster, not for the openings"


def test_a_silent_member_of_u_is_opened_by_t_shares() -> None:
    world = at_phase(Phase.REVEAL)
    world.go_without(4)
    assert world.phase.kind == Phase.REVEAL2 and world.phase.expected == (1, 2, 3)
    for member in (1, 2):
        world.post(member, world.reveal(member))
        assert world.phase.kind == Phase.REVEAL2
    world.post(3, world.reveal(3))
    assert world.phase.kind == Phase.RESULT
    assert world.finish_round(4).counted == (1, 2, 3, 4)


def test_a_late_own_b_serves_as_well_as_shares() -> None:
    world = at_phase(Phase.REVEAL)
    world.go_without(4)
    assert world.post(4, world.reveal(4)).ok
    assert world.phase.kind == Phase.RESULT


def test_two_silent_members_help_each_other_only_by_their_own_b() -> None:
    world = at_phase(Phase.REVEAL, size=7)
    world.go_without(6, 7)
    late = world.reveal(7)
    assert late.own_b is not None and [dealer for dealer, _ in late.b_shares] == [6]
    assert world.post(7, late).ok and world.phase.kind == Phase.REVEAL2
    for member in (1, 2, 3, 4):
        assert world.phase.kind == Phase.REVEAL2
        assert world.post(member, world.reveal(member)).ok
    assert world.phase.kind == Phase.RESULT


def fail_after_unmask(world: World) -> None:
    """Two of four fall silent after the Unmask: too few shares, the round ends without result."""
    number = world.round.number
    world.go_to(Phase.REVEAL)
    world.go_without(4)
    world.go_without(3, 4)
    assert world.report(number).outcome == Outcome.FAILED and world.report(number).is_unmasked


def test_after_the_unmask_there_is_no_other_attempt_R() -> None:
    """A trained update enters at most one unmasked sum: whatever fails now ends the round."""
    world = at_phase(Phase.REVEAL)
    fail_after_unmask(world)
    report = world.report(1)
    assert report.attempts == 1 and report.voids == () and "too few shares" in report.reason
    assert report.counted == (1, 2, 3, 4) and report.model_hash == report.start_model


def test_too_few_shares_of_a_dropped_member_end_the_round() -> None:
    world = without_dealer_4()
    world.go_without(3)
    report = world.report(1)
    assert report.outcome == Outcome.FAILED and "left out" in report.reason
    assert world.life.pin == (1, 2, 3)


def test_no_phase_can_unmask_a_second_time_R() -> None:
    world = at_phase(Phase.REVEAL)
    unmasked = world.round
    assert world.refused(4, bodies.SumAck(*world.place(), world.round.attempt.list_digest)) == Refusal.PHASE_CLOSED
    world.go_to(Phase.RESULT, 3)
    assert (world.round.attempt.included, world.round.attempt.qualified, world.round.attempt.number) == (
        unmasked.attempt.included, unmasked.attempt.qualified, 0
    )
    world.expire()
    assert world.report(1).reason == "no agreement on the result" and world.report(1).attempts == 1


# --- results -----------------------------------------------------------------------------------------------------

def test_q_equal_results_close_the_round_and_set_the_model() -> None:
    world = at_phase(Phase.RESULT)
    for member in (1, 2):
        assert world.post(member, world.result(member)).ok
    assert world.post(4, world.result(4, model_hash=seed_of("liar"))).ok
    assert world.is_round_open and world.round.number == 1
    assert world.post(3, world.result(3)).ok
    report = world.report(1)
    assert report.outcome == Outcome.OK and report.model_hash == world.life.model_hash == seed_of("model", 1)
    assert report.weight == 40 and report.metrics == world.metrics and report.sum_digest == seed_of("sum", 1)


@pytest.mark.parametrize("field", ["sum_digest", "model_hash", "metrics"])
def test_results_that_differ_in_any_field_do_not_add_up(field: str) -> None:
    world = at_phase(Phase.RESULT)
    other = None if field == "metrics" else seed_of("other")
    for member in (1, 2):
        world.post(member, world.result(member))
    world.post(3, world.result(3, **{field: other}))
    assert world.round.number == 1
    world.post(4, world.result(4, **{field: other}))
    assert world.report(1).reason == "no agreement on the result", "two and two: q cannot be reached any more"
    assert world.life.failures_in_row == 1


def test_the_weight_of_a_result_is_the_sum_of_the_committed_weights_R() -> None:
    """There is no weight lane in the vector: liars could otherwise drive the divisor to anything."""
    world = without_dealer_4(Phase.RESULT)
    assert world.result(1).weight == 30
    for weight in (0, 29, 40):
        assert world.refused(1, world.result(1, weight=weight)) == Refusal.WEIGHT_SUM


def test_results_come_from_holders_once() -> None:
    world = at_phase(Phase.RESULT, 4)
    assert world.refused(4, world.result(4)) == Refusal.NOT_IN_PHASE
    assert world.post(1, world.result(1)).ok
    assert world.refused(1, world.result(1)) == Refusal.ALREADY_POSTED


# --- the pinned set ----------------------------------------------------------------------------------------------

def test_after_a_failed_unmask_only_the_same_set_may_be_unmasked_R() -> None:
    """Two sums over overlapping sets would show their difference, which may be one hospital's update."""
    world = at_phase(Phase.REVEAL)
    fail_after_unmask(world)
    assert world.life.pin == (1, 2, 3, 4)
    assert (world.life.status, world.is_round_open) == (StudyStatus.WAITING, False)
    world.ready_all(3)
    assert world.phase.kind == Phase.JOIN, "three are enough for a round, but not for this one"
    world.ready_all(4)
    assert world.round.pinned == (1, 2, 3, 4) and world.round.number == 2
    report = world.finish_round()
    assert report.outcome == Outcome.OK and report.counted == (1, 2, 3, 4)
    assert world.life.pin is None and world.round.pinned is None


def test_a_pinned_member_that_stays_away_pauses_the_study_by_name_R() -> None:
    world = at_phase(Phase.REVEAL)
    fail_after_unmask(world)
    world.ready_all(3)
    world.expire()
    assert world.life.status == StudyStatus.PAUSED and world.life.reason.endswith("missing: 4")
    for member in (1, 2, 3):
        world.post(member, StudyVote(world.study, StudyAction.RESUME))
    assert not world.is_round_open and pending_phase(world.state, world.study).phase.kind == Phase.JOIN
    world.ready_all(4)
    assert world.round.pinned == (1, 2, 3, 4)


@pytest.mark.parametrize("phase", [Phase.KEYS, Phase.ACK, Phase.COMMIT, Phase.DIGEST, Phase.SHARE, Phase.PROOF])
def test_a_pinned_round_that_loses_a_member_before_the_unmask_opens_nothing_and_pauses_R(phase: Phase) -> None:
    world = at_phase(Phase.REVEAL)
    fail_after_unmask(world)
    world.ready_all(3, 4)
    world.go_to(phase)
    report = world.finish_round(2)
    if phase == Phase.PROOF:
        assert report.counted == (1, 2, 3, 4), "it was in the sum already and only fell silent"
        return
    assert report.outcome == Outcome.FAILED and not report.is_unmasked
    assert report.phases[-1].phase == phase, "no need to go on"
    assert world.life.status == StudyStatus.PAUSED and "missing: 2" in world.life.reason
    assert world.life.pin == (1, 2, 3, 4)


def test_a_pinned_round_that_leaves_a_dealer_out_opens_nothing_R() -> None:
    world = at_phase(Phase.REVEAL)
    fail_after_unmask(world)
    world.ready_all(3, 4)
    world.kept_chunks = {(4, 1), (4, 2), (4, 3)}
    report = world.finish_round()
    assert report.outcome == Outcome.FAILED and not report.is_unmasked
    assert "may be summed again" in report.voids[0].reason and "missing: 4" in world.life.reason


def test_members_outside_the_pinned_set_sit_the_round_out_R() -> None:
    world = without_dealer_4()
    world.go_without(3)
    assert world.life.pin == (1, 2, 3)
    world.kept_chunks = set()
    world.ready_all(4)
    world.ready_all(3)
    assert world.round.expected == (1, 2, 3), "with member 4 the sums would differ by its update alone"
    assert world.finish_round().counted == (1, 2, 3)
    assert world.round.expected == (1, 2, 3, 4)


def test_statistics_are_repeated_over_the_same_set_only_R() -> None:
    """Their inputs never change, so two sets would show the difference exactly."""
    world = at_phase(Phase.REVEAL, terms=replace(TERMS, has_statistics=True))
    assert world.round.kind == RoundKind.STATISTICS
    number = world.round.number
    world.go_to(Phase.RESULT)
    world.expire()
    assert world.report(number).is_unmasked and world.life.pin == (1, 2, 3, 4)
    assert world.life.has_statistics_sum is False
    world.ready_all()
    assert world.round.kind == RoundKind.STATISTICS and world.round.pinned == (1, 2, 3, 4)
    world.finish_round()
    assert world.life.has_statistics_sum and world.life.pin is None and world.round.kind == RoundKind.TRAINING


def test_a_pin_outlives_rounds_that_fail_before_their_unmask_R() -> None:
    world = at_phase(Phase.REVEAL)
    fail_after_unmask(world)
    world.ready_all(3, 4)
    world.finish_round(3, 4)
    assert world.life.pin == (1, 2, 3, 4) and world.life.status == StudyStatus.PAUSED
