"""Rules that no play of several members showed, each asked by itself with a broken variant of it in mind."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, cast

import pytest

from fednode.chain.block import Block, BlockContext, Execution, Tip, advance, assemble
from fednode.chain.consensus import view as table
from fednode.chain.consensus.events import Timer, TimerFired
from fednode.chain.consensus.messages import BlockResponse, Decision, Polka, Proposal, ViewCertificate, VoteSummary
from fednode.chain.consensus.recovery import ANSWER_GAP_MS, Recovery, SignRecord, Valid, VoteSigner, initial_record
from fednode.chain.consensus.replica import Replica, Worth, sift
from fednode.chain.consensus.view import Cast, EnterView, HeightState, SetValid, Step
from fednode.chain.consensus.votes import MAX_PAST_MS, PAST_PER_VIEW_MS, HeightFacts, VoteBook
from fednode.chain.sync import (
    MAX_RANGE_BYTES,
    Adopt,
    BlockRangeResponse,
    CatchUp,
    PeerAhead,
    PeerConnected,
    SyncReceived,
    SyncTimer,
    make_response,
)
from fednode.chain.vote import (
    NIL,
    NO_VIEW,
    PRECOMMIT,
    PREVOTE,
    PROPOSAL,
    Certificate,
    Member,
    MemberSet,
    Vote,
    make_certificate,
    make_evidence,
    sign_bytes,
    verify_evidence,
)
from fednode.effects import Broadcast, DropPeer, Send, StartTimer
from fednode.effects import TimerFired as SyncTimerFired
from fednode.errors import Rejected
from fednode.ids import Height, MemberId, View
from tests.sim.keys import CHAIN_ID, make_members
from tests.sim.ledger import ToyLedger
from tests.sim.stage import HEIGHT, Stage

MEMBERS, _, _ = make_members(4)
X, Y = b"x" * 32, b"y" * 32


def vote(
    sender: int, value: bytes = X, kind: int = PREVOTE, view: int = 0, valid_view: int = NO_VIEW, height: int = 1
) -> Vote:
    return Vote(kind, Height(height), View(view), View(valid_view), value, MemberId(sender), bytes(64))


def polka(value: bytes, view: int) -> Polka:
    return Polka(tuple(vote(sender, value, view=view) for sender in (1, 2, 3)))


class Known:
    """What the rules may ask: blocks that are here, which of them are valid, votes, one proposal."""

    def __init__(self, stage: Stage) -> None:
        self.book = VoteBook(MEMBERS)
        self.blocks: dict[bytes, Block] = {}
        self.valid: set[bytes] = set()
        self.proposal: Proposal | None = None
        self.block = stage.forge_block("A", (b"tx",))

    def get_proposal(self, view: int) -> Proposal | None:
        return self.proposal

    def get_block(self, value: bytes) -> Block | None:
        return self.blocks.get(value)

    def is_valid(self, value: bytes) -> bool:
        return value in self.valid

    def is_timely(self, view: int) -> bool:
        return True


@pytest.fixture
def known() -> Known:
    return Known(Stage("A"))


def state_at(view: int, step: Step) -> HeightState:
    state = HeightState()
    state.view, state.step = View(view), step
    return state


# --- the table of rules ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("is_valid", [True, False])
def test_a_block_proposed_again_is_prevoted_with_its_view_and_only_if_it_is_valid(known: Known, is_valid: bool) -> None:
    value = known.block.hash
    known.book.enter(2)
    known.book.add_polka(polka(value, 1))
    known.proposal = Proposal(vote(2, value, PROPOSAL, 2, 1), known.block)
    known.valid = {value} if is_valid else set()
    action = table.prevote_again(state_at(2, Step.PROPOSE), known)
    assert action == Cast(PREVOTE, value if is_valid else NIL, View(1))


def test_prevotes_that_come_after_the_precommit_are_noted(known: Known) -> None:
    value = known.block.hash
    known.blocks[value], known.valid = known.block, {value}
    known.book.add_polka(polka(value, 0))
    action = table.lock(state_at(0, Step.PRECOMMIT), known)
    assert isinstance(action, SetValid) and action.valid.block is known.block


def test_a_new_view_has_its_own_timers() -> None:
    state = state_at(0, Step.PRECOMMIT)
    state.is_prevote_timer_started = state.is_precommit_timer_started = True
    table.apply(state, EnterView(View(1)))
    assert (state.is_prevote_timer_started, state.is_precommit_timer_started) == (False, False)


@pytest.mark.parametrize("step", [Step.PROPOSE, Step.PREVOTE, Step.PRECOMMIT])
def test_the_precommit_timer_ends_a_view_whatever_this_member_has_cast(step: Step) -> None:
    assert table.on_timeout(state_at(3, step), Timer.PRECOMMIT, 3) == EnterView(View(4))
    assert table.on_timeout(state_at(3, Step.IDLE), Timer.PRECOMMIT, 3) is None


def test_a_decision_of_a_view_whose_block_is_missing_hides_no_other(known: Known) -> None:
    known.book.certified = [(0, X), (2, known.block.hash)]
    known.blocks[known.block.hash] = known.block
    assert table.decide(state_at(2, Step.PRECOMMIT), known) == table.Decided(View(2), known.block.hash)


# --- votes -----------------------------------------------------------------------------------------------------

def test_prevotes_for_nil_are_no_polka_in_one_bundle_either() -> None:
    book = VoteBook(MEMBERS)
    book.add_polka(polka(NIL, 0))
    assert book.polkas == {} and book.polka_value(0) is None


def test_what_one_honest_member_may_be_locked_on_is_kept() -> None:
    book = VoteBook(MEMBERS)
    for sender in (1, 2):
        book.add(vote(sender, X, PRECOMMIT))
    book.add(vote(3, Y, PRECOMMIT))
    assert book.find_supported() == {X}


def test_precommits_of_the_view_before_are_reasons_for_a_view() -> None:
    book = VoteBook(MEMBERS)
    book.enter(1)
    before, now = vote(1, NIL, PRECOMMIT, 0), vote(2, X, PREVOTE, 1)
    book.add(before)
    book.add(now)
    assert book.reasons_for(1) == (before, now)


def test_bits_follow_the_place_in_the_set() -> None:
    gaps = MemberSet(tuple(Member(MemberId(7 * m.id), m.sign_key) for m in MEMBERS.members))
    book = VoteBook(gaps)
    book.add(vote(14))
    assert book.bitmap(0, PREVOTE) == b"\x02"


# --- facts of a height -----------------------------------------------------------------------------------------

def facts_of(stage: Stage, tip: Tip) -> HeightFacts:
    return HeightFacts(tip, ToyLedger(tip.members), stage.check, {})


def refusal(stage: Stage, tip: Tip, block: Block) -> str:
    facts = facts_of(stage, tip)
    facts.add_block(block)
    with pytest.raises(Rejected) as refused:
        facts.get_execution(block.hash)
    return refused.value.reason


def test_every_view_that_was_needed_gives_a_block_time() -> None:
    facts = facts_of(Stage("A"), Stage("A").tip)
    oldest = 10**13 - MAX_PAST_MS - 3 * PAST_PER_VIEW_MS
    assert facts._is_near(oldest, 3, 10**13) and not facts._is_near(oldest - 1, 3, 10**13)


def test_a_block_is_valid_only_where_it_follows_and_says_what_comes_out() -> None:
    stage = Stage("A")
    good = stage.forge_block("A", (b"tx",))
    facts = facts_of(stage, stage.tip)
    facts.add_block(good)
    assert facts.is_valid(good.hash)
    for field, says in (("parent_hash", "does not follow"), ("state_root", "state_root"), ("receipts_root", "receipts"),
                        ("params_hash", "parameters or members"), ("members_hash", "members_hash")):
        other = replace(good, header=replace(good.header, **{field: X}))
        assert says in refusal(stage, stage.tip, other)


def second_block(stage: Stage, certificate: Certificate, tip: Tip) -> Block:
    ledger = ToyLedger(tip.members)
    ledger.commit(stage.forge_block("A", (b"tx",)), ledger._run((b"tx",)))
    context = BlockContext(CHAIN_ID, Height(2), tip.time_ms + 1, tip.proposer(0), ())
    return assemble(tip, context, ledger._run((b"more",)), certificate)


def test_the_parents_certificate_in_a_block_is_verified() -> None:
    stage = Stage("A")
    first = stage.forge_block("A", (b"tx",))
    votes = [stage.forge_vote(name, PRECOMMIT, 0, first.hash) for name in "ABC"]
    good = make_certificate(stage.members, votes)
    forged = replace(good, signatures=(bytes(64), *good.signatures[1:]))
    tip = advance(stage.tip, first, stage.members)
    assert "bad signature" in refusal(stage, tip, second_block(stage, forged, tip))


# --- the driver ------------------------------------------------------------------------------------------------

def test_who_jumps_over_views_asks_for_what_it_missed() -> None:
    stage = Stage("A")
    for name in "BC":
        effects = stage.deliver(name, stage.forge_vote(name, PREVOTE, 2, NIL), "A")
    said = [effect.message for effect in effects if isinstance(effect, Broadcast)]
    assert any(isinstance(message, VoteSummary) and message.view == 2 for message in said)


def test_a_key_that_the_chain_has_replaced_signs_nothing() -> None:
    stage = Stage("A")
    member = stage.names["A"]
    keys = [Member(m.id, X if m.id == member else m.sign_key) for m in stage.members.members]
    tip = replace(stage.tip, members=MemberSet(tuple(keys)))
    record = initial_record(CHAIN_ID, stage.signers[member].public_key)
    signer = VoteSigner(CHAIN_ID, member, stage.signers[member], record)
    driver = Replica(tip, None, ToyLedger(tip.members), signer, check=stage.check)._driver
    assert driver._sign(PREVOTE, NO_VIEW, NIL) is None
    assert stage.actors["A"].replica._driver._sign(PREVOTE, NO_VIEW, NIL) is not None


def test_a_program_stops_before_rules_it_does_not_know() -> None:
    stage = Stage("A", count=1)
    driver = stage.actors["A"].replica._driver
    pick = driver._application.pick

    def last(context: BlockContext, may_be_empty: bool) -> Execution | None:
        done = pick(context, may_be_empty)
        return None if done is None else replace(done, is_last=True)

    driver._application.pick = last  # type: ignore[method-assign]
    stage.give_work("A", b"tx")
    assert len(stage.actors["A"].decided) == 1 and driver.is_halted
    stage.give_work("A", b"more")
    assert len(stage.actors["A"].decided) == 1


def test_a_restart_in_a_later_view_knows_what_was_valid_before() -> None:
    stage = Stage("ABC")
    block = stage.forge_block("A", (b"tx",))
    member = stage.names["A"]
    votes = sorted((stage.forge_vote(name, PREVOTE, 0, block.hash) for name in "ABC"), key=lambda v: v.sender)
    valid = Valid(View(0), block, Polka(tuple(votes)))
    signed = sign_bytes(CHAIN_ID, PREVOTE, HEIGHT, 1, NO_VIEW, NIL)
    record = SignRecord(
        1, CHAIN_ID, stage.signers[member].public_key, HEIGHT, View(1), PREVOTE, signed, bytes(64), View(0), block.hash,
        valid,
    )
    signer = VoteSigner(CHAIN_ID, member, stage.signers[member], record)
    driver = Replica(stage.tip, None, ToyLedger(stage.members), signer, check=stage.check)._driver
    assert driver.state.valid == valid and driver.facts.get_block(block.hash) == block
    assert driver.facts.book.has_polka(0, block.hash)
    assert (driver.state.locked_view, driver.state.locked_value) == (0, block.hash)


def test_a_certificate_that_is_stored_shows_a_signature_the_record_does_not_know() -> None:
    stage = Stage("B")
    first = stage.forge_block("A", (b"tx",))
    certificate = make_certificate(
        stage.members, [stage.forge_vote(name, PRECOMMIT, 0, first.hash) for name in "ABC"])
    tip, member = advance(stage.tip, first, stage.members), stage.names["B"]
    lost = initial_record(CHAIN_ID, stage.signers[member].public_key)
    replica = Replica(
        tip, certificate, ToyLedger(stage.members), VoteSigner(CHAIN_ID, member, stage.signers[member], lost),
        check=stage.check,
    )
    assert replica.refusal is not None and "newer than its sign-state" in replica.refusal


def test_a_block_with_the_certificate_of_another_is_not_adopted() -> None:
    stage = Stage("A")
    one, other = stage.forge_block("A", (b"one",)), stage.forge_block("A", (b"other",))
    certificate = make_certificate(stage.members, [stage.forge_vote(n, PRECOMMIT, 0, other.hash) for n in "ABC"])
    assert not stage.actors["A"].replica._driver.adopt(one, certificate)
    assert stage.actors["A"].replica.tip.height == 0


# --- members out of step ---------------------------------------------------------------------------------------

def recovery_after(stage: Stage, members: MemberSet | None = None) -> tuple[Recovery, Tip, Certificate]:
    """Return the bookkeeping of a member that has early votes of height 2 and then decided height 1."""
    recovery = Recovery(stage.tip, None)
    early = vote(2, X, PREVOTE, height=2)
    recovery.keep_early(early, early, MemberId(2))
    first = stage.forge_block("A", (b"tx",))
    votes = [stage.forge_vote(name, PRECOMMIT, 0, first.hash) for name in "ABC"]
    certificate, book = make_certificate(stage.members, votes), VoteBook(stage.members)
    for item in votes:
        book.add(item)
    tip = advance(stage.tip, first, stage.members)
    if members is not None:
        tip = replace(tip, members=members)
    recovery.finish_height(tip, first, certificate, book)
    return recovery, tip, certificate


def test_early_messages_are_worth_nothing_once_the_members_have_changed() -> None:
    """They were verified against the set before: a key that left, or was replaced, would count in the next height."""
    stage = Stage("A")
    assert len(recovery_after(stage)[0].take_early()) == 1
    fewer = MemberSet(stage.members.members[:3])
    assert recovery_after(stage, fewer)[0].take_early() == []
    keys = [Member(m.id, X if m.id == 2 else m.sign_key) for m in stage.members.members]
    assert recovery_after(stage, MemberSet(tuple(keys)))[0].take_early() == []


def test_only_the_next_height_is_kept_and_of_it_the_newest() -> None:
    recovery = Recovery(Stage("A").tip, None)
    for height in (1, 3, 9):
        far = vote(2, X, PREVOTE, height=height)
        recovery.keep_early(far, far, MemberId(2))
    assert recovery.take_early() == []
    for view in (0, 2, 1):
        item = vote(2, X, PREVOTE, view, height=2)
        recovery.keep_early(item, item, MemberId(2))
    assert [cast(Any, message).view for message, _ in recovery.take_early()] == [2]


def test_a_double_vote_of_the_height_before_is_evidence() -> None:
    stage = Stage("A")
    recovery, _, _ = recovery_after(stage)
    one, other = stage.forge_vote("D", PREVOTE, 0, X), stage.forge_vote("D", PREVOTE, 0, Y)
    assert recovery.take_late(one, MemberId(4), 0)[0] is None
    evidence, _ = recovery.take_late(other, MemberId(4), 0)
    assert evidence is not None and evidence.sender == stage.names["D"]


def test_a_clock_that_is_set_back_silences_nobody() -> None:
    recovery = Recovery(Stage("A").tip, None)
    assert recovery.may_answer(MemberId(2), "block", 10**12)
    assert not recovery.may_answer(MemberId(2), "block", 10**12 + ANSWER_GAP_MS - 1)
    assert recovery.may_answer(MemberId(2), "block", 10**12 - 3_600_000)


def test_a_missing_block_is_asked_for_once_at_a_time() -> None:
    recovery = Recovery(Stage("A").tip, None)
    holders = [MemberId(number) for number in (1, 2, 3)]
    assert recovery.choose_holder(X, holders, MemberId(1)) == 2
    assert recovery.choose_holder(X, holders, MemberId(1)) is None
    recovery.ask_again()
    assert recovery.choose_holder(X, holders, MemberId(1)) == 3


def test_who_lags_in_views_is_moved_on() -> None:
    stage = Stage("A")
    facts = facts_of(stage, stage.tip)
    facts.book.enter(1)
    reason = vote(2, NIL, PRECOMMIT, 0)
    facts.book.add(reason)
    summary = VoteSummary(HEIGHT, View(0), True, b"\x0f", b"\x0f")
    (answer,) = Recovery(stage.tip, None).answer_summary(summary, MemberId(3), facts, View(1), 0)
    assert isinstance(answer, ViewCertificate) and answer.votes == (reason,)


def test_a_proposal_of_an_earlier_block_is_answered_with_its_prevotes() -> None:
    stage = Stage("A")
    facts = facts_of(stage, stage.tip)
    block = stage.forge_block("A", (b"tx",))
    facts.enter(1, None)
    facts.book.add_polka(polka(block.hash, 0))
    leader = next(name for name, member in stage.names.items() if member == stage.tip.proposer(1))
    facts.add_proposal(Proposal(stage.forge_vote(leader, PROPOSAL, 1, block.hash, 0), block), stage.now_ms)
    summary = VoteSummary(HEIGHT, View(1), False, b"\0", b"\0")
    answer = Recovery(stage.tip, None).answer_summary(summary, MemberId(3), facts, View(1), 0)
    assert [type(message) for message in answer] == [Polka, Proposal]


# --- what is looked at, signed, kept and sent again ------------------------------------------------------------

def test_evidence_that_is_known_costs_no_signature_check() -> None:
    stage = Stage("A")
    piece = make_evidence(stage.forge_vote("D", PREVOTE, 0, X), stage.forge_vote("D", PREVOTE, 0, Y))
    replica = stage.actors["A"].replica
    assert sift(piece, replica) is Worth.CHECK
    stage.deliver("B", piece, "A")
    assert sift(piece, replica) is Worth.NOTHING


@pytest.mark.parametrize(("held", "until", "may"), [(False, 0, True), (True, 0, False), (False, 5, False)])
def test_a_held_key_and_heights_of_a_lost_record_sign_nothing(held: bool, until: int, may: bool) -> None:
    stage = Stage("A")
    member = stage.names["A"]
    record = initial_record(CHAIN_ID, stage.signers[member].public_key)
    signer = VoteSigner(CHAIN_ID, member, stage.signers[member], record, Height(until))
    signer.is_held = held
    for height in (1, 5):
        made = signer.sign(PREVOTE, Height(height), View(0), NO_VIEW, X, lambda: (NO_VIEW, NIL, None))
        assert (made is not None) == may
    after = signer.sign(PREVOTE, Height(6), View(0), NO_VIEW, X, lambda: (NO_VIEW, NIL, None))
    assert (after is not None) == (not held)


def test_a_proposal_that_comes_early_is_kept_for_its_height() -> None:
    stage = Stage("A")
    first = stage.forge_block("A", (b"tx",))
    certificate = make_certificate(stage.members, [stage.forge_vote(name, PRECOMMIT, 0, first.hash) for name in "ABC"])
    tip = advance(stage.tip, first, stage.members)
    second = second_block(stage, certificate, tip)
    name = next(name for name, member in stage.names.items() if member == tip.proposer(0))
    early = Proposal(stage.forge_vote(name, PROPOSAL, 0, second.hash, height=Height(2)), second)
    stage.deliver(name, early, "A")
    recovery = stage.actors["A"].replica._recovery
    assert [message for _, message, _ in recovery._early.values()] == [early]


def test_a_proposal_of_a_far_view_is_not_kept() -> None:
    stage = Stage("A")
    for view in (1, 2, 5):
        name = next(name for name, member in stage.names.items() if member == stage.tip.proposer(view))
        block = stage.forge_block(name, (b"tx %d" % view,))
        stage.deliver(name, Proposal(stage.forge_vote(name, PROPOSAL, view, block.hash), block), "A")
    facts = stage.actors["A"].replica._driver.facts
    assert [facts.get_proposal(view) is not None for view in (1, 2, 5)] == [True, False, False]


def test_an_own_proposal_that_the_record_does_not_know_stops_us() -> None:
    stage = Stage("A")
    block = stage.forge_block("A", (b"tx",))
    stage.deliver("B", Proposal(stage.forge_vote("A", PROPOSAL, 0, block.hash), block), "A")
    assert stage.actors["A"].replica.refusal is not None


def test_a_polka_counts_as_a_whole_where_its_votes_alone_would_be_noise() -> None:
    stage = Stage("A")
    for name in "BC":
        for value in (X, Y):
            stage.deliver(name, stage.forge_vote(name, PREVOTE, 0, value), "A")
    votes = sorted((stage.forge_vote(name, PREVOTE, 0, b"z" * 32) for name in "BCD"), key=lambda item: item.sender)
    stage.deliver("B", Polka(tuple(votes)), "A")
    assert 0 in stage.actors["A"].replica._driver.facts.book.polkas


def test_a_body_that_nobody_asked_for_is_not_kept() -> None:
    stage = Stage("A")
    block = stage.forge_block("B", (b"tx",))
    stage.deliver("B", BlockResponse(block), "A")
    assert stage.actors["A"].replica._driver.facts.get_block(block.hash) is None


def test_votes_are_sent_again_again_and_again_and_timers_of_other_heights_are_not_heard() -> None:
    stage = Stage("A")
    stage.give_work("A", b"tx")
    for _ in range(3):
        effects = stage.fire("A", Timer.RESEND, 0)
        assert any(isinstance(effect, StartTimer) and effect.key.kind is Timer.RESEND for effect in effects)
    for height in (0, 2):
        for timer in (Timer.RESEND, Timer.NEXT_HEIGHT, Timer.PRECOMMIT):
            assert stage.feed(stage.actors["A"], TimerFired(timer, Height(height), View(0), stage.now_ms)) == []


def test_votes_of_two_members_do_not_contradict_each_other() -> None:
    assert vote(1, X).contradicts(vote(1, Y)) and not vote(1, X).contradicts(vote(2, Y))
    assert not vote(1, X).contradicts(vote(1, Y, view=1)) and not vote(1, X).contradicts(vote(1, Y, PRECOMMIT))


def test_evidence_takes_both_signatures() -> None:
    stage = Stage("A")
    piece = make_evidence(stage.forge_vote("D", PREVOTE, 0, X), stage.forge_vote("D", PREVOTE, 0, Y))
    verify_evidence(piece, stage.members, CHAIN_ID, stage.check)
    for part in ("first", "second"):
        forged = replace(piece, **{part: replace(getattr(piece, part), signature=bytes(64))})
        with pytest.raises(Rejected, match="bad signature"):
            verify_evidence(forged, stage.members, CHAIN_ID, stage.check)


def test_a_bitmap_names_exactly_those_of_the_set_that_signed() -> None:
    stage = Stage("A")
    good = make_certificate(stage.members, [stage.forge_vote(name, PRECOMMIT, 0, X) for name in "ABCD"])
    assert good.signers(stage.members) == stage.members.ids
    for bad in (
        replace(good, bitmap=good.bitmap + bytes(1)), replace(good, signatures=good.signatures[:3]),
        replace(good, bitmap=b"\x1e"), replace(good, bitmap=b"\x1f", signatures=(*good.signatures, bytes(64))),
    ):
        with pytest.raises(Rejected, match="does not fit"):
            bad.signers(stage.members)


# --- catching up -----------------------------------------------------------------------------------------------

def test_a_response_ends_with_the_block_that_reaches_its_bytes() -> None:
    stage = Stage("A")
    large = stage.forge_block("A", tuple(bytes([number]) * 60_000 for number in range(6)))
    certificate = make_certificate(stage.members, [stage.forge_vote(name, PRECOMMIT, 0, large.hash) for name in "ABC"])
    assert len(make_response([(large, certificate)] * 9).blocks) == -(-MAX_RANGE_BYTES // len(large.encoded)) == 2


def test_a_claim_never_shrinks_and_another_peer_is_asked_each_time() -> None:
    catch_up = CatchUp(Stage("A").tip)
    asked = []
    for peer, height in ((2, 100), (2, 50)):
        catch_up._claim(MemberId(peer), Height(height))
    assert catch_up.target == 100
    catch_up._claim(MemberId(3), Height(100))
    for _ in range(3):
        catch_up._asked, catch_up._effects = None, []
        catch_up._ask()
        asked += [effect.peer for effect in catch_up._effects if isinstance(effect, Send)]
    assert asked == [2, 3, 2]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"header": {"parent_hash": X}}, "certificate of another block|does not follow"),
        ({"certificate": {"block_hash": X}}, "certificate of another block"),
        ({"certificate": {"signatures": 1}}, "bad signature"),
    ],
)
def test_a_fetched_block_is_proven_before_it_is_adopted(change: dict[str, Any], says: str) -> None:
    stage = Stage("A")
    block = stage.forge_block("A", (b"tx",))
    block = replace(block, header=replace(block.header, **change.get("header", {})))
    votes = [stage.forge_vote(name, PRECOMMIT, 0, block.hash) for name in "ABC"]
    certificate = make_certificate(stage.members, votes)
    parts = dict(change.get("certificate", {}))
    if "signatures" in parts:
        parts["signatures"] = (bytes(64), *certificate.signatures[1:])
    catch_up = CatchUp(stage.tip, stage.check)
    catch_up.handle(PeerConnected(MemberId(2)))
    catch_up.handle(PeerAhead(MemberId(2), Height(2)))
    catch_up.handle(SyncTimerFired(SyncTimer.GRACE))
    response = BlockRangeResponse((Decision(block, replace(certificate, **parts)),))
    effects = catch_up.handle(SyncReceived(MemberId(2), response))
    (ban,) = [effect for effect in effects if isinstance(effect, DropPeer)]
    assert re.search(says, ban.reason) and not any(isinstance(effect, Adopt) for effect in effects)


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_double_vote_with_a_key_that_the_block_replaces_is_no_evidence_any_more(is_replaced: bool) -> None:
    """Whoever holds an old key could flag its owner for ever; and no block after this one could verify it."""
    stage = Stage("A")
    driver, offender = stage.actors["A"].replica._driver, stage.names["D"]
    piece = make_evidence(stage.forge_vote("D", PREVOTE, 0, X), stage.forge_vote("D", PREVOTE, 0, Y))
    driver.note_evidence(piece, is_own=False)
    keys = [Member(m.id, X if is_replaced and m.id == offender else m.sign_key) for m in stage.members.members]
    done = replace(ToyLedger(stage.members)._run((b"tx",)), next_members=MemberSet(tuple(keys)))
    context = BlockContext(CHAIN_ID, HEIGHT, stage.now_ms, stage.names["B"], ())
    block = assemble(stage.tip, context, done, None)
    stage.actors["A"].ledger.execute = lambda *_: done  # type: ignore[method-assign]
    certificate = make_certificate(stage.members, [stage.forge_vote(name, PRECOMMIT, 0, block.hash) for name in "BCD"])
    assert driver.adopt(block, certificate)
    assert [piece.sender for piece in driver.evidence.values()] == ([] if is_replaced else [offender])
