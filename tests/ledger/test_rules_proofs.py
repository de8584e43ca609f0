"""SHARE, PROOF and the opening of what was proven: refusals, voids, who is dropped and who is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fednode.ids import MemberId
from fednode.ledger.refusals import Refusal
from fednode.ledger.studies.bodies import Outcome, StudyAction, StudyVote, Weights
from fednode.ledger.studies.records import StudyStatus
from fednode.ledger.sums.binding import FEW_ANSWERS, NOT_PROVEN, NOT_SHARED, SUM_UNCHECKED
from fednode.ledger.sums.checks import Judged, Verdict, judge_dealers
from fednode.ledger.sums.opening import NOT_OPENED
from fednode.ledger.sums.recheck import WRONG_SUM
from fednode.ledger.sums.records import RoundKind, get_answers, get_share_root
from fednode.sums import bodies
from fednode.sums import field as f
from fednode.sums.attempt import SumContext
from fednode.sums.bounds import FEW, MASKS_WRONG, strength_of
from fednode.sums.coin import draw_query_seed
from fednode.sums.phase import Phase
from tests.ledger.sum_world import OPENED, World, at, started
from tests.ledger.world import TERMS
from tests.support.seeds import seed_of


def stored(world: World) -> int:
    kinds = (b"share/", b"proof/", b"recheck/", b"redeal/", b"confirm/")
    return sum(key.startswith(kinds) for key, _ in world.state.items())


# --- shares ------------------------------------------------------------------------------------------------------

def test_sketch_and_roots_are_said_once_and_before_nothing_is_known() -> None:
    world = at(Phase.COIN)
    assert world.refused(1, world.share_root(1)) == Refusal.PHASE_CLOSED
    world.go_to(Phase.SHARE)
    assert world.post(1, world.share_root(1)).ok
    assert world.refused(1, replace(world.share_root(1), sketch=bytes(1024))) == Refusal.ALREADY_POSTED
    assert get_share_root(world.state, *world.place(), world.members[0]) == world.share_root(1)


def test_a_member_outside_the_sum_has_nothing_to_share() -> None:
    world = at(Phase.SHARE, kept_chunks={(4, 1), (4, 2), (4, 3)}, size=4)
    assert 4 not in world.round.attempt.included
    assert world.refused(4, world.share_root(4)) == Refusal.NOT_IN_PHASE


def test_who_does_not_share_is_left_out_of_the_next_attempt() -> None:
    world = at(Phase.SHARE)
    world.go_without(2)
    void = world.round.voids[0]
    assert (void.phase, void.reason, void.dropped) == (Phase.SHARE, NOT_SHARED, (2,))
    assert world.round.attempt.holders == (1, 3, 4) and not world.round.faulty and stored(world) == 0
    assert world.finish_round(2).counted == (1, 3, 4)


def test_the_masked_sum_cannot_be_restated_after_the_coin() -> None:
    world = at(Phase.COIN)
    place = world.place()
    for phase in (Phase.COIN, Phase.SHARE, Phase.PROOF, Phase.REVEAL):
        world.go_to(phase)
        for member in world.members:
            digests = tuple((chunk, seed_of("other")) for chunk in world.owned(member))
            assert world.refused(member, bodies.Digest(*place, digests)) == Refusal.PHASE_CLOSED
            assert world.refused(member, bodies.Commit(*place, seed_of("other"), 0)) == Refusal.PHASE_CLOSED
            assert world.refused(member, bodies.SumAck(*place, None, (0,))) == Refusal.PHASE_CLOSED


def test_the_challenges_follow_from_everything_that_was_dealt() -> None:
    world = at(Phase.SHARE)
    place = world.place()
    roots = {member: world.share_root(member) for member in world.members}
    world.go()
    posted = {int(member): (body.sketch, body.bits_root, body.proof_root) for member, body in roots.items()}
    context, checks = SumContext(world.chain_id, *place), world.attempt
    assert checks.coin is not None and checks.freeze_block is not None
    assert checks.query_seed == draw_query_seed(context, checks.coin, checks.freeze_block, posted)


# --- answers -----------------------------------------------------------------------------------------------------

def test_answers_have_their_form() -> None:
    world = at(Phase.PROOF)
    body = world.proofs(1)[0]
    assert world.refused(1, replace(body, part=1)) == Refusal.WRONG_ANSWERS
    for data in (body.data[:-1], body.data + bytes(8), body.data[:FEW.answer_bytes]):
        assert world.refused(1, replace(body, data=data)) == Refusal.WRONG_ANSWERS
    assert world.post(1, body).ok
    assert world.refused(1, body) == Refusal.ALREADY_POSTED


def test_a_stranger_to_the_attempt_answers_nothing() -> None:
    world = at(Phase.PROOF, absent=(4,))
    assert 4 not in world.round.attempt.present
    assert world.refused(4, world.proofs(4)[0]) == Refusal.NOT_IN_PHASE


@pytest.mark.slow
def test_long_answers_come_in_parts_that_say_the_same() -> None:
    world = at(Phase.PROOF, size=31)
    first, second = world.proofs(1)
    assert len(second.data) == FEW.answer_bytes
    assert world.post(1, second).ok and 1 not in world.phase.posted
    assert world.refused(1, second) == Refusal.ALREADY_POSTED
    assert world.refused(1, replace(first, sum_ok=bodies.SumCheck.WRONG)) == Refusal.ANSWERS_DIFFER
    assert world.refused(1, replace(first, part=2)) == Refusal.WRONG_ANSWERS
    assert world.post(1, first).ok and 1 in world.phase.posted
    assert world.finish_round().outcome == Outcome.OK and stored(world) == 0


def test_the_end_of_the_proofs_is_the_one_unmask() -> None:
    world = at(Phase.PROOF)
    assert not world.round.is_unmasked
    for member in (1, 2, 3):
        assert world.post(member, world.proofs(member)[0]).ok
        assert not world.round.is_unmasked
    assert world.post(4, world.proofs(4)[0]).ok
    assert world.round.is_unmasked and world.phase.kind == Phase.REVEAL
    assert get_answers(world.state, *world.place(), world.members[0], 0) is not None
    assert world.finish_round().outcome == Outcome.OK and stored(world) == 0


def test_before_it_nothing_is_opened() -> None:
    world = at(Phase.COIN)
    reveal = bodies.Reveal(*world.place(), bytes(32), (), (), bytes(8 * OPENED))
    for phase in (Phase.COIN, Phase.SHARE, Phase.PROOF):
        world.go_to(phase)
        assert world.refused(1, reveal) == Refusal.PHASE_CLOSED


def test_a_silent_holder_is_absent_and_the_rest_suffice() -> None:
    world = at(Phase.PROOF)
    world.go_without(3)
    assert world.phase.kind == Phase.REVEAL and world.round.absent_members == {3}
    assert world.finish_round().counted == (1, 2, 3, 4)


def test_a_false_statement_bars_and_names() -> None:
    world = at(Phase.PROOF, liars={2})
    world.go()
    void = world.round.voids[0]
    assert (void.phase, void.reason, void.dropped) == (Phase.PROOF, NOT_PROVEN, (2,))
    assert world.round.faulty == (2,) and not world.round.is_unmasked and stored(world) == 0
    report = world.finish_round()
    assert report.counted == (1, 3, 4) and report.faulty == (2,) and report.barred == (2,)


def test_answers_that_do_not_decode_bar_and_do_not_name() -> None:
    world = at(Phase.PROOF, cut_off={(2, 1), (2, 3)})
    world.go()
    assert world.round.voids[0].dropped == (2,) and world.round.faulty == ()
    assert world.finish_round().counted == (1, 3, 4)


def test_a_false_statement_that_does_not_decode_is_not_named() -> None:
    world = at(Phase.PROOF, liars={2}, garbled={(2, 2), (2, 4)})
    world.go()
    assert world.round.voids[0].dropped == (2,) and world.round.faulty == ()


def test_f_lying_holders_change_nothing() -> None:
    world = at(Phase.PROOF, garbled={(dealer, 4) for dealer in (1, 2, 3, 4)})
    world.go()
    assert world.round.is_unmasked


def test_too_few_answers_are_nobodys_proof_failing() -> None:
    world = at(Phase.PROOF, cut_off={(dealer, 4) for dealer in (1, 2, 3, 4)})
    world.go_without(3)
    void = world.round.voids[0]
    assert void.reason == FEW_ANSWERS and void.dropped == (3,) and world.round.barred == ()


def test_nobody_answers_in_time() -> None:
    world = at(Phase.PROOF)
    world.expire()
    report = world.report(1)
    assert report.reason.startswith(FEW_ANSWERS) and not report.is_unmasked and not report.faulty
    assert [absence.member for absence in report.absent] == [1, 2, 3, 4]


def test_what_nobody_answered_is_undecided() -> None:
    """Answers to many dealers come in parts, and one of the parts may come from nobody."""
    assert judge_dealers([], 2, 31) == (Judged(Verdict.UNDECIDED),) * 2


@pytest.mark.parametrize("members", [4, 31, 32, 127, 128])
def test_every_repetition_must_hold(members: int) -> None:
    """How many there are follows from the members; an answer of another length is none."""
    strength = strength_of(members)
    size = strength.answer_bytes // f.ELEMENT_BYTES
    needed = members - (members - 1) // 3
    for repetition in (None, *range(strength.repetitions)):
        told = np.zeros(size, f.FIELD)
        if repetition is not None:
            told[(repetition + 1) * size // strength.repetitions - 2] = 1  # the equation does not give zero
        data = f.to_bytes(told)
        answers = [(MemberId(member), data) for member in range(1, needed + 1)]
        verdict = Verdict.PROVEN if repetition is None else Verdict.FALSE
        assert judge_dealers(answers, 1, members) == (Judged(verdict, tuple(member for member, _ in answers)),)
        short = [(member, data[:-8]) for member, _ in answers]
        assert judge_dealers(short, 1, members) == (Judged(Verdict.UNDECIDED),)


@pytest.mark.slow
def test_answers_of_many_members_are_longer_and_in_shorter_parts() -> None:
    world = at(Phase.PROOF, 32)
    first, second = world.proofs(1)
    assert (len(first.data), len(second.data)) == (20 * 1608, 12 * 1608)
    for data in (first.data[: 20 * 1072], first.data[:-1608], first.data[:-8], first.data[:1072]):
        assert world.refused(1, replace(first, data=data)) == Refusal.WRONG_ANSWERS
    assert world.refused(1, replace(first, part=2)) == Refusal.WRONG_ANSWERS
    for body in (first, second):
        assert world.post(1, body).ok


def test_a_wrong_sum_is_found_before_anything_opens() -> None:
    wrong = bodies.SumCheck.WRONG
    world = at(Phase.PROOF, sum_check={1: wrong, 2: wrong})
    world.go()
    assert world.phase.kind == Phase.RECHECK and not world.round.voids
    world.go()  # nobody finds anything
    void = world.round.voids[0]
    assert (void.reason, void.dropped) == (WRONG_SUM, ()) and world.round.faulty == world.round.barred == ()
    assert world.round.attempt.number == 1 and not world.round.is_unmasked


def test_f_members_cannot_call_a_right_sum_wrong() -> None:
    world = at(Phase.PROOF, sum_check={4: bodies.SumCheck.WRONG})
    world.go()
    assert world.round.is_unmasked


def test_a_sum_that_too_few_could_check_is_not_opened() -> None:
    world = at(Phase.PROOF, sum_check={1: bodies.SumCheck.UNKNOWN, 4: bodies.SumCheck.WRONG})
    world.go()
    assert world.round.voids[0].reason == SUM_UNCHECKED


def test_attempts_end() -> None:
    wrong = bodies.SumCheck.WRONG
    world = at(Phase.PROOF, sum_check=dict.fromkeys((1, 2, 3, 4), wrong))
    report = world.finish_round()
    assert report.outcome == Outcome.FAILED and report.attempts == 2 and not report.is_unmasked
    assert report.reason.startswith(WRONG_SUM) and world.life.pin is None


# --- the opening -------------------------------------------------------------------------------------------------

def test_the_summed_sketch_and_weight_are_opened() -> None:
    world = at(Phase.REVEAL, weights={1: 0, 2: 127}, terms=replace(TERMS, weights=Weights.HIDDEN))
    expected = f.to_bytes(world.sums())
    world.go()
    assert world.phase.kind == Phase.RESULT
    assert world.attempt.sum_opened == expected
    assert world.refused(1, world.result(1, weight=147)) == Refusal.WEIGHT_SUM, "hidden weights, and their sum"
    assert world.finish_round().weight == 0


def test_a_lying_holder_does_not_change_the_opening() -> None:
    world = at(Phase.REVEAL, bad_openings={3})
    expected = f.to_bytes(world.sums())
    world.go()
    assert world.attempt.sum_opened == expected


def test_shares_beside_the_proven_ones_do_not_move_the_opening() -> None:
    """Liar 4 gave 3 another share than it proved, twice; 2 is silent, and 4 opens the point that 1 and 3 lead to."""
    world = at(Phase.REVEAL, garbled={(4, 3)}, off={(4, 3)}, silent_witness={3})
    assert world.attempt.openers == (1, 2, 4)
    offset = f.from_integers([12345] * OPENED)
    wrong = {1: f.from_bytes(world.opening(1), OPENED)}
    wrong[3] = f.add(f.from_bytes(world.opening(3), OPENED), offset)  # type: ignore[arg-type]
    slope = f.scale(f.subtract(wrong[3], wrong[1]), f.inverse(2))  # type: ignore[arg-type]
    wrong[4] = f.add(wrong[3], slope)
    for member, share in wrong.items():
        assert world.post(member, replace(world.reveal(member), opening=f.to_bytes(share))).ok  # type: ignore[arg-type]
    assert world.phase.kind == Phase.REVEAL and world.attempt.sum_opened is None
    assert world.post(2, world.reveal(2)).ok
    assert world.report(1).reason == NOT_OPENED


def test_what_is_opened_is_what_was_proven_whoever_else_opens() -> None:
    world = at(Phase.REVEAL, garbled={(4, 3)}, off={(4, 3)}, silent_witness={3}, bad_openings={3})
    expected = f.to_bytes(world.sums())
    world.go()
    assert world.attempt.sum_opened == expected


@pytest.mark.parametrize("garbled", [{(6, 1), (6, 2), (7, 3)}, {(6, 1), (7, 3)}])
def test_too_few_that_could_open_are_found_before_anything_is_unmasked(garbled: set[tuple[int, int]]) -> None:
    world = at(Phase.EXPOSE, size=7, garbled=garbled, off=garbled, silent_witness={1, 2, 3})
    world.expire()
    if len(garbled) == 2:
        assert world.round.is_unmasked and world.attempt.openers == (2, 4, 5, 6, 7)
    else:
        report = world.report(1)
        assert report.voids[0].reason == FEW_ANSWERS and report.barred == report.faulty == () and not report.is_unmasked


def test_openings_have_their_form() -> None:
    world = at(Phase.REVEAL)
    body = world.reveal(1)
    assert world.refused(1, replace(body, opening=b"\xff" * 8 * OPENED)) == Refusal.OPENING_FORM
    for size in (OPENED - 1, OPENED + 1):
        assert world.refused(1, replace(body, opening=bytes(8 * size))) == Refusal.OPENING_FORM
    assert world.refused(1, replace(body, own_b=None)) == Refusal.OWN_B_MISSING
    assert world.post(1, replace(body, opening=None)).ok
    assert world.refused(1, body) == Refusal.ALREADY_POSTED


def test_the_phase_waits_for_shares_of_the_sketch() -> None:
    world = at(Phase.REVEAL)
    for member in (1, 2):
        assert world.post(member, replace(world.reveal(member), opening=None)).ok
    assert world.post(3, world.reveal(3)).ok and world.phase.kind == Phase.REVEAL
    assert world.post(4, world.reveal(4)).ok
    report = world.report(1)
    assert (report.outcome, report.reason, report.is_unmasked) == (Outcome.FAILED, NOT_OPENED, True)
    assert world.life.pin == (1, 2, 3, 4)


def test_a_silent_opener_is_replaced_by_t_shares() -> None:
    world = at(Phase.REVEAL)
    world.go_without(2)
    assert world.phase.kind == Phase.REVEAL2 and world.attempt.sum_opened is not None
    body = world.reveal(1)
    assert world.refused(1, replace(body, opening=world.opening(1))) == Refusal.WRONG_OPENINGS
    assert world.finish_round(2).counted == (1, 2, 3, 4)


def test_public_weights_stay_those_committed() -> None:
    world = at(Phase.RESULT, terms=replace(TERMS, weights=Weights.PUBLIC))
    assert world.finish_round().weight == 40


@pytest.mark.parametrize("weights", [Weights.HIDDEN, Weights.EQUAL])
def test_a_proven_weight_is_not_said(weights: Weights) -> None:
    bound = 1 if weights == Weights.EQUAL else 127
    world = at(Phase.COMMIT, terms=replace(TERMS, weights=weights, weight_bound=bound))
    assert world.refused(1, replace(world.commit(1), weight=1)) == Refusal.WEIGHT_RANGE
    assert world.refused(1, replace(world.commit(1), weight=0, roots=(("weights", bytes(32)),))) == Refusal.NO_SUCH_ROOT
    assert world.post(1, world.commit(1)).ok


# --- masks -------------------------------------------------------------------------------------------------------

def fail_with(world: World, reason: str) -> None:
    world.go_to(Phase.RESULT)
    failed = {"outcome": Outcome.FAILED, "reason": reason, "model_hash": bytes(32), "weight": 0, "metrics": None}
    number = world.round.number
    for member in world.members:
        if world.is_round_open and world.round.number == number:
            assert world.post(member, world.result(member, **failed)).ok


def test_two_rounds_of_wrong_masks_pause_the_study_for_people() -> None:
    world = at(Phase.COIN, terms=replace(TERMS, rounds=9, pause_after_failures=9))
    fail_with(world, MASKS_WRONG)
    assert world.life.status == StudyStatus.RUNNING and world.life.pin == (1, 2, 3, 4)
    fail_with(world, MASKS_WRONG)
    assert world.life.status == StudyStatus.PAUSED and MASKS_WRONG in world.life.reason
    for member in (1, 2, 3):
        assert world.post(member, StudyVote(world.study, StudyAction.RESUME)).ok
    assert world.life.status == StudyStatus.RUNNING


def test_a_round_that_worked_forgets_wrong_masks_and_other_failures_do_not_count() -> None:
    world = at(Phase.COIN, terms=replace(TERMS, rounds=9, pause_after_failures=9))
    fail_with(world, MASKS_WRONG)
    assert world.finish_round().outcome == Outcome.OK
    fail_with(world, MASKS_WRONG)
    fail_with(world, "the merged model leaves its range")
    assert world.life.status == StudyStatus.RUNNING and world.life.coins.mask_failures == 1  # type: ignore[union-attr]


# --- kinds ----------------------------------------------------------------------------------------------

def test_a_study_runs_to_its_end() -> None:
    world = started(terms=replace(TERMS, has_statistics=True))
    kinds = []
    while world.is_round_open:
        kinds.append(world.round.kind)
        assert world.finish_round().outcome == Outcome.OK
    assert kinds == [RoundKind.STATISTICS, RoundKind.TRAINING, RoundKind.TRAINING, RoundKind.CLOSING]
    assert world.life.status == StudyStatus.FINISHED and world.life.coins.opened == 4  # type: ignore[union-attr]
    assert stored(world) == 0
