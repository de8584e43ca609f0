"""Keys, acknowledgements, answers and commitments. Tests named `..._R` hold a rule that closes a known attack."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fednode.crypto import GROUP_ORDER, base_times, point_add, prove_knowledge, scalar_bytes
from fednode.ledger.refusals import Refusal
from fednode.ledger.studies.bodies import Expire, Outcome
from fednode.ledger.sums.records import get_keys, is_point_seen
from fednode.sums import bodies
from fednode.sums.attempt import SumContext, key_proof_context
from fednode.sums.phase import Phase
from tests.ledger.sum_world import at, started
from tests.support.seeds import Stream

IDENTITY = b"\x01" + bytes(31)
SMALL_ORDER = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")


# --- keys --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_dealing_has_exactly_t_commitments(count: int) -> None:
    world = started()
    body = world.keys(1)
    points = (body.a_points * 2)[:count]
    assert world.refused(1, replace(body, a_points=points)) == Refusal.POINT_COUNT
    assert world.refused(1, replace(body, b_points=points)) == Refusal.POINT_COUNT


@pytest.mark.parametrize("point", [IDENTITY, SMALL_ORDER, bytes(32), b"\xff" * 32])
def test_no_commitment_is_a_point_of_small_order_or_none_R(point: bytes) -> None:
    world = started()
    body = world.keys(1)
    for place in range(3):
        a = (*body.a_points[:place], point, *body.a_points[place + 1 :])
        b = (*body.b_points[:place], point, *body.b_points[place + 1 :])
        assert world.refused(1, replace(body, a_points=a)) == Refusal.BAD_POINT
        assert world.refused(1, replace(body, b_points=b)) == Refusal.BAD_POINT


def test_a_part_of_small_order_is_refused_in_key_points_and_means_nothing_elsewhere_R() -> None:
    world = started()
    body = world.keys(1)
    for name in ("a_points", "b_points"):
        points = getattr(body, name)
        twisted = [point_add(point, SMALL_ORDER) for point in points]
        assert world.refused(1, replace(body, **{name: (twisted[0], *points[1:])})) == Refusal.BAD_POINT
    world.post(1, replace(body, a_points=(body.a_points[0], *(point_add(p, SMALL_ORDER) for p in body.a_points[1:]))))


def test_a_key_point_is_never_used_again_R() -> None:
    """Neither by its owner in a later round, nor by anybody else, nor as the other of the two."""
    world = started()
    first = world.keys(1)
    world.finish_round()
    _, number, attempt = world.place()
    dealing = world.dealings[(1, 0, 1)]
    for a, b in ((dealing.a, world.dealing(1).b), (world.dealing(1).a, dealing.b), (dealing.b, dealing.a)):
        proofs = [
            prove_knowledge(
                scalars[0], key_proof_context(SumContext(world.chain_id, world.study, number, attempt), 1, which),
                Stream(which),
            )
            for which, scalars in (("a", a), ("b", b))
        ]
        body = replace(
            world.keys(1), a_points=tuple(map(base_times, a)), b_points=tuple(map(base_times, b)),
            a_proof=proofs[0], b_proof=proofs[1],
        )
        assert world.refused(1, body) == Refusal.POINT_SEEN
    assert all(is_point_seen(world.state, point) for point in (first.a_points[0], first.b_points[0]))
    assert not is_point_seen(world.state, first.a_points[1])


def test_one_point_cannot_serve_as_a_and_b_R() -> None:
    world = started()
    body = world.keys(1)
    assert world.refused(1, replace(body, b_points=body.a_points)) == Refusal.POINT_SEEN


def test_a_copied_dealing_is_refused_because_its_proof_names_another_member() -> None:
    """Otherwise a member could post another's points first, and the owner's would be refused as seen."""
    world = started()
    stolen = replace(world.keys(1), sealed=world.keys(2).sealed)
    assert world.refused(2, stolen) == Refusal.BAD_PROOF
    assert world.post(1, world.keys(1)).ok


@pytest.mark.parametrize("which", ["a_proof", "b_proof"])
def test_both_scalars_must_be_proven(which: str) -> None:
    world = started()
    body = world.keys(1)
    assert world.refused(1, replace(body, **{which: bytes(64)})) == Refusal.BAD_PROOF
    swapped = replace(body, a_proof=body.b_proof, b_proof=body.a_proof)
    assert world.refused(1, swapped) == Refusal.BAD_PROOF


def test_a_proof_of_another_round_or_attempt_is_refused() -> None:
    world = at(Phase.RESULT)
    old = world.keys(1)
    world.finish_round()
    world_two = replace(old, round=2, next_key=world.keys(1).next_key)
    assert world.refused(1, world_two) == Refusal.POINT_SEEN, "and without that rule the proof would not hold"
    context = key_proof_context(SumContext(world.chain_id, world.study, 1, 0), 1, "a")
    assert context != key_proof_context(SumContext(world.chain_id, world.study, 2, 0), 1, "a")
    assert context != key_proof_context(SumContext(world.chain_id, world.study, 1, 1), 1, "a")


def test_shares_are_sealed_to_exactly_the_other_holders() -> None:
    world = started()
    sealed = world.keys(1).sealed
    for wrong in (sealed[1:], (*sealed, (5, b"x")), ((1, b"x"), *sealed)):
        assert world.refused(1, replace(world.keys(1), sealed=tuple(wrong))) == Refusal.WRONG_HOLDERS


def test_one_message_per_member_and_phase_and_only_in_its_phase() -> None:
    world = started()
    assert world.refused(1, bodies.Acknowledge(*world.place())) == Refusal.PHASE_CLOSED
    assert world.refused(1, replace(world.keys(1), round=2)) == Refusal.PHASE_CLOSED
    assert world.refused(1, replace(world.keys(1), attempt=1)) == Refusal.PHASE_CLOSED
    assert world.post(1, world.keys(1)).ok
    assert world.refused(1, world.keys(1)) == Refusal.ALREADY_POSTED
    keys = {member: world.keys(member) for member in world.members}
    world.go()
    assert world.phase.kind == Phase.ACK
    assert world.refused(2, keys[2]) == Refusal.PHASE_CLOSED


def test_messages_of_a_block_count_before_its_votes() -> None:
    world = started()
    world.go(4)
    pending = Expire(*world.place(), world.phase.number)
    receipts = world.block((1, pending), (2, pending), (3, pending), (4, world.keys(4)))
    assert all(receipt.ok for receipt in receipts)
    assert world.phase.kind == Phase.ACK and world.round.absent == ()
    assert world.round.spans[0].is_expired is False


def test_a_vote_names_its_phase_and_counts_once() -> None:
    world = started()
    expire = Expire(*world.place(), world.phase.number)
    assert world.refused(1, replace(expire, phase_no=expire.phase_no + 1)) == Refusal.PHASE_CLOSED
    assert world.post(1, expire).ok
    assert world.refused(1, expire) == Refusal.ALREADY_VOTED
    world.block((2, expire))
    assert world.phase.kind == Phase.KEYS and world.phase.expire_votes == (1, 2)


def test_members_without_keys_are_absent_and_hold_no_shares() -> None:
    world = started(7)
    world.go_without(6, 7)
    assert [(a.member, a.phase, a.attempt) for a in world.round.absent] == [(6, Phase.KEYS, 0), (7, Phase.KEYS, 0)]
    assert world.phase.expected == (1, 2, 3, 4, 5)
    assert world.refused(7, bodies.Acknowledge(*world.place())) == Refusal.NOT_IN_PHASE
    assert {e.member for e in world.life.ready if not e.is_ready} == {6, 7}


def test_the_bodies_of_keys_are_forgotten_when_the_round_closes() -> None:
    world = at(Phase.COMMIT)
    assert get_keys(world.state, world.study, 1, 0, 2) is not None
    world.finish_round()
    assert all(get_keys(world.state, world.study, 1, 0, member) is None for member in world.members)


# --- presence ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("phase", [Phase.KEYS, Phase.ACK, Phase.COMMIT])
@pytest.mark.parametrize(("size", "away", "goes_on"), [(4, 1, True), (4, 2, False), (7, 2, True), (7, 3, False),
                                                       (3, 1, False), (5, 1, True), (5, 2, False)])
def test_fewer_than_n_minus_f_or_three_members_open_nothing_R(
    size: int, away: int, goes_on: bool, phase: Phase
) -> None:
    world = started(size)
    absent = world.members[-away:]
    world.go_to(phase)
    number = world.phase.number
    world.go(*absent)
    assert world.phase.number == number
    world.expire()
    assert world.is_round_open == goes_on
    if not goes_on:
        report = world.report(1)
        assert report.outcome == Outcome.FAILED and not report.is_unmasked
        assert report.voids[0].dropped == tuple(absent)
        assert {a.member for a in report.absent} == set(absent)


# --- complaints --------------------------------------------------------------------------------------------------

def test_complaints_name_dealers_and_not_oneself() -> None:
    world = at(Phase.ACK)
    assert world.refused(1, bodies.Acknowledge(*world.place(), (1,))) == Refusal.UNKNOWN_DEALER
    assert world.refused(1, bodies.Acknowledge(*world.place(), (5,))) == Refusal.UNKNOWN_DEALER


def test_a_dealer_answers_up_to_f_complaints_by_publishing_those_shares() -> None:
    world = at(Phase.ANSWER, 7, wrong_shares={(3, 1), (3, 6)})
    assert world.phase.expected == (3,)
    assert world.refused(2, world.answer(3)) == Refusal.NOT_IN_PHASE
    answer = world.answer(3)
    assert [holder for holder, _, _ in answer.shares] == [1, 6]
    for shares in (answer.shares[:1], (*answer.shares, (7, answer.shares[0][1], answer.shares[0][2]))):
        assert world.refused(3, replace(answer, shares=shares)) == Refusal.WRONG_HOLDERS
    holder, a, b = answer.shares[0]
    for bad in ((holder, b, b), (holder, a, a), (holder, bytes(32), b)):
        assert world.refused(3, replace(answer, shares=(bad, answer.shares[1]))) == Refusal.WRONG_SHARE
    above = scalar_bytes(0)[:-1] + b"\xff"
    assert world.refused(3, replace(answer, shares=((holder, above, b), answer.shares[1]))) == Refusal.WRONG_SHARE
    assert world.post(3, answer).ok
    assert world.phase.kind == Phase.COMMIT and world.round.attempt.qualified == tuple(range(1, 8))
    assert world.round.attempt.answers == ((3, answer.shares),)


def test_a_scalar_not_below_the_group_order_is_no_share() -> None:
    world = at(Phase.ANSWER, 4, wrong_shares={(3, 1)})
    (holder, a, b), *_ = world.answer(3).shares
    twin = int.from_bytes(a, "little") + GROUP_ORDER
    body = bodies.Answer(*world.place(), ((holder, twin.to_bytes(32, "little"), b),))
    assert world.refused(3, body) == Refusal.WRONG_SHARE


def test_an_unanswered_dealer_is_out_of_q_without_blame_and_stays_a_holder() -> None:
    world = at(Phase.ANSWER, 4, wrong_shares={(3, 1)})
    world.expire()
    attempt = world.round.attempt
    assert attempt.qualified == (1, 2, 4) and attempt.present == (1, 2, 3, 4)
    assert [(a.member, a.phase) for a in world.round.absent] == [(3, Phase.ANSWER)]
    assert world.refused(3, world.commit(3)) == Refusal.NOT_IN_PHASE
    report = world.finish_round()
    assert report.outcome == Outcome.OK and report.counted == (1, 2, 4) and report.faulty == ()


def test_a_dealer_with_more_than_f_complaints_may_not_answer_R() -> None:
    """f published shares and those of f liars stay below T; one more could open its a and b."""
    world = at(Phase.ACK, 4, wrong_shares={(3, 1), (3, 2)})
    world.go()
    assert world.phase.kind == Phase.COMMIT, "there is nobody left who must answer"
    assert world.round.attempt.qualified == (1, 2, 4) and world.round.barred == (3,)
    assert world.refused(3, world.answer(3)) == Refusal.PHASE_CLOSED
    both = at(Phase.ANSWER, 7, wrong_shares={(3, 1), (3, 2), (3, 4), (5, 1)})
    assert both.phase.expected == (5,)
    assert both.refused(3, both.answer(3)) == Refusal.NOT_IN_PHASE


def test_too_few_qualified_dealers_open_nothing_R() -> None:
    world = at(Phase.ACK, 4, wrong_shares={(d, h) for d in (3, 4) for h in (1, 2)})
    world.go()
    report = world.report(1)
    assert report.outcome == Outcome.FAILED and report.barred == (3, 4) and report.faulty == ()
    assert "complaints" in report.reason


def test_nobody_has_to_answer_in_an_attempt_that_is_void_anyway() -> None:
    world = at(Phase.ACK, 4, wrong_shares={(3, 1)})
    world.go_without(2, 4)
    assert world.report(1).phases[-1].phase == Phase.ACK, "published shares would be opened for nothing"


def test_complaints_of_members_without_acknowledgement_do_not_exist() -> None:
    world = at(Phase.ACK, 4, wrong_shares={(3, 4)})
    world.go_without(4)
    assert world.phase.kind == Phase.COMMIT and world.round.attempt.qualified == (1, 2, 3)


# --- commit ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("weight", "is_ok"), [(0, False), (1, True), (127, True), (128, False)])
def test_weights_are_bounded(weight: int, is_ok: bool) -> None:
    world = at(Phase.COMMIT)
    assert world.post(1, world.commit(1, weight)).ok == is_ok


def test_a_member_commits_once_and_cannot_take_it_back() -> None:
    world = at(Phase.COMMIT)
    assert world.post(1, world.commit(1)).ok
    assert world.refused(1, replace(world.commit(1), root=bytes(32))) == Refusal.ALREADY_POSTED


def test_chunks_of_members_that_did_not_commit_go_to_the_next_that_did() -> None:
    world = at(Phase.COMMIT, 7)
    world.go_without(3, 7)
    chunks = world.round.attempt.chunks
    assert [chunk.owner for chunk in chunks] == [1, 2, 4, 4, 5, 6, 1]
    assert world.phase.kind == Phase.ROSTER and world.phase.expected == (1, 2, 4, 5, 6)
    assert {a.member for a in world.round.absent} == {3, 7}
