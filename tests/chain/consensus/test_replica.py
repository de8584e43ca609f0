"""The replica as its node sees it: which effects, in which order, and when there are none."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from fednode.chain.block import Block, BlockContext, assemble
from fednode.chain.consensus import effects as ask
from fednode.chain.consensus import messages as m
from fednode.chain.consensus.driver import MAX_PENDING_PER_MEMBER
from fednode.chain.consensus.effects import Effect
from fednode.chain.consensus.events import BlockSynced, PeerUp, Started, Timer, TimerFired, ViewTimer, WorkArrived
from fednode.chain.consensus.recovery import VoteSigner, initial_record
from fednode.chain.consensus.replica import Replica
from fednode.chain.consensus.view import Step, Timeouts
from fednode.chain.vote import (
    NIL,
    NO_VIEW,
    PRECOMMIT,
    PREVOTE,
    PROPOSAL,
    Evidence,
    Vote,
    make_certificate,
    make_evidence,
)
from fednode.effects import Broadcast, DropPeer, Persist, Send, StartTimer
from fednode.errors import VerificationFailed
from fednode.ids import Height, MemberId, View
from tests.sim.keys import CHAIN_ID, GENESIS_MS
from tests.sim.ledger import ToyLedger
from tests.sim.stage import HEIGHT, Actor, Stage


def exchange(stage: Stage, skip: str = "") -> None:
    """Deliver everything that is said, in order of saying, until all are silent; `skip` neither hears nor is heard."""
    heard = dict.fromkeys(stage.actors, 0)
    is_moving = True
    while is_moving:
        is_moving = False
        for name, actor in stage.actors.items():
            while heard[name] < len(actor.sent) and name not in skip:
                message = actor.sent[heard[name]]
                heard[name] += 1
                is_moving = True
                for other in stage.actors:
                    if other != name and other not in skip:
                        stage.deliver(name, message, other)


def kinds(effects: list[Effect]) -> list[str]:
    return [type(effect).__name__ for effect in effects]


def sends(effects: list[Effect]) -> list[m.ConsensusMessage]:
    return [effect.message for effect in effects if isinstance(effect, Send)]


def certified(stage: Stage, block: Block, signers: str = "ABC") -> m.Decision:
    votes = [stage.forge_vote(name, PRECOMMIT, 0, block.hash) for name in signers]
    return m.Decision(block, make_certificate(stage.members, votes))


# --- the fast path --------------------------------------------------------------------------------------------

def test_one_transaction_costs_one_proposal_and_two_votes_each() -> None:
    stage = Stage("ABCD")
    stage.give_work("A", b"tx")
    exchange(stage)
    for name, actor in stage.actors.items():
        said = Counter(type(message).__name__ for message in actor.sent)
        assert said == Counter(Vote=2, **({"Proposal": 1} if name == "A" else {})), name
        assert [block.transactions for block in actor.decided] == [(b"tx",)]
        assert actor.replica.state.step is Step.IDLE


def test_record_comes_before_every_signature_and_once_per_event() -> None:
    stage = Stage("ABCD")
    stage.give_work("A", b"tx")
    first = [effect for effect in stage.actors["A"].effects if not isinstance(effect, StartTimer)]
    assert kinds(first) == ["Persist", "Broadcast", "Broadcast"]
    exchange(stage)
    for actor in stage.actors.values():
        place = (0, 0, 0)
        for effect in actor.effects:
            if isinstance(effect, Persist):
                assert effect.record.place > place
                place = effect.record.place
            elif isinstance(effect, Broadcast):
                vote = effect.message.vote if isinstance(effect.message, m.Proposal) else effect.message
                assert isinstance(vote, Vote)
                assert (vote.height, vote.view, vote.kind) <= place


def test_alone_a_member_decides_within_one_event() -> None:
    stage = Stage("A", count=1)
    stage.give_work("A", b"tx")
    effects = [effect for effect in stage.actors["A"].effects if not isinstance(effect, StartTimer)]
    assert kinds(effects) == ["Persist", "Broadcast", "Broadcast", "Broadcast", "Decide"]


def test_idle_means_no_timer_and_no_block() -> None:
    stage = Stage("ABCD")
    stage.give_work("A", b"tx")
    exchange(stage)
    for actor in stage.actors.values():
        decided_at = next(i for i, effect in enumerate(actor.effects) if isinstance(effect, ask.Decide))
        assert kinds(actor.effects[decided_at + 1 :]) == []
        assert stage.feed(actor, WorkArrived(stage.now_ms)) == []
        for timer in Timer:
            assert stage.feed(actor, TimerFired(timer, Height(2), View(0), stage.now_ms)) == []
        assert stage.feed(actor, PeerUp(MemberId(1), stage.now_ms)) == []


def test_more_work_begins_the_next_height_after_other_events_had_a_chance() -> None:
    stage = Stage("A", count=1)
    actor = stage.actors["A"]
    for number in range(20):
        actor.ledger.add(b"tx %d" % number)
    effects = stage.feed(actor, WorkArrived(stage.now_ms))
    timer = ViewTimer(Timer.NEXT_HEIGHT, Height(2), View(0))
    assert effects[-1] == StartTimer(timer, 0) and (effects[-1].key.height, effects[-1].key.view) == (2, 0)
    stage.feed(actor, TimerFired(Timer.NEXT_HEIGHT, Height(2), View(0), stage.now_ms))
    assert [len(block.transactions) for block in actor.decided] == [8, 8]


def test_timers_grow_with_the_view_up_to_a_minute() -> None:
    timeouts = Timeouts()
    assert [timeouts.get_propose_ms(view) for view in (0, 1, 10, 1000)] == [3000, 3500, 8000, 60_000]
    assert [timeouts.get_vote_ms(view) for view in (0, 1, 10, 1000)] == [1000, 1500, 6000, 60_000]
    assert timeouts.get_resend_ms(0) == 5000


# --- leaders --------------------------------------------------------------------------------------------------

def test_leader_without_work_proposes_when_it_gets_some() -> None:
    stage = Stage("AB")
    for name in "CD":
        stage.deliver(name, stage.forge_vote(name, PREVOTE, 0, NIL), "A")
    assert stage.actors["A"].replica.state.step is Step.PROPOSE
    assert stage.actors["A"].sent == []
    stage.give_work("A", b"tx")
    assert stage.actors["A"].find_proposal(0) is not None


def test_a_height_that_was_begun_ends_with_an_empty_block_at_the_latest() -> None:
    stage = Stage("A")
    for view in (1, 4):
        for name in "BC":
            stage.deliver(name, stage.forge_vote(name, PREVOTE, view, NIL), "A")
    proposal = stage.actors["A"].find_proposal(4)
    assert proposal.block.transactions == ()


def test_proposal_out_of_turn_is_reported() -> None:
    stage = Stage("A")
    block = stage.forge_block("C", (b"tx",))
    effects = stage.deliver("C", m.Proposal(stage.forge_vote("C", PROPOSAL, 0, block.hash), block), "A")
    assert effects == [DropPeer(stage.names["C"], "proposal out of turn")]
    block = stage.forge_block("C", (b"tx",))
    effects = stage.deliver("B", m.Proposal(stage.forge_vote("B", PROPOSAL, 1, block.hash), block), "A")
    assert effects == [DropPeer(stage.names["B"], "new block built by another member")]


@pytest.mark.parametrize(("clock_ms", "time_ms", "is_accepted"), [
    (100_000, 100_000, True), (100_000, 104_900, True), (100_000, 105_100, False), (100_000, 41_000, True),
    (100_000, 39_000, False), (-3_600_000, 1, True),  # one millisecond after the parent is always in time
])
def test_a_new_block_must_carry_a_time_near_the_clock(clock_ms: int, time_ms: int, is_accepted: bool) -> None:
    """Both are counted from the genesis."""
    stage = Stage("B")
    stage.now_ms = GENESIS_MS + clock_ms
    context = BlockContext(CHAIN_ID, HEIGHT, GENESIS_MS + time_ms, stage.names["A"], ())
    block = assemble(stage.tip, context, ToyLedger(stage.members)._run((b"tx",)), None)
    stage.deliver("A", m.Proposal(stage.forge_vote("A", PROPOSAL, 0, block.hash), block), "B")
    vote = stage.actors["B"].find_vote(PREVOTE, 0)
    assert (vote.value == block.hash) is is_accepted


# --- double votes ---------------------------------------------------------------------------------------------

def test_double_votes_are_told_and_written_on_the_chain() -> None:
    stage = Stage("ABC")
    one, other = stage.forge_vote("D", PREVOTE, 0, NIL), stage.forge_vote("D", PREVOTE, 0, b"v" * 32)
    stage.deliver("D", one, "B")
    effects = stage.deliver("D", other, "B")
    assert ask.FoundEvidence(stage.names["D"], HEIGHT) in effects
    exchange(stage)
    for actor in stage.actors.values():
        assert [piece.sender for piece in actor.decided[0].evidence] == [stage.names["D"]]
        assert actor.replica.pending_evidence == ()
        assert actor.replica.tip.offences == ((1, stage.names["D"]),)


def double_vote(stage: Stage, name: str, height: int) -> Evidence:
    """Two prevotes of one member for one place, both signed."""
    votes = [stage.forge_vote(name, PREVOTE, 0, value, height=Height(height)) for value in (NIL, b"v" * 32)]
    piece = make_evidence(*votes)
    assert piece is not None
    return piece


def test_an_idle_chain_does_not_grow_by_what_one_member_signs_twice() -> None:
    """The first proof makes a block; the next ones against the same member wait for a block that is made anyway."""
    stage = Stage("ABCDE", 7)
    decided = [stage.actors[name].decided for name in "ABCDE"]

    def accuse(name: str, height: int) -> None:
        for honest in "ABCDE":
            stage.deliver(name, double_vote(stage, name, height), honest)
        exchange(stage)

    accuse("F", 1)
    assert [len(blocks) for blocks in decided] == [1] * 5
    accuse("F", 2)
    assert [len(blocks) for blocks in decided] == [1] * 5, "the chain stays idle"
    for name in "ABCDE":
        stage.give_work(name, b"tx")
    exchange(stage)
    assert [piece.offence for piece in decided[0][1].evidence] == [(2, stage.names["F"])]
    accuse("F", 3)
    assert [len(blocks) for blocks in decided] == [2] * 5
    accuse("G", 3)
    assert [len(blocks) for blocks in decided] == [3] * 5, "a proof against somebody else is worth a block"
    assert {piece.sender for piece in decided[0][2].evidence} == {stage.names["F"], stage.names["G"]}


def test_many_offences_of_one_member_keep_no_proof_against_another_out() -> None:
    stage = Stage("A")
    driver = stage.actors["A"].replica._driver
    driver.tip = dataclasses.replace(driver.tip, height=Height(100), offences=((Height(90), stage.names["D"]),))
    for height in range(40, 40 + MAX_PENDING_PER_MEMBER + 5):
        driver.note_evidence(double_vote(stage, "D", height), is_own=False)
    assert len(driver.evidence) == MAX_PENDING_PER_MEMBER
    assert not driver.wants(double_vote(stage, "D", 90 + 1))
    assert driver.wants(double_vote(stage, "C", 91))


def test_two_proposals_of_one_view_are_evidence() -> None:
    stage = Stage("B")
    for transaction in (b"one", b"two"):
        block = stage.forge_block("A", (transaction,))
        effects = stage.deliver("A", m.Proposal(stage.forge_vote("A", PROPOSAL, 0, block.hash), block), "B")
    assert ask.FoundEvidence(stage.names["A"], HEIGHT) in effects


# --- members out of step --------------------------------------------------------------------------------------

def decided_stage() -> Stage:
    """A, B and C have decided without D."""
    stage = Stage("ABCD")
    stage.give_work("A", b"tx")
    exchange(stage, skip="D")
    assert [len(actor.decided) for actor in stage.actors.values()] == [1, 1, 1, 0]
    return stage


def test_a_late_precommit_joins_the_certificate_silently() -> None:
    stage = decided_stage()
    replica = stage.actors["A"].replica
    assert len(replica.certificate.signatures) == 3
    late = stage.forge_vote("D", PRECOMMIT, 0, stage.actors["A"].decided[0].hash)
    assert stage.deliver("D", late, "A") == []
    assert len(replica.certificate.signatures) == 4


def test_who_still_votes_gets_the_decision_once_in_a_while() -> None:
    stage = decided_stage()
    nil = stage.forge_vote("D", PREVOTE, 0, NIL)
    assert stage.deliver("D", nil, "A") == []  # it was under way when the block was decided
    (answer,) = sends(stage.deliver("D", nil, "A"))  # sent again: D has not heard
    assert isinstance(answer, m.Decision)
    assert stage.deliver("D", nil, "A") == []
    stage.now_ms += 1000
    assert len(sends(stage.deliver("D", stage.forge_vote("D", PREVOTE, 1, NIL), "A"))) == 1
    stage.deliver("A", answer, "D")
    assert len(stage.actors["D"].decided) == 1


def test_a_member_two_heights_behind_is_told_where_the_chain_ends() -> None:
    stage = decided_stage()
    replica = stage.actors["A"].replica
    second = assemble(
        replica.tip, BlockContext(CHAIN_ID, Height(2), stage.now_ms + 1, stage.names["B"], ()),
        stage.actors["A"].ledger._run((b"more",)), replica.certificate,
    )
    votes = [stage.forge_vote(name, PRECOMMIT, 0, second.hash, height=Height(2)) for name in "BCD"]
    stage.feed(stage.actors["A"], BlockSynced(second, make_certificate(stage.members, votes), stage.now_ms))
    assert replica.tip.height == 2
    (answer,) = sends(stage.deliver("D", stage.forge_vote("D", PREVOTE, 0, NIL), "A"))
    assert isinstance(answer, m.Status)
    assert answer.height == 2


def test_votes_for_a_later_height_are_kept_and_catch_up_is_told_once() -> None:
    stage = decided_stage()
    actor = stage.actors["D"]
    later = stage.forge_vote("B", PREVOTE, 0, NIL, height=Height(2))
    assert stage.deliver("B", later, "D") == [ask.Behind(stage.names["B"], Height(2))]
    assert stage.deliver("B", later, "D") == []
    stage.deliver("C", stage.forge_vote("C", PREVOTE, 0, NIL, height=Height(2)), "D")
    certificate = stage.actors["A"].replica.certificate
    assert certificate is not None
    stage.feed(actor, BlockSynced(stage.actors["A"].decided[0], certificate, stage.now_ms))
    assert actor.replica.state.step is Step.PROPOSE  # the two votes of height 2 have woken it


def test_a_missing_body_is_asked_for_and_decides() -> None:
    stage = Stage("D")
    block = stage.forge_block("A", (b"tx",))
    for name in "AB":
        stage.deliver(name, stage.forge_vote(name, PRECOMMIT, 0, block.hash), "D")
    effects = stage.deliver("C", stage.forge_vote("C", PRECOMMIT, 0, block.hash), "D")
    requests = [effect for effect in effects if isinstance(effect, Send)]
    assert [request.message for request in requests] == [m.BlockRequest(HEIGHT, block.hash)]
    other = stage.forge_block("A", (b"unasked",))
    stage.deliver("A", m.BlockResponse(other), "D")
    assert stage.actors["D"].decided == []
    stage.deliver("A", m.BlockResponse(block), "D")
    assert [decided.hash for decided in stage.actors["D"].decided] == [block.hash]


def test_another_holder_is_asked_when_nothing_came() -> None:
    stage = Stage("D")
    block = stage.forge_block("A", (b"tx",))
    for name in "ABC":
        stage.deliver(name, stage.forge_vote(name, PRECOMMIT, 0, block.hash), "D")
    asked = [e.peer for e in stage.actors["D"].effects if isinstance(e, Send)]
    for _ in range(3):
        effects = stage.fire("D", Timer.RESEND, 0)
        asked += [e.peer for e in effects if isinstance(e, Send) and isinstance(e.message, m.BlockRequest)]
    assert len(asked) == 4
    assert set(asked) == {stage.names[name] for name in "ABC"}


def test_bodies_are_given_to_who_asks() -> None:
    stage = Stage("AB")
    stage.give_work("A", b"tx")
    proposal = stage.actors["A"].find_proposal(0)
    effects = stage.deliver("B", m.BlockRequest(HEIGHT, proposal.vote.value), "A")
    assert effects == [Send(stage.names["B"], m.BlockResponse(proposal.block))]
    assert stage.deliver("B", m.BlockRequest(HEIGHT, b"x" * 32), "A") == []


def test_a_summary_is_answered_with_what_the_peer_lacks() -> None:
    stage = Stage("ABC")
    stage.give_work("A", b"tx")
    stage.deliver("B", stage.forge_vote("B", PREVOTE, 0, NIL), "A")
    places = stage.members.positions
    own = 1 << places[stage.names["A"]]
    stage.now_ms += 1000
    answer = sends(stage.deliver("C", m.VoteSummary(HEIGHT, View(0), False, bytes([own]), b"\0"), "A"))
    assert isinstance(answer[0], m.ViewCertificate)
    assert [vote.sender for vote in answer[0].votes] == [stage.names["B"]]
    assert isinstance(answer[1], m.Proposal)
    stage.now_ms += 1000
    assert stage.deliver("C", m.VoteSummary(HEIGHT, View(0), True, b"\x0f", b"\0"), "A") == []


def test_on_reconnect_a_member_says_again_what_it_said() -> None:
    stage = Stage("AB")
    stage.give_work("A", b"tx")
    stage.deliver("A", stage.actors["A"].find_proposal(0), "B")  # type: ignore[arg-type]
    said = sends(stage.feed(stage.actors["B"], PeerUp(stage.names["C"], stage.now_ms)))
    assert stage.actors["B"].find_vote(PREVOTE, 0) in said
    assert any(isinstance(message, m.VoteSummary) for message in said)
    said = sends(stage.feed(stage.actors["A"], PeerUp(stage.names["C"], stage.now_ms)))
    assert any(isinstance(message, m.Proposal) for message in said)


def test_a_repeated_proposal_travels_with_its_polka() -> None:
    stage = Stage("ABC")
    stage.give_work("A", b"tx")
    exchange(stage, skip="BC")
    proposal = stage.actors["A"].find_proposal(0)
    assert proposal is not None
    stage.deliver("A", proposal, "B")
    for name in "CD":
        stage.deliver(name, stage.forge_vote(name, PREVOTE, 0, proposal.vote.value), "B")
    assert stage.actors["B"].replica.state.locked_value == proposal.vote.value
    for name in "CD":
        stage.deliver(name, stage.forge_vote(name, PREVOTE, 1, NIL), "B")
    again = stage.actors["B"].find_proposal(1)
    assert (again.vote.valid_view, again.block) == (0, proposal.block)
    before = stage.actors["B"].sent[stage.actors["B"].sent.index(again) - 1]
    assert isinstance(before, m.Polka)


# --- not signing ----------------------------------------------------------------------------------------------

def silent_replica(stage: Stage, signer: VoteSigner) -> Actor:
    ledger = ToyLedger(stage.members)
    member = stage.names["D"]
    record = initial_record(CHAIN_ID, stage.signers[member].public_key)
    return Actor("D", member, Replica(stage.tip, None, ledger, signer, check=stage.check), ledger, record)


@pytest.mark.parametrize("kind", ["observer", "record missing"])
def test_who_must_not_sign_still_follows_and_says_why(kind: str) -> None:
    stage = Stage("ABC")
    member = stage.names["D"]
    signer = (
        VoteSigner(CHAIN_ID, None, None, None) if kind == "observer"
        else VoteSigner(CHAIN_ID, member, stage.signers[member], None)
    )
    actor = stage.actors["D"] = silent_replica(stage, signer)
    effects = stage.feed(actor, Started(stage.now_ms))
    assert effects == [ask.StoppedSigning(actor.replica.refusal or "")]
    stage.give_work("A", b"tx")
    exchange(stage)
    assert len(actor.decided) == 1
    assert "Persist" not in kinds(actor.effects)
    assert not any(isinstance(message, Vote | m.Proposal) for message in actor.sent)


def test_record_ahead_of_the_chain_waits_for_the_chain() -> None:
    stage = Stage("ABC")
    member = stage.names["D"]
    record = dataclasses.replace(
        initial_record(CHAIN_ID, stage.signers[member].public_key), height=Height(2), step=PREVOTE
    )
    actor = stage.actors["D"] = silent_replica(stage, VoteSigner(CHAIN_ID, member, stage.signers[member], record))
    stage.feed(actor, Started(stage.now_ms))
    stage.give_work("A", b"tx")
    exchange(stage)
    assert len(actor.decided) == 1
    assert not any(isinstance(message, Vote) for message in actor.sent)
    assert actor.replica.refusal is None


def test_a_certificate_with_a_signature_we_do_not_remember_stops_us() -> None:
    stage = Stage("D")
    decision = certified(stage, stage.forge_block("A", (b"tx",)), "ABD")
    effects = stage.deliver("A", decision, "D")
    assert kinds(effects) == ["Decide", "StoppedSigning"]


def test_a_decision_our_rules_refuse_ends_the_process() -> None:
    stage = Stage("D")
    with pytest.raises(VerificationFailed, match="rules refuse"):
        stage.deliver("A", certified(stage, stage.forge_block("A", (b"bad",))), "D")


def test_a_restart_goes_on_where_the_record_stands() -> None:
    stage = Stage("ABCD")
    stage.give_work("A", b"tx")
    proposal = stage.actors["A"].find_proposal(0)
    assert proposal is not None
    for name in "BC":
        stage.deliver("A", proposal, name)
    vote_a, vote_c = (stage.actors[name].find_vote(PREVOTE, 0) for name in "AC")
    assert vote_a is not None
    assert vote_c is not None
    stage.deliver("A", vote_a, "B")
    stage.deliver("C", vote_c, "B")
    precommit = stage.actors["B"].find_vote(PRECOMMIT, 0)
    assert precommit is not None
    stage.restart("B")
    actor = stage.actors["B"]
    assert (actor.replica.state.step, actor.replica.state.view) == (Step.PRECOMMIT, 0)
    assert actor.replica.state.valid.block.hash == proposal.vote.value
    assert actor.sent.count(precommit) == 2  # said before the crash, and again after it
    for name in "CD":
        stage.deliver(name, stage.forge_vote(name, PRECOMMIT, 0, proposal.vote.value), "B")
    assert len(actor.decided) == 1


def test_forged_votes_of_ours_do_not_exist_so_our_own_old_ones_are_welcome() -> None:
    stage = Stage("B")
    vote = stage.forge_vote("B", PREVOTE, 0, NIL, NO_VIEW)
    effects = stage.deliver("C", vote, "B")
    assert kinds(effects) == ["StoppedSigning"]
