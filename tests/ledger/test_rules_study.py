"""A study's life: proposals, votes, joining, pauses, the stop rule, and what every block may hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.errors import Rejected
from fednode.ids import Height, MemberId
from fednode.ledger import transactions as tx
from fednode.ledger.bodies import Memo
from fednode.ledger.members.reading import get_nonce
from fednode.ledger.refusals import Refusal, describe_refusal
from fednode.ledger.rules import apply_block, is_tx_acceptable, pick_transactions
from fednode.ledger.studies.bodies import (
    SHARE_UNIT,
    Expire,
    Metrics,
    Outcome,
    Ready,
    StudyAction,
    StudyBegin,
    StudyCreate,
    StudyPause,
    StudyVote,
    TrainingEnd,
    compute_study_id,
)
from fednode.ledger.studies.records import StudyStatus, get_round, get_spec, get_studies, get_study
from fednode.ledger.studies.rules import MAX_STUDIES, MAX_UNDECIDED
from fednode.ledger.sums.phases import expects, is_phase_message, pending_phase
from fednode.ledger.sums.records import RoundKind
from fednode.sums import bodies
from fednode.sums.phase import Phase
from tests.ledger.sum_world import World, at, started
from tests.ledger.world import SPEC, TERMS, expire_vote
from tests.support.seeds import seed_of

RESUME, STOP = StudyAction.RESUME, StudyAction.STOP
APPROVE, REJECT = StudyAction.APPROVE, StudyAction.REJECT


def vote(world: World, action: StudyAction, *members: int, study: bytes | None = None) -> None:
    for member in members:
        assert world.post(member, StudyVote(study or world.study, action)).ok


# --- what a block may hold ---------------------------------------------------------------------------------------

def test_apply_block_changes_none_of_its_arguments() -> None:
    world = World()
    before, root = world.state, world.state.root
    world.ready_all()
    assert before.root == root and get_nonce(before, 1) == 0


def test_a_refused_transaction_leaves_a_receipt_and_changes_only_the_nonce() -> None:
    world = World()
    transaction = world.sign(1, StudyVote(world.study, APPROVE))
    applied = apply_block(world.state, world.next_time(), [transaction])
    (receipt,) = applied.receipts
    assert (receipt.txid, receipt.ok, receipt.reason) == (transaction.txid, False, Refusal.STUDY_STATUS)
    assert [key for key, _ in applied.changes] == [b"nonce/\x00\x01"]
    assert "life" in describe_refusal(receipt.reason) and describe_refusal("other") == "other"


@pytest.mark.parametrize(("nonces", "is_valid"), [((5, 6), True), ((5, 900), True), ((5, 5), False), ((5, 4), False)])
def test_nonces_must_grow_but_may_skip(nonces: tuple[int, int], is_valid: bool) -> None:
    world = World()
    block = [world.sign(1, world.ready(1, term), nonce) for term, nonce in enumerate(nonces)]
    if is_valid:
        assert get_nonce(apply_block(world.state, world.next_time(), block).state, 1) == nonces[1]
        return
    with pytest.raises(Rejected, match="nonce"):
        apply_block(world.state, world.next_time(), block)


@pytest.mark.parametrize(("valid_until", "is_valid"), [(0, False), (1, True), (10_001, True), (10_002, False)])
def test_a_transaction_lives_for_a_bounded_number_of_blocks(valid_until: int, is_valid: bool) -> None:
    world = World()
    transaction = tx.sign_transaction(world.signers[1], world.chain_id, 1, 1, Height(valid_until), world.ready(1))
    assert is_tx_acceptable(world.state, world.next_time(), transaction).ok == is_valid
    if not is_valid:
        with pytest.raises(Rejected, match="valid until"):
            apply_block(world.state, world.next_time(), [transaction])


def test_a_stranger_cannot_be_in_a_block() -> None:
    world = World()
    transaction = replace(world.sign(1, world.ready(1)), sender=5)
    with pytest.raises(Rejected, match="stranger"):
        apply_block(world.state, world.next_time(), [transaction])


def test_a_memo_is_recorded_and_changes_nothing_but_the_nonce() -> None:
    world = World()
    assert world.post(2, Memo("audit of March done")).ok
    assert [key for key, _ in world.last.changes] == [b"nonce/\x00\x02"]


def test_a_leader_picks_what_is_acceptable_in_order_and_in_size() -> None:
    world = World()
    good, same, other = world.sign(1, world.ready(1)), world.sign(1, world.ready(1)), world.sign(2, world.ready(2))
    stale = world.sign(3, world.ready(3), nonce=0)
    picked = pick_transactions(world.state, world.next_time(), [good, same, stale, other], 10_000)
    assert picked == (good, other)
    assert pick_transactions(world.state, world.next_time(), [good, other], len(good.data)) == (good,)
    assert apply_block(world.state, world.next_time(), picked).state.root != world.state.root


# --- proposals and votes -----------------------------------------------------------------------------------------

def propose(world: World, **terms: object) -> bytes:
    body = StudyCreate(replace(TERMS, rounds=9, **terms), b"another")  # type: ignore[arg-type]
    assert world.post(1, body).ok
    return compute_study_id(body.terms, body.spec)


def test_q_approvals_let_a_study_wait_for_members() -> None:
    world = World()
    study = propose(world)
    assert get_studies(world.state) == (world.study, study) and get_spec(world.state, study) == b"another"
    assert get_study(world.state, study).next_round == 1
    vote(world, APPROVE, 1, 2, study=study)
    assert get_study(world.state, study).status == StudyStatus.CREATED
    assert world.refused(3, Ready(study, seed_of(1), seed_of(2))) == Refusal.STUDY_STATUS
    vote(world, APPROVE, 3, study=study)
    assert get_study(world.state, study).status == StudyStatus.WAITING
    assert world.refused(4, StudyVote(study, REJECT)) == Refusal.STUDY_STATUS


def test_so_many_rejections_that_q_cannot_be_reached_reject() -> None:
    world = World()
    study = propose(world)
    vote(world, REJECT, 1, study=study)
    assert get_study(world.state, study).status == StudyStatus.CREATED
    vote(world, REJECT, 2, study=study)
    assert get_study(world.state, study).status == StudyStatus.REJECTED
    assert world.refused(3, StudyVote(study, STOP)) == Refusal.STUDY_STATUS


def test_a_member_has_one_vote_and_its_last_word_counts() -> None:
    world = World()
    study = propose(world)
    vote(world, APPROVE, 1, study=study)
    assert world.refused(1, StudyVote(study, APPROVE)) == Refusal.ALREADY_VOTED
    vote(world, REJECT, 1, study=study)
    record = get_study(world.state, study)
    assert (record.approvals, record.rejects) == ((), (1,))


def test_a_study_is_created_once() -> None:
    world = World()
    assert world.refused(1, StudyCreate(TERMS, SPEC)) == Refusal.STUDY_EXISTS
    assert world.refused(1, StudyVote(bytes(32), STOP)) == Refusal.NO_SUCH_STUDY


def test_with_two_members_there_is_no_study() -> None:
    assert World(size=2).refused(1, StudyCreate(TERMS, SPEC)) == Refusal.TOO_FEW_MEMBERS


def test_the_number_of_studies_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_STUDIES == 1000
    monkeypatch.setattr("fednode.ledger.studies.rules.MAX_STUDIES", 2)
    world = World()
    propose(world)
    assert world.refused(1, StudyCreate(TERMS, b"one too many")) == Refusal.TOO_MANY_STUDIES


def test_one_member_cannot_fill_the_ledger_with_proposals() -> None:
    """Every node looks at every open study after every block: a thousand of them would slow all members down."""
    world = World()
    for number in range(MAX_UNDECIDED):
        assert world.post(2, StudyCreate(TERMS, b"proposal %d" % number)).ok
    assert world.refused(2, StudyCreate(TERMS, b"one too many")) == Refusal.TOO_MANY_UNDECIDED
    assert world.post(3, StudyCreate(TERMS, b"of another member")).ok
    first = compute_study_id(TERMS, b"proposal 0")
    for member in (1, 3):
        assert world.post(member, StudyVote(first, StudyAction.REJECT)).ok
    assert world.post(2, StudyCreate(TERMS, b"one was rejected")).ok


# --- joining -----------------------------------------------------------------------------------------------------

def test_the_first_round_waits_for_every_founder() -> None:
    world = World()
    world.ready_all(1, 2)
    world.ready_all(3)
    assert (world.life.status, pending_phase(world.state, world.study)) == (StudyStatus.WAITING, None)
    assert world.life.beginning is not None and world.life.beginning.since_ms == world.genesis.time_ms
    assert world.refused(1, Expire(world.study, 1, 0, 1)) == Refusal.PHASE_CLOSED, "no time makes it begin"
    world.ready_all(4)
    assert world.round.expected == (1, 2, 3, 4) and world.life.status == StudyStatus.RUNNING
    assert (world.life.beginning, world.life.hospitals) == (None, (1, 2, 3, 4))
    assert world.finish_round().not_ready == ()


def test_q_votes_that_name_it_begin_without_a_hospital() -> None:
    world = World()
    world.ready_all(1, 2, 3)
    without_4 = StudyBegin(world.study, MemberId(4))
    world.begin_without(4, voters=(1, 2))
    assert world.refused(1, without_4) == Refusal.ALREADY_VOTED
    assert world.refused(3, StudyBegin(world.study, MemberId(9))) == Refusal.NOT_AWAITED
    assert world.refused(3, StudyBegin(world.study, MemberId(2))) == Refusal.NOTHING_CHANGES
    assert not world.is_round_open
    assert world.post(4, without_4).ok, "it may say so itself"
    assert world.round.expected == (1, 2, 3) and world.round.attempt.holders == (1, 2, 3)
    assert world.refused(3, without_4) == Refusal.STUDY_STATUS
    assert world.finish_round().not_ready == (4,)


def test_votes_for_two_hospitals_are_not_votes_for_one() -> None:
    world = World(7)
    world.ready_all(1, 2, 3, 4, 5)
    world.begin_without(6, voters=(1, 2, 3))
    world.begin_without(7, voters=(4, 5, 6))
    assert not world.is_round_open
    world.begin_without(6, voters=(4, 5))
    assert not world.is_round_open, "nobody gave up number 7"
    world.begin_without(7, voters=(1, 2))
    assert world.round.expected == (1, 2, 3, 4, 5)
    assert world.finish_round().not_ready == (6, 7)


def test_who_was_voted_out_and_comes_in_time_takes_part() -> None:
    world = World(5)
    world.ready_all(1, 2, 3)
    world.begin_without(4)
    world.ready_all(4)
    assert not world.is_round_open, "number 5 is still waited for"
    world.begin_without(5)
    assert world.round.expected == (1, 2, 3, 4)


def test_votes_never_open_a_round_of_too_few() -> None:
    world = World()
    world.ready_all(1, 2)
    world.begin_without(3, 4)
    assert world.life.status == StudyStatus.WAITING and not world.is_round_open
    world.ready_all(3)
    assert world.round.expected == (1, 2, 3)


def test_a_later_study_waits_for_all_that_approved_also_late() -> None:
    world = World(5)
    study = propose(world)
    assert world.refused(1, StudyBegin(study, MemberId(2))) == Refusal.STUDY_STATUS
    vote(world, APPROVE, 1, 2, 3, 5, study=study)
    record = get_study(world.state, study)
    assert (record.hospitals, record.beginning.since_height) == ((1, 2, 3, 5), world.at.height)
    vote(world, APPROVE, 4, study=study)
    assert world.refused(4, StudyVote(study, APPROVE)) == Refusal.ALREADY_VOTED
    assert get_study(world.state, study).hospitals == (1, 2, 3, 4, 5)
    for member in (1, 2, 3, 4):
        assert world.post(member, replace(world.ready(member), study=study)).ok
    assert get_round(world.state, study) is None
    assert world.post(5, replace(world.ready(5), study=study)).ok
    assert get_round(world.state, study).expected == (1, 2, 3, 4, 5)


def test_a_later_study_does_not_wait_for_who_has_not_approved() -> None:
    world = World()
    study = propose(world)
    vote(world, APPROVE, 1, 2, 3, study=study)
    assert world.refused(1, StudyBegin(study, MemberId(4))) == Refusal.NOT_AWAITED
    for member in (1, 2, 3):
        assert world.post(member, replace(world.ready(member), study=study)).ok
    assert get_round(world.state, study).expected == (1, 2, 3)
    assert world.refused(4, StudyVote(study, APPROVE)) == Refusal.STUDY_STATUS, "it has begun"


def test_later_rounds_wait_for_a_phase_only() -> None:
    world = started(terms=replace(TERMS, pause_after_failures=9))
    world.finish_round(3, 4)
    world.ready_all(3)
    pending = pending_phase(world.state, world.study)
    assert pending is not None and pending.record is None
    assert (pending.phase.kind, pending.phase.timeout_ms) == (Phase.JOIN, TERMS.phase_timeout_ms)
    assert is_phase_message(pending, world.ready(4)) and not is_phase_message(pending, expire_vote(pending))
    world.expire(1, 2)
    assert world.refused(1, expire_vote(pending)) == Refusal.ALREADY_VOTED
    assert world.refused(3, replace(expire_vote(pending), phase_no=pending.phase.number + 1)) == Refusal.PHASE_CLOSED
    world.expire(4)
    assert world.round.expected == (1, 2, 3)
    assert world.finish_round().not_ready == (4,)


def test_ready_needs_a_key_something_can_be_sealed_to() -> None:
    world = World()
    assert world.refused(1, replace(world.ready(1), seal_key=bytes(32))) == Refusal.BAD_SEAL_KEY
    world.ready_all(1)
    assert world.refused(1, world.ready(1)) == Refusal.ALREADY_READY
    assert world.post(1, world.ready(1, term=1)).ok


def test_a_ready_in_a_round_counts_from_the_next_and_changes_no_key_of_this_one() -> None:
    world = World()
    world.ready_all(1, 2, 3)
    world.begin_without(4)
    keys = world.round.seal_keys
    world.ready_all(4)
    assert world.post(1, world.ready(1, term=2)).ok
    assert world.round.seal_keys == keys and world.round.expected == (1, 2, 3)
    assert world.refused(4, world.keys(1)) == Refusal.NOT_IN_PHASE
    assert world.finish_round().counted == (1, 2, 3)
    assert world.round.expected == (1, 2, 3, 4)
    assert dict(world.round.seal_keys)[1] == world.ready(1, term=2).seal_key


def test_the_keys_of_a_round_name_those_of_the_next() -> None:
    world = started(terms=replace(TERMS, rounds=5))
    first = dict(world.round.seal_keys)
    assert world.refused(1, replace(world.keys(1), next_key=bytes(32))) == Refusal.BAD_SEAL_KEY
    assert world.refused(1, replace(world.keys(1), next_key=first[1])) == Refusal.BAD_SEAL_KEY
    posted = {member: world.keys(member).next_key for member in (1, 2, 3)}
    world.finish_round(4)
    assert dict(world.round.seal_keys) == posted and not set(posted.values()) & set(first.values())
    assert not next(entry for entry in world.life.ready if entry.member == 4).is_ready


def test_an_absent_member_rejoins_with_a_new_ready() -> None:
    world = started(terms=replace(TERMS, rounds=5))
    report = world.finish_round(4)
    assert [a.member for a in report.absent] == [4] and report.outcome == Outcome.OK
    assert world.round.expected == (1, 2, 3)
    assert world.post(4, world.ready(4)).ok, "the same key, but it was absent since"
    world.finish_round()
    assert world.round.expected == (1, 2, 3, 4)


def test_too_few_ready_members_send_the_study_back_to_waiting_and_are_named() -> None:
    world = started(terms=replace(TERMS, pause_after_failures=9))
    world.finish_round(3, 4)
    assert (world.life.status, world.is_round_open) == (StudyStatus.WAITING, False)
    assert "missing: 3, 4" in world.life.reason
    world.ready_all(3)
    assert world.phase.kind == Phase.JOIN
    world.ready_all(4)
    assert world.round.expected == (1, 2, 3, 4) and world.round.number == 2


# --- pause, resume, stop -----------------------------------------------------------------------------------------

def test_one_member_pauses_at_the_boundary_and_q_resume() -> None:
    world = started()
    assert world.post(2, StudyPause(world.study, "look at site 3")).ok
    assert world.life.status == StudyStatus.PAUSING and world.is_round_open
    assert world.refused(3, StudyPause(world.study)) == Refusal.STUDY_STATUS
    assert world.finish_round().outcome == Outcome.OK
    assert world.life.status == StudyStatus.PAUSED and not world.is_round_open
    assert world.life.reason == "paused by member 2: look at site 3"
    vote(world, RESUME, 1, 3)
    assert not world.is_round_open
    vote(world, RESUME, 4)
    assert world.life.status == StudyStatus.RUNNING and world.round.number == 2


def test_resume_while_the_round_still_runs_takes_the_pause_back() -> None:
    world = started()
    world.post(2, StudyPause(world.study))
    vote(world, RESUME, 1, 2, 3)
    assert world.life.status == StudyStatus.RUNNING
    world.finish_round()
    assert world.is_round_open


def test_a_pause_before_the_first_round_takes_nobody_out() -> None:
    world = World()
    world.ready_all(1, 2, 3)
    world.post(1, StudyPause(world.study))
    assert world.life.status == StudyStatus.PAUSED
    world.begin_without(4, voters=(1, 2))
    vote(world, RESUME, 1, 2, 3)
    assert world.life.status == StudyStatus.WAITING and not world.is_round_open, "it still waits for number 4"
    world.begin_without(4, voters=(3,))
    assert world.round.expected == (1, 2, 3)


def test_q_stop_votes_end_a_study_at_the_boundary_or_at_once() -> None:
    world = started()
    vote(world, STOP, 1, 2, 3)
    assert world.life.status == StudyStatus.STOPPING
    assert world.refused(4, StudyVote(world.study, STOP)) == Refusal.STUDY_STATUS
    world.finish_round()
    assert world.life.status == StudyStatus.STOPPED and world.life.rounds_done == 1
    assert world.refused(1, world.ready(1, term=1)) == Refusal.STUDY_STATUS
    idle = World()
    vote(idle, STOP, 1, 2, 3)
    assert idle.life.status == StudyStatus.STOPPED


def test_resume_withdraws_a_stop_vote() -> None:
    world = started()
    vote(world, STOP, 1, 2)
    world.post(3, StudyPause(world.study))
    vote(world, RESUME, 1)
    assert (world.life.stop_votes, world.life.resume_votes) == ((2,), (1,))


def test_resume_is_for_paused_studies() -> None:
    world = World()
    assert world.refused(1, StudyVote(world.study, RESUME)) == Refusal.STUDY_STATUS


def test_failures_in_a_row_pause_the_study_and_say_why() -> None:
    world = started(terms=replace(TERMS, pause_after_failures=2))
    for number in (1, 2):
        assert world.finish_round(3, 4).outcome == Outcome.FAILED
        if number == 1:
            world.ready_all(3, 4)
    assert world.life.status == StudyStatus.PAUSED
    assert "2 rounds failed in a row" in world.life.reason and "too few members posted keys" in world.life.reason
    world.ready_all(3, 4)
    vote(world, RESUME, 1, 2, 3)
    assert world.is_round_open and world.life.failures_in_row == 0


# --- the course of rounds ----------------------------------------------------------------------------------------

def test_rounds_follow_each_other_in_the_same_block_up_to_a_closing_round() -> None:
    world = started(terms=replace(TERMS, rounds=2, has_statistics=True))
    kinds, models = [], [bytes(32)]
    while world.is_round_open:
        report = world.finish_round()
        kinds.append((report.number, report.kind))
        assert report.start_model == models[-1]
        models.append(report.model_hash)
        if world.is_round_open:
            assert world.round.opened_height == report.closed_height == world.at.height
    expected = [RoundKind.STATISTICS, RoundKind.TRAINING, RoundKind.TRAINING, RoundKind.CLOSING]
    assert kinds == list(enumerate(expected))
    assert world.life.status == StudyStatus.FINISHED and world.life.rounds_done == 2
    assert models[3] == models[4] == world.life.model_hash and len(set(models)) == 4
    assert get_round(world.state, world.study) is None


def test_a_failed_round_leaves_the_model_and_takes_the_next_number() -> None:
    world = started()
    first = world.finish_round()
    world.go_to(Phase.RESULT)
    failed = world.round.number
    for member in (1, 2, 3):
        body = world.result(
            member, outcome=Outcome.FAILED, reason="out of bounds", model_hash=bytes(32), weight=0, metrics=None
        )
        assert world.post(member, body).ok
    report = world.report(failed)
    assert (report.outcome, report.reason) == (Outcome.FAILED, "out of bounds")
    assert report.model_hash == first.model_hash == world.life.model_hash
    assert (world.round.number, world.life.rounds_done, world.round.kind) == (3, 1, RoundKind.TRAINING)


@pytest.mark.parametrize(("size", "right", "target", "rounds"), [
    (4, 4 * 9, 8600, 1),    # (3.6 - 1) / 3 = 0.8667
    (4, 4 * 9, 8667, 5),
    (4, 40, 10_000, 1),     # nobody can have lied it up
    (4, 37, 9000, 1),       # a liar that said 1 among three of 0.9
    (4, 36, 9000, 5),       # a liar that said 1 among three of 0.8667
    (7, 7 * 9, 8600, 1),
    (7, 7 * 9, 8601, 5),    # (6.3 - 2) / 5 = 0.86
    (4, 4 * 9, 0, 5),
])
def test_training_ends_at_a_target_that_holds_whatever_f_members_claim(
    size: int, right: int, target: int, rounds: int
) -> None:
    world = World(size=size, terms=replace(TERMS, rounds=5, target_accuracy_permyriad=target))
    world.metrics = Metrics(size, -(-right * SHARE_UNIT // 10), size, 0)
    world.ready_all()
    while world.is_round_open:
        world.finish_round()
    assert world.life.rounds_done == rounds and world.life.status == StudyStatus.FINISHED
    wanted = TrainingEnd.TARGET if rounds == 1 else TrainingEnd.ROUNDS
    assert (world.life.training_end, world.life.reason) == (wanted, wanted.reason)


@given(st.integers(1, 12), st.integers(0, 4), st.data())
def test_a_target_that_holds_without_f_voices_was_reached_by_the_others(
    voices: int, liars: int, data: st.DataObject
) -> None:
    """Whatever honest hospitals measured and liars claimed: the rule never says more than the honest ones alone do."""
    liars = min(liars, voices - 1)
    shares = data.draw(st.lists(st.integers(0, SHARE_UNIT), min_size=voices, max_size=voices))
    target = data.draw(st.integers(1, 10_000))
    honest = shares[liars:]
    if Metrics(voices, sum(shares), voices, 0).holds_without(liars, target):
        assert 10_000 * sum(honest) >= target * SHARE_UNIT * len(honest)
    if not liars and 10_000 * sum(honest) >= target * SHARE_UNIT * len(honest):
        assert Metrics(voices, sum(shares), voices, 0).holds_without(0, target)


def test_training_ends_when_a_quorum_wishes_it_and_a_wish_stands_until_the_next_word() -> None:
    world = World(terms=replace(TERMS, rounds=20))
    world.metrics = None
    world.ready_all()
    for wishes, known in (({1, 2}, (1, 2)), ({1, 4}, (1,)), (set(), ()), ({2, 3}, (2, 3))):  # 4 is always too late
        world.wishes = wishes
        world.finish_round()
        assert world.life.stop_wishes == known and not world.life.training_end
    world.wishes = {1, 2, 3}
    world.finish_round()
    assert world.life.training_end == TrainingEnd.WISHES and world.round.kind == RoundKind.CLOSING
    world.finish_round()
    assert world.life.reason == TrainingEnd.WISHES.reason and world.life.rounds_done == 5


def test_wishes_do_not_divide_the_votes_on_a_result() -> None:
    world = started(terms=replace(TERMS, rounds=20))
    world.wishes = {1, 3}
    report = world.finish_round()
    assert report.outcome == Outcome.OK and report.metrics == world.metrics


def test_a_closing_round_measures_and_changes_nothing() -> None:
    world = started(terms=replace(TERMS, rounds=1))
    world.finish_round()
    world.go_to(Phase.RESULT)
    assert world.round.kind == RoundKind.CLOSING
    assert world.refused(1, world.result(1, model_hash=seed_of("other"))) == Refusal.WRONG_MODEL
    report = world.finish_round()
    assert report.metrics == world.metrics and world.life.metrics == world.metrics
    assert world.life.status == StudyStatus.FINISHED


def test_the_first_commit_of_a_training_round_waits_as_long_as_training_may_take() -> None:
    world = at(Phase.COMMIT)
    assert world.phase.timeout_ms == TERMS.train_timeout_ms
    world.go_to(Phase.DIGEST)
    assert world.phase.timeout_ms == TERMS.phase_timeout_ms
    world.go_without(2)
    world.go_to(Phase.COMMIT, 2)
    assert (world.round.attempt.number, world.phase.timeout_ms) == (1, TERMS.phase_timeout_ms)


def test_the_view_tells_whose_message_is_awaited() -> None:
    world = started()
    assert expects(world.round, 1) and not expects(world.round, 5)
    world.post(1, world.keys(1))
    assert not expects(world.round, 1) and expects(world.round, 2)
    pending = pending_phase(world.state, world.study)
    assert is_phase_message(pending, world.keys(2)) and not is_phase_message(pending, world.commit(2))
    assert not is_phase_message(pending, replace(world.keys(2), attempt=1))
    world.go_to(Phase.SUMACK)
    assert world.post(1, bodies.SumAck(*world.place(), None, (1,))).ok
    assert expects(world.round, 1), "a member that reported may still acknowledge"
    assert world.post(1, world.sum_ack(1)).ok
    assert not expects(world.round, 1)
