"""REDEAL, CONFIRM and EXPOSE: what is disputed, who opens, who is out, who is named; and every message out of place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fednode.codec import Rejected, decode, encode
from fednode.crypto import GROUP_ORDER, base_times, point_add, prove_knowledge
from fednode.ids import MemberId
from fednode.ledger.bodies import Body
from fednode.ledger.refusals import Refusal, describe_refusal
from fednode.ledger.studies.bodies import Outcome
from fednode.ledger.sums.binding import FEW_ANSWERS, SUM_UNCHECKED
from fednode.ledger.sums.checks import confirm_shares, is_box_right
from fednode.ledger.sums.course import BlockTime, RoundEnd
from fednode.ledger.sums.disputes import (
    DEALT_WRONG,
    NOT_CONFIRMED,
    NOT_REDEALT,
    after_confirm,
    after_expose,
    after_redeal,
)
from fednode.ledger.sums.records import RoundRecord, get_confirm, get_redeal
from fednode.sums import bodies
from fednode.sums import field as f
from fednode.sums.attempt import SumContext, dispute_context, key_proof_context
from fednode.sums.bounds import FEW, OUTPUTS
from fednode.sums.coin import draw_confirm_seed
from fednode.sums.equal_logs import prove_equal_logs
from fednode.sums.norm import confirm, draw_confirm
from fednode.sums.phase import Phase
from fednode.sums.redeal import hide_held
from fednode.sums.shares import decode as decode_shares
from fednode.sums.shares import share_at, sharing_degree
from tests.ledger.sum_world import World, at, shares_of
from tests.ledger.test_rules_proofs import stored
from tests.ledger.world import WORDS
from tests.support.seeds import Stream, seed_of

Pairs = set[tuple[int, int]]
PAIR = {(4, 3)}
"""4 dealt 3 a share that is off, or 3 says so."""
LOW_ORDER = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")


def disputed(phase: Phase = Phase.REDEAL, size: int = 4, **scripts: object) -> World:
    world = at(phase, size=size, **({"garbled": PAIR} | scripts))  # type: ignore[arg-type]
    assert not world.round.voids and not world.round.is_unmasked
    return world


def assert_exact(world: World) -> None:
    """The round ends with the sum that was proven."""
    expected = f.to_bytes(world.sums())
    world.go_to(Phase.RESULT)
    assert world.attempt.sum_opened == expected
    report = world.finish_round()
    assert report.outcome == Outcome.OK and report.faulty == () and stored(world) == 0


def void(world: World, phase: Phase, reason: str, *dropped: int) -> RoundRecord:
    """The first attempt is void, for this reason, without these; nothing of it is left."""
    found = world.round.voids[0]
    assert (found.phase, found.reason, found.dropped) == (phase, reason, dropped)
    assert not world.round.is_unmasked and stored(world) == 0 and world.round.attempt.number == 1
    return world.round


@pytest.mark.slow
@pytest.mark.parametrize("is_off", [False, True])
def test_disputes_of_many_members_have_a_part_for_each_repetition(is_off: bool) -> None:
    world = disputed(Phase.REDEAL, 32, off=PAIR if is_off else set())
    body = world.redeal(4, 3)
    assert len(body.box) == 8 * (260 + 3)  # outputs, and the words of the claims
    assert world.refused(4, replace(body, box=body.box[:-8])) == Refusal.BOX_SIZE
    world.go_to(Phase.CONFIRM)
    said = world.confirm(3)
    assert len(said.data) == 8 * 3
    for data in (said.data[:-8], said.data + bytes(8)):
        assert world.refused(3, replace(said, data=data)) == Refusal.WRONG_ANSWERS
    if is_off:
        world.go_to(Phase.EXPOSE)
        world.go()
        assert world.round.faulty == (4,)
    else:
        assert_exact(world)


# --- dispute keys ------------------------------------------------------------------------------------------------


def test_a_dispute_key_is_proven_for_its_place_and_new() -> None:
    world = at(Phase.KEYS)
    study, number, attempt = world.place()
    body, scalar = world.keys(1), world.scalar(1)

    def other(point: bytes, value: int = scalar, which: str = "c", member: int = 1) -> bodies.Keys:
        context = key_proof_context(SumContext(world.chain_id, study, number, attempt), member, which)
        return replace(body, c_point=point, c_proof=prove_knowledge(value, context, Stream("other")))

    assert body.c_point is not None
    for wrong in (other(body.c_point, which="a"), other(body.c_point, member=2), other(base_times(5), 6)):
        assert world.refused(1, wrong) == Refusal.BAD_PROOF
    assert world.refused(1, replace(body, c_proof=bytes(64))) == Refusal.BAD_PROOF
    for point in (point_add(body.c_point, LOW_ORDER), LOW_ORDER, b"\x01" + bytes(31), bytes(32), b"\xff" * 32):
        assert world.refused(1, other(point)) == Refusal.BAD_POINT
    for point in (body.a_points[0], body.b_points[0]):
        assert world.refused(1, replace(body, c_point=point, c_proof=body.a_proof)) == Refusal.POINT_SEEN
    assert world.refused(1, other(body.a_points[1], world.dealing(1).a[1], which="a")) == Refusal.BAD_PROOF
    assert world.post(1, body).ok
    for stolen in (body.c_point, body.a_points[0]):
        taken = replace(world.keys(2), c_point=stolen)
        assert world.refused(2, taken) == Refusal.POINT_SEEN
    assert world.refused(2, replace(world.keys(2), a_points=(body.c_point, *world.keys(2).a_points[1:]))) == (
        Refusal.POINT_SEEN
    )


# --- what is disputed --------------------------------------------------------------------------------------------

def test_without_disputes_nothing_is_asked() -> None:
    world = at(Phase.PROOF)
    world.go()
    assert world.phase.kind == Phase.REVEAL and not world.attempt.disputes
    assert world.attempt.openers == (1, 2, 3, 4)


def test_a_dealer_disputes_nobody_for_its_own_share() -> None:
    world = at(Phase.PROOF, garbled={(3, 3)})
    world.go()
    assert world.round.is_unmasked and world.attempt.openers == (1, 2, 4)


def test_a_holder_in_more_than_f_disputes_is_not_heard() -> None:
    world = at(Phase.PROOF, size=7, garbled={(1, 7), (2, 7), (3, 7), (4, 6), (5, 6)})
    world.go()
    assert world.attempt.disputes == ((4, 6), (5, 6)) and world.phase.expected == (4, 5)


def test_who_did_not_answer_disputes_nothing() -> None:
    world = at(Phase.PROOF)
    world.go_without(3)
    assert world.round.is_unmasked and world.attempt.openers == (1, 2, 4)


@pytest.mark.slow
def test_who_answered_in_part_disputes_nothing_and_confirms_nothing() -> None:
    world = at(Phase.PROOF, size=31, garbled={(4, 3), (5, 9)})
    assert world.post(9, world.proofs(9)[0]).ok
    world.go_without(9)
    assert world.attempt.disputes == ((4, 3),) and world.round.absent_members == {9}
    world.go()
    assert world.phase.kind == Phase.CONFIRM and 9 not in world.phase.expected
    assert world.refused(9, world.confirm(9)) == Refusal.NOT_IN_PHASE
    world.go()
    assert world.round.is_unmasked and set(world.members) - set(world.attempt.openers) == {9}


def test_a_wrong_sum_is_looked_into_before_disputes_are() -> None:
    wrong = bodies.SumCheck.WRONG
    world = at(Phase.PROOF, garbled=PAIR, sum_check={1: wrong, 2: wrong})
    world.go()
    assert world.phase.kind == Phase.RECHECK and not world.attempt.disputes
    world = at(Phase.PROOF, garbled=PAIR, sum_check={1: bodies.SumCheck.UNKNOWN, 4: bodies.SumCheck.UNKNOWN})
    world.go()
    assert world.round.voids[0].reason == SUM_UNCHECKED


# --- an off share and a withheld opening --------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["garbled", "cut_off"])
def test_dealt_again_the_holder_opens_and_a_withheld_opening_changes_nothing(how: str) -> None:
    """4 gives 3 no share, or another one, and then keeps its own opening back: three honest members are enough."""
    world = at(Phase.REDEAL, **{how: PAIR})  # type: ignore[arg-type]
    world.go()
    assert world.phase.kind == Phase.CONFIRM and world.attempt.redealt == ((4, 3),)
    world.go()
    assert world.round.is_unmasked and world.phase.kind == Phase.REVEAL
    assert world.attempt.openers == (1, 2, 3, 4)
    expected = f.to_bytes(world.sums())
    world.go_without(4)
    assert world.attempt.sum_opened == expected
    report = world.finish_round(4)
    assert (report.outcome, report.counted, report.faulty) == (Outcome.OK, (1, 2, 3, 4), ())
    assert stored(world) == 0


@pytest.mark.parametrize("size", [4, 7, 10])
def test_with_f_liars_that_do_it_to_different_members_all_honest_open(size: int) -> None:
    faults = (size - 1) // 3
    garbled = {(size - n, 1 + n) for n in range(faults)}
    world = disputed(size=size, garbled=garbled)
    world.go()
    world.go()
    assert world.round.is_unmasked and world.attempt.openers == tuple(world.members)
    world.go_without(*(dealer for dealer, _ in garbled))
    assert world.finish_round(*(dealer for dealer, _ in garbled)).outcome == Outcome.OK


def test_a_dealer_disputed_by_f_holders_deals_to_each() -> None:
    world = disputed(size=7, garbled={(6, 1), (6, 2), (7, 2)})
    assert world.attempt.disputes == ((6, 1), (6, 2), (7, 2)) and world.phase.expected == (6, 7)
    assert world.post(6, world.redeal(6, 2)).ok and world.phase.posted == ()
    assert world.post(6, world.redeal(6, 1)).ok and world.phase.posted == (6,)
    assert world.post(7, world.redeal(7, 2)).ok and world.phase.kind == Phase.CONFIRM
    assert len(world.confirm(3).data) == 2 * FEW.confirm_bytes
    world.go()
    assert world.attempt.openers == tuple(world.members)
    assert_exact(world)


def test_the_challenges_follow_from_all_that_was_dealt_again() -> None:
    world = disputed(size=7, garbled={(6, 1), (7, 2)})
    boxes = {(6, 1): world.redeal(6, 1).box, (7, 2): world.redeal(7, 2).box}
    world.go()
    assert world.attempt.query_seed is not None
    assert world.attempt.confirm_seed == draw_confirm_seed(world.context, world.attempt.query_seed, boxes)


# --- dealt again --------------------------------------------------------------------------------------------------

def test_messages_of_redeal_have_their_place_and_form() -> None:
    world = disputed(Phase.PROOF)
    body = world.redeal(4, 3)
    assert world.refused(4, body) == Refusal.PHASE_CLOSED
    world.go()
    assert world.phase.kind == Phase.REDEAL and world.phase.expected == (4,)
    assert world.refused(1, body) == Refusal.NOT_IN_PHASE
    assert world.refused(3, body) == Refusal.NOT_IN_PHASE
    for holder in (1, 2, 4, 9):
        assert world.refused(4, replace(body, holder=MemberId(holder))) == Refusal.WRONG_HOLDERS
    for box in (body.box[:-1], body.box + bytes(1), body.box + bytes(8), bytes(1)):
        assert world.refused(4, replace(body, box=box)) == Refusal.BOX_SIZE
    assert world.refused(4, replace(body, attempt=1)) == Refusal.PHASE_CLOSED
    assert world.refused(4, replace(body, round=2)) == Refusal.PHASE_CLOSED
    for early in (world.confirm(4), world.expose(4, 3), bodies.Reveal(*world.place(), bytes(32))):
        assert world.refused(3, early) == Refusal.PHASE_CLOSED
    assert world.post(4, body).ok
    assert get_redeal(world.state, *world.place(), MemberId(4), MemberId(3)) == body
    assert world.refused(4, body) == Refusal.PHASE_CLOSED


def test_a_share_is_dealt_again_once() -> None:
    world = disputed(size=7, garbled={(6, 1), (6, 2)})
    assert world.post(6, world.redeal(6, 1)).ok
    other = replace(world.redeal(6, 1), box=bytes(FEW.held_bytes(WORDS)))
    assert world.refused(6, other) == Refusal.ALREADY_POSTED
    assert get_redeal(world.state, *world.place(), MemberId(6), MemberId(1)) == world.redeal(6, 1)


def test_who_does_not_deal_again_is_out_without_blame() -> None:
    world = disputed(kept=PAIR)
    world.go()
    assert world.phase.kind == Phase.REDEAL
    world.expire()
    record = void(world, Phase.REDEAL, NOT_REDEALT, 4)
    assert record.faulty == () and record.attempt.holders == (1, 2, 3)
    assert world.finish_round(4).counted == (1, 2, 3)


def test_who_deals_again_to_one_of_two_is_out() -> None:
    world = disputed(size=7, garbled={(6, 1), (6, 2), (7, 3)}, kept={(6, 2)})
    world.go_without()
    void(world, Phase.REDEAL, NOT_REDEALT, 6)
    assert world.finish_round(6).counted == (1, 2, 3, 4, 5, 7)


def test_a_dealer_that_was_absent_before_is_waited_for_and_out_if_silent() -> None:
    """It was silent in COIN and came back in time: the round no longer waits for it, but here its message is needed."""
    for comes_back in (True, False):
        world = at(Phase.COIN, garbled={(1, 3)})
        world.go_without(1)
        assert world.round.absent_members == {1}
        world.go_to(Phase.REDEAL)
        assert world.phase.expected == (1,)
        if comes_back:
            world.go()
            assert world.phase.kind == Phase.CONFIRM and world.phase.expected == (1, 2, 3, 4)
            world.go()
            assert world.attempt.openers == (1, 2, 3, 4)
            assert_exact(world)
        else:
            world.expire()
            assert void(world, Phase.REDEAL, NOT_REDEALT, 1).faulty == ()
            assert world.finish_round().counted == (2, 3, 4)


# --- confirmed ----------------------------------------------------------------------------------------------------

def test_messages_of_confirm_have_their_place_and_form() -> None:
    world = disputed(Phase.REDEAL)
    early = bodies.Confirm(*world.place(), bytes(FEW.confirm_bytes))
    assert world.refused(1, early) == Refusal.PHASE_CLOSED
    world.go()
    assert world.phase.kind == Phase.CONFIRM and world.phase.expected == (1, 2, 3, 4)
    body = world.confirm(1)
    for data in (body.data[:-1], body.data + bytes(1), body.data * 2, body.data[: FEW.confirm_bytes - 8]):
        assert world.refused(1, replace(body, data=data)) == Refusal.WRONG_ANSWERS
    assert world.refused(1, replace(body, attempt=1)) == Refusal.PHASE_CLOSED
    for other in (world.redeal(4, 3), world.expose(4, 3)):
        assert world.refused(4, other) == Refusal.PHASE_CLOSED
    assert world.post(1, body).ok and get_confirm(world.state, *world.place(), MemberId(1)) == body
    assert world.refused(1, replace(body, data=bytes(FEW.confirm_bytes))) == Refusal.ALREADY_POSTED


def test_a_stranger_to_the_attempt_confirms_nothing() -> None:
    world = at(Phase.CONFIRM, garbled=PAIR, absent=(2,), size=7)
    assert world.refused(2, world.confirm(1)) == Refusal.NOT_IN_PHASE


def test_who_is_silent_is_absent_and_the_rest_suffice() -> None:
    world = disputed(Phase.CONFIRM, size=7, garbled={(7, 3)})
    world.go_without(7)
    assert world.round.is_unmasked and world.attempt.openers == tuple(world.members)
    assert world.round.absent_members == {7}


def test_a_disputing_holder_that_is_silent_has_no_part_in_the_opening() -> None:
    world = disputed(Phase.CONFIRM)
    world.go_without(3)
    assert world.round.is_unmasked and world.attempt.openers == (1, 2, 4)


@pytest.mark.parametrize("lost", [(1, 2, 3), (1, 2, 3, 4, 5, 6, 7)])
def test_too_few_that_confirm_are_nobodys_fault(lost: tuple[int, ...]) -> None:
    world = disputed(Phase.CONFIRM, size=7, garbled={(6, 1)})
    world.go_without(*lost)
    report = world.report(1)
    assert report.reason.startswith(FEW_ANSWERS) and report.faulty == report.barred == () and not report.is_unmasked
    assert tuple(absence.member for absence in report.absent) == lost and stored(world) == 0


def test_answers_that_no_polynomial_carries_keep_the_dealer_out() -> None:
    """Two honest members hold shares that 4 proved with its own word; now it answers something else."""
    world = disputed(Phase.CONFIRM, unsure={(4, 4)})
    world.go()
    record = void(world, Phase.CONFIRM, NOT_CONFIRMED, 4)
    assert record.barred == (4,) and record.faulty == ()
    assert world.finish_round(4).counted == (1, 2, 3)


def test_where_too_few_of_those_that_carried_it_answer_the_silent_are_out_not_the_dealer() -> None:
    world = disputed(Phase.CONFIRM)
    world.go_without(1)
    void(world, Phase.CONFIRM, FEW_ANSWERS, 1)
    assert world.round.barred == () and world.round.absent_members == {1}


def test_only_answers_of_those_that_carried_the_proof_count() -> None:
    """4 deals 3 again what lies on a line through the shares of 1, and answers on that line, as 3 does in good faith.

    Three of four answers are on it, as many as count, and one of them is of an honest holder of the proven share. Were
    it taken, 3 would open what was never proven.
    """
    world = disputed(Phase.REDEAL)
    offset = f.expand(bytes(16), FEW.held_bytes(WORDS) // 8)
    again = f.add(world.held(4, 3), offset)
    box = hide_held(again, world.shared_point(4, 3), world.context, 4, 3)
    assert world.post(4, bodies.Redeal(*world.place(), MemberId(3), box)).ok
    assert world.attempt.confirm_seed is not None
    challenges = draw_confirm(world.attempt.confirm_seed, FEW.repetitions)
    slope = f.scale(offset, f.inverse(2))  # nothing at 1, `offset` at 3
    on_line = {1: world.held(4, 1), 3: again, 4: f.add(world.held(4, 4), f.scale(slope, 3))}
    answers = {member: confirm(held, challenges) for member, held in on_line.items()}
    assert decode_shares(answers, 1, 3, 4) is not None, "they are on one line"
    for member in (1, 2, 3, 4):
        data = f.to_bytes(answers[member]) if member in answers else world.confirm(member).data
        assert world.post(member, bodies.Confirm(*world.place(), data)).ok
    assert void(world, Phase.CONFIRM, NOT_CONFIRMED, 4).faulty == ()


def test_with_more_members_too_and_the_true_polynomial_is_found_if_liars_leave_it() -> None:
    """6 and 7 of seven: four shares dealt again or made up, and two honest ones they run through, are six of seven."""
    for is_hidden in (True, False):
        world = disputed(Phase.REDEAL, size=7, garbled={(6, 1), (6, 2)})
        base = f.expand(bytes(16), FEW.held_bytes(WORDS) // 8)

        def bent(member: int, world: World = world, base: f.FieldVector = base) -> f.FieldVector:
            """The proven share, and on top a parabola that is nothing at 3 and 4."""
            return f.add(world.held(6, member), f.scale(base, (member - 3) * (member - 4)))

        for holder in (1, 2):
            box = hide_held(bent(holder), world.shared_point(6, holder), world.context, 6, holder)
            assert world.post(6, bodies.Redeal(*world.place(), MemberId(holder), box)).ok
        assert world.attempt.confirm_seed is not None
        challenges = draw_confirm(world.attempt.confirm_seed, FEW.repetitions)
        told = {m: confirm(bent(m) if m in (1, 2, 6, 7) else world.held(6, m), challenges) for m in range(1, 8)}
        decoded = decode_shares(told, 2, 5, 7)
        assert decoded is not None and decoded.members == (1, 2, 3, 4, 6, 7), "over all answers the bent one counts"
        for member in world.members:
            data = f.to_bytes(told[member])
            if not is_hidden and member in (6, 7):
                data = f.to_bytes(confirm(world.held(6, member), challenges))
            assert world.post(member, bodies.Confirm(*world.place(), data)).ok
        if is_hidden:
            void(world, Phase.CONFIRM, NOT_CONFIRMED, 6)
        else:
            assert world.phase.kind == Phase.EXPOSE
            assert [pair[:2] for pair in world.attempt.unconfirmed] == [(6, 1), (6, 2)]


# --- exposed ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["off", "unreadable"])
def test_a_wrong_share_that_is_dealt_again_names_its_dealer(how: str) -> None:
    world = disputed(Phase.EXPOSE, **{how: PAIR})
    assert world.phase.expected == (3,) and world.attempt.openers == (1, 2, 4)
    assert world.post(3, world.expose(4, 3)).ok
    record = void(world, Phase.EXPOSE, DEALT_WRONG, 4)
    assert record.faulty == (4,) and record.barred == (4,)
    report = world.finish_round()
    assert report.faulty == (4,) and report.counted == (1, 2, 3) and report.outcome == Outcome.OK
    assert world.life.faulty_members == (4,)


@pytest.mark.parametrize("at_place", [0, 1, OUTPUTS - 1, OUTPUTS, OUTPUTS + 1, FEW.held_bytes(WORDS) // 8 - 1])
def test_one_element_beside_the_proven_share_is_enough(at_place: int) -> None:
    world = disputed(Phase.REDEAL)
    held = world.held(4, 3).copy()
    held[at_place] = (int(held[at_place]) + 1) % f.MODULUS
    box = hide_held(held, world.shared_point(4, 3), world.context, 4, 3)
    assert world.post(4, bodies.Redeal(*world.place(), MemberId(3), box)).ok
    world.go()
    assert world.phase.kind == Phase.EXPOSE and world.post(3, world.expose(4, 3)).ok
    assert world.round.faulty == (4,)


def test_the_box_of_an_honest_dealer_cannot_be_opened_as_a_wrong_one() -> None:
    """3 says that it has no share of 4 and, dealt it again, that it is off: a liar, and what it shows is right."""
    world = disputed(Phase.EXPOSE, unsure=PAIR)
    assert world.attempt.unconfirmed[0][:2] == (4, 3)
    assert world.refused(3, world.expose(4, 3)) == Refusal.WRONG_ACCUSATION
    world.expire()
    assert world.round.is_unmasked and world.round.faulty == () and world.attempt.openers == (1, 2, 4)
    assert world.round.absent_members == {3}
    assert_exact(world)


def _twisted(body: bodies.Expose, world: World) -> list[bodies.Expose]:
    """Other points than the shared one, with the best proofs there are for them."""
    mine, base = world.scalar(3), base_times(world.scalar(4))
    place, entropy = dispute_context(world.context, 4, 3), Stream("twisted")
    later = replace(world.context, attempt=1)
    other = world.shared_point(4, 2)
    return [
        replace(body, shared=other),
        replace(body, shared=other, proof=prove_equal_logs(world.scalar(2), base, place, entropy)),
        replace(body, shared=point_add(body.shared, LOW_ORDER)),
        replace(body, shared=base, proof=prove_equal_logs(1, base, place, entropy)),
        replace(body, shared=b"\x01" + bytes(31)), replace(body, shared=bytes(32)),
        replace(body, proof=bytes(64)), replace(body, proof=body.proof[:32] + bytes(32)),
        replace(body, proof=prove_equal_logs(mine, base, dispute_context(world.context, 3, 4), entropy)),
        replace(body, proof=prove_equal_logs(mine, base, dispute_context(later, 4, 3), entropy)),
        replace(body, proof=prove_equal_logs(mine, base_times(7), place, entropy)),
        replace(body, proof=prove_equal_logs((mine + 1) % GROUP_ORDER, base, place, entropy)),
    ]


@pytest.mark.parametrize("is_off", [True, False])
def test_only_the_point_of_the_two_opens_a_box(is_off: bool) -> None:
    world = disputed(Phase.EXPOSE, **({"off": PAIR} if is_off else {"unsure": PAIR}))
    body = world.expose(4, 3)
    for wrong in _twisted(body, world):
        assert world.refused(3, wrong) == Refusal.BAD_PROOF
    for member in (1, 2, 4):
        assert world.refused(member, body) == Refusal.NOT_IN_PHASE
    for dealer in (1, 2, 3, 9):
        assert world.refused(3, replace(body, dealer=MemberId(dealer))) == Refusal.WRONG_ACCUSATION
    assert world.refused(3, replace(body, attempt=1)) == Refusal.PHASE_CLOSED
    for early in (world.confirm(3), world.redeal(4, 3), bodies.Reveal(*world.place(), bytes(32))):
        assert world.refused(3, early) == Refusal.PHASE_CLOSED
    assert world.round.faulty == () and world.phase.kind == Phase.EXPOSE


def test_a_holder_of_two_wrong_boxes_has_spoken_when_both_are_open() -> None:
    pairs: Pairs = {(6, 1), (7, 1)}
    world = disputed(Phase.EXPOSE, size=7, garbled=pairs, off=pairs)
    assert world.post(1, world.expose(7, 1)).ok and world.phase.posted == ()
    assert world.refused(1, world.expose(7, 1)) == Refusal.ALREADY_POSTED
    assert world.post(1, world.expose(6, 1)).ok
    record = void(world, Phase.EXPOSE, DEALT_WRONG, 6, 7)
    assert record.faulty == (6, 7) and world.finish_round().counted == (1, 2, 3, 4, 5)


def test_one_opened_box_is_enough_and_the_silent_are_not_blamed_for_it() -> None:
    pairs: Pairs = {(6, 1), (7, 2)}
    world = disputed(Phase.EXPOSE, size=7, garbled=pairs, off=pairs, silent_witness={2})
    world.go()
    assert world.phase.kind == Phase.EXPOSE
    world.expire()
    record = void(world, Phase.EXPOSE, DEALT_WRONG, 6)
    assert record.faulty == (6,) and record.absent == ()


def test_nobody_exposes_and_enough_can_open() -> None:
    world = disputed(Phase.EXPOSE, off=PAIR, silent_witness={3})
    world.expire()
    assert world.round.is_unmasked and world.attempt.openers == (1, 2, 4) and world.round.faulty == ()
    assert world.refused(3, world.expose(4, 3)) == Refusal.PHASE_CLOSED
    assert_exact(world)


def test_who_was_named_in_a_pinned_set_leaves_it() -> None:
    world = at(Phase.REVEAL, size=7, bad_openings={1, 2, 3})
    world.go()
    assert not world.is_round_open or world.round.number == 2
    pinned = world.life.pin
    assert pinned is not None and 7 in pinned
    world.bad_openings.clear()
    world.garbled, world.off = {(7, 1)}, {(7, 1)}
    report = world.finish_round()
    assert report.faulty == (7,) and report.counted == tuple(member for member in pinned if member != 7)


def test_a_new_attempt_disputes_anew() -> None:
    world = disputed(Phase.EXPOSE, size=7, garbled={(6, 1), (7, 2)}, off={(6, 1)})
    world.go()
    record = void(world, Phase.EXPOSE, DEALT_WRONG, 6)
    assert not record.attempt.is_frozen
    world.go_to(Phase.REDEAL)
    assert world.attempt.disputes == ((7, 2),) and not world.attempt.redealt
    world.go()
    world.go()
    assert world.attempt.openers == (1, 2, 3, 4, 5, 7)


# --- everywhere ---------------------------------------------------------------------------------------------------

MESSAGES: dict[str, Callable[[World], Body]] = {
    "redeal": lambda world: bodies.Redeal(*world.place(), MemberId(3), bytes(FEW.held_bytes(WORDS))),
    "confirm": lambda world: bodies.Confirm(*world.place(), bytes(FEW.confirm_bytes)),
    "expose": lambda world: world.expose(4, 3),
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_outside_their_phases_they_are_refused(kind: str) -> None:
    world = at(Phase.KEYS)
    own = {"redeal": Phase.REDEAL, "confirm": Phase.CONFIRM, "expose": Phase.EXPOSE}[kind]
    seen = set()
    while world.round.number == 1:
        assert world.phase.kind != own
        assert world.refused(4, MESSAGES[kind](world)) == Refusal.PHASE_CLOSED
        seen.add(world.phase.kind)
        world.go()
    assert {Phase.KEYS, Phase.COIN, Phase.PROOF, Phase.REVEAL, Phase.RESULT} <= seen


@pytest.mark.parametrize("phase", [Phase.REDEAL, Phase.CONFIRM, Phase.EXPOSE])
def test_where_everybody_is_silent_the_rules_go_on(phase: Phase) -> None:
    world = disputed(phase, off=PAIR)
    world.expire()
    if phase == Phase.EXPOSE:
        assert world.round.is_unmasked and world.round.absent_members == {3}
    elif phase == Phase.REDEAL:
        assert world.round.voids[0].reason == NOT_REDEALT
    else:
        assert world.report(1).reason.startswith(FEW_ANSWERS)


def test_ends_of_phases_never_raise_whatever_is_missing() -> None:
    """Rules that raise stop every node at the same block, for ever: ends with nothing in, or with a part."""
    at_end = BlockTime(99, 99)
    pairs: Pairs = {(6, 1), (6, 2), (7, 2)}
    for phase, after in ((Phase.REDEAL, after_redeal), (Phase.CONFIRM, after_confirm), (Phase.EXPOSE, after_expose)):
        world = disputed(phase, size=7, garbled=pairs, off=pairs)
        while world.phase.kind == phase and world.is_round_open:
            end = after(world.state, world.round, at_end)
            record = end.record if isinstance(end, RoundEnd) else end
            assert decode(RoundRecord, encode(record), 2**20) == record
            body = next((b for m in world.members if (b := world.owed(m)) is not None), None)
            assert body is not None
            member = next(m for m in world.members if world.owed(m) == body)
            assert world.post(member, body).ok


def test_no_answers_are_undecided_and_so_are_few() -> None:
    places = (MemberId(3),)
    assert confirm_shares((), places, 4) is None
    wrong = ((MemberId(1), b"\xff" * FEW.confirm_bytes), (MemberId(2), b"\xff" * FEW.confirm_bytes))
    assert confirm_shares(wrong, places, 4) is None
    assert confirm_shares((*wrong, (MemberId(4), b"\xff" * FEW.confirm_bytes)), places, 4) is None
    assert confirm_shares((), (), 3) is None


def test_the_polynomial_at_a_place_is_what_a_share_there_answers() -> None:
    secrets = f.expand(bytes(16), FEW.repetitions)
    for size in (4, 7, 10):
        degree = sharing_degree(size)
        told = {m: shares_of(secrets, degree, m, "here") for m in range(1, size + 1)}
        decoded = decode_shares(told, degree, size - (size - 1) // 3, size)
        assert decoded is not None
        for member in (1, 2, size, 50):
            assert np.array_equal(share_at(decoded, told, degree, member), shares_of(secrets, degree, member, "here"))
        assert np.array_equal(share_at(decoded, told, degree, 0), decoded.value)


def test_a_box_is_right_only_with_its_point_and_place() -> None:
    world = disputed(Phase.CONFIRM)
    seed, box, shared = world.attempt.confirm_seed, world.redeal(4, 3).box, world.shared_point(4, 3)
    assert seed is not None
    pair, challenges = (MemberId(4), MemberId(3)), draw_confirm(seed, FEW.repetitions)
    answer = f.to_bytes(confirm(world.held(4, 3), challenges))
    assert is_box_right(box, shared, world.context, pair, seed, answer)
    assert not is_box_right(box, shared, world.context, (pair[1], pair[0]), seed, answer)
    assert not is_box_right(box, shared, replace(world.context, attempt=1), pair, seed, answer)
    assert not is_box_right(box, base_times(9), world.context, pair, seed, answer)
    assert not is_box_right(box, shared, world.context, pair, seed_of("other"), answer)
    assert not is_box_right(box[:-8] + bytes(8), shared, world.context, pair, seed, answer)


def test_the_answer_of_a_proven_share_is_whole_elements_on_record() -> None:
    attempt = at(Phase.REVEAL).attempt
    with pytest.raises(Rejected):
        encode(replace(attempt, unconfirmed=((MemberId(4), MemberId(3), bytes(7)),)))


@pytest.mark.parametrize("code", [Refusal.BOX_SIZE, Refusal.BAD_PROOF, Refusal.WRONG_ACCUSATION, Refusal.POINT_COUNT])
def test_people_read_why(code: Refusal) -> None:
    assert describe_refusal(code.value) != code.value
