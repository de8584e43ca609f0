"""The consensus machine of one member: events in, effects out, nothing else.

Security assumption: messages come in `Verified`, so every signature in them holds for the member set of the current
height; effects are performed in order; at most f members are faulty.

Heights begin only when there is work: a transaction in the pool, a proposal, f + 1 members voting, or evidence.
"""

from __future__ import annotations

from enum import Enum
from typing import assert_never

from fednode import crypto
from fednode.chain.block import Tip
from fednode.chain.consensus import effects as ask
from fednode.chain.consensus import view as table
from fednode.chain.consensus.application import Application
from fednode.chain.consensus.driver import Driver
from fednode.chain.consensus.effects import Effect
from fednode.chain.consensus.events import (
    BlockSynced,
    Event,
    OutOfReach,
    PeersGone,
    PeerUp,
    Received,
    Started,
    Timer,
    TimerFired,
    WorkArrived,
)
from fednode.chain.consensus.messages import (
    BlockRequest,
    BlockResponse,
    ConsensusMessage,
    Decision,
    Polka,
    Proposal,
    Status,
    ViewCertificate,
    VoteSummary,
    make_bundles,
    verify_message,
)
from fednode.chain.consensus.recovery import VoteSigner
from fednode.chain.consensus.view import HeightState, Step, Timeouts
from fednode.chain.vote import PROPOSAL, Certificate, Evidence, SignatureCheck, Vote
from fednode.crypto import Verified
from fednode.effects import Broadcast, DropPeer, Send
from fednode.errors import Rejected
from fednode.ids import Height, MemberId


class Replica:
    """One member's consensus. `handle` is the only way in; the properties are for status displays and tests."""

    def __init__(
        self,
        tip: Tip,
        certificate: Certificate | None,
        application: Application,
        signer: VoteSigner,
        timeouts: Timeouts | None = None,
        check: SignatureCheck = crypto.is_signature_valid,
    ) -> None:
        """`tip` and `certificate` (None at genesis) are those stored with the last block; the rest is this member's."""
        self._driver = Driver(tip, certificate, application, signer, timeouts or Timeouts(), check)
        self._recovery = self._driver.recovery
        self._has_told_refusal = False

    @property
    def tip(self) -> Tip:
        """End of the chain as decided here."""
        return self._driver.tip

    @property
    def member(self) -> MemberId | None:
        """Who this node is; None if it only follows."""
        return self._driver.signer.member

    @property
    def state(self) -> HeightState:
        """View, step, lock and valid value of the height under decision."""
        return self._driver.state

    @property
    def refusal(self) -> str | None:
        """Why this node signs nothing; None if it votes."""
        return self._driver.signer.refusal

    @property
    def has_consented(self) -> bool:
        """Whether this member has signed the succession of this chain: it signs nothing more on it."""
        return self._driver.signer.has_consented

    def hold(self, is_held: bool) -> None:
        """Sign nothing for now, or go on: while another machine uses the same key."""
        self._driver.signer.is_held = is_held

    @property
    def certificate(self) -> Certificate | None:
        """Proof of the last block, with every precommit that has come in since; None at genesis."""
        return self._recovery.get_certificate()

    @property
    def pending_evidence(self) -> tuple[Evidence, ...]:
        """Double votes that are not on the chain yet."""
        return tuple(self._driver.evidence.values())

    def awaits(self, block_hash: bytes) -> bool:
        """Whether the body of this block was asked for and is not here yet."""
        return self._recovery.is_awaited(block_hash) and self._driver.facts.get_block(block_hash) is None

    def has_proposal(self, vote: Vote) -> bool:
        """Whether this very proposal of the height under decision is here, with its block."""
        known = self._driver.facts.get_proposal(vote.view)
        return known is not None and known.vote == vote

    def has_vote(self, vote: Vote) -> bool:
        """Whether this very vote was checked and kept: whoever heals sends again what is here already."""
        if vote.height == self._driver.facts.height:
            return self._driver.facts.book.has(vote)
        return self._recovery.has(vote)

    def wants(self, piece: Evidence) -> bool:
        """Whether a double vote, once it is proven, would be kept."""
        return self._driver.wants(piece)

    def handle(self, event: Event) -> list[Effect]:
        """Take one event; return what is to be done, in this order."""
        driver = self._driver
        driver.begin_event(event.now_ms)
        match event:
            case Received():
                self._dispatch(event.message.value, MemberId(event.message.sender))
            case OutOfReach():
                self._on_out_of_reach(event.peer, event.height)
            case TimerFired():
                self._on_timer(event)
            case WorkArrived():
                driver.begin_height()
            case PeerUp():
                if driver.state.step is not Step.IDLE:
                    self._speak_again(event.peer)
            case PeersGone():
                driver.note_gone(event.peers)
            case BlockSynced():
                if driver.adopt(event.block, event.certificate):
                    self._begin_next()
            case Started():
                self._start()
            case _:
                assert_never(event)
        while driver.run():
            self._begin_next()
        self._ask_for_bodies()
        if driver.signer.refusal is not None and not self._has_told_refusal:
            self._has_told_refusal = True
            driver.effects.append(ask.StoppedSigning(driver.signer.refusal))
        return driver.effects

    def _start(self) -> None:
        if self.state.step is Step.IDLE:
            self._driver.begin_height()
        else:
            self._driver.start_timers()
            self._speak_again(None)

    def _begin_next(self) -> None:
        """A height has ended: take what came early for the next one, then see whether there is work."""
        if self._driver.is_halted:
            return
        for message, peer in self._recovery.take_early():
            self._dispatch(message, peer)
        self._driver.schedule_next()

    def _ask_for_bodies(self) -> None:
        driver = self._driver
        for value, holders in driver.facts.find_missing(driver.state.view):
            peer = self._recovery.choose_holder(value, holders, driver.signer.member)
            if peer is not None:
                self._send(peer, BlockRequest(driver.facts.height, value))

    def _send(self, peer: MemberId, message: ConsensusMessage | None) -> None:
        if message is not None:
            self._driver.effects.append(Send(peer, message))

    # --- messages ---------------------------------------------------------------------------------------------

    def _dispatch(self, message: ConsensusMessage, peer: MemberId) -> None:
        match message:
            case Vote():
                self._on_vote(message, peer)
            case Proposal():
                self._on_proposal(message, peer)
            case ViewCertificate() | Polka():
                self._on_bundle(message, peer)
            case Decision():
                self._on_decision(message, peer)
            case VoteSummary():
                self._on_summary(message, peer)
            case BlockRequest():
                self._on_block_request(message, peer)
            case BlockResponse():
                if self._recovery.is_awaited(message.block.hash):
                    self._driver.facts.add_block(message.block)
            case Evidence():
                self._driver.note_evidence(message, is_own=False)
            case Status():
                self._note_height(peer, message.height + 1)
            case _:
                assert_never(message)

    def _note_height(self, peer: MemberId, height: int) -> bool:
        """Whether `peer` works on a later height than we do; if that is news, catch-up is told."""
        if height <= self._driver.facts.height:
            return False
        if self._recovery.is_news(peer, height):
            self._driver.effects.append(ask.Behind(peer, Height(height)))
        return True

    def _on_out_of_reach(self, peer: MemberId, height: int) -> None:
        """Somebody is far ahead, or so far behind that its votes are of no use: tell catch-up, or tell it."""
        if not self._note_height(peer, height) and height < self._driver.tip.height:
            self._send(peer, self._recovery.answer_laggard(height, peer, self._driver.now_ms))

    def _on_vote(self, vote: Vote, peer: MemberId) -> None:
        driver = self._driver
        if vote.sender == driver.signer.member:
            driver.signer.notice(vote.height, vote.view, vote.kind, vote.signed_bytes(driver.tip.chain_id))
        if vote.height == driver.facts.height:
            evidence = driver.facts.book.add(vote).evidence
        elif self._note_height(peer, vote.height):
            self._recovery.keep_early(vote, vote, peer)
            return
        else:
            evidence, answer = self._recovery.take_late(vote, peer, driver.now_ms)
            self._send(peer, answer)
        if evidence is not None:
            driver.note_evidence(evidence, is_own=True)

    def _on_proposal(self, proposal: Proposal, peer: MemberId) -> None:
        driver, vote = self._driver, proposal.vote
        if self._note_height(peer, vote.height):
            self._recovery.keep_early(vote, proposal, peer)
        if vote.height != driver.facts.height or vote.view > driver.state.view + 1:
            return
        if vote.sender == driver.signer.member:
            driver.signer.notice(vote.height, vote.view, PROPOSAL, vote.signed_bytes(driver.tip.chain_id))
        if self._recovery.is_awaited(vote.value):
            driver.facts.add_block(proposal.block)
        if vote.view < driver.state.view:
            return
        try:
            evidence = driver.facts.add_proposal(proposal, driver.now_ms)
        except Rejected as error:
            driver.effects.append(DropPeer(peer, error.reason))
            return
        if evidence is not None:
            driver.note_evidence(evidence, is_own=True)
        if driver.state.step is Step.IDLE:
            driver.wake()

    def _on_bundle(self, bundle: ViewCertificate | Polka, peer: MemberId) -> None:
        facts = self._driver.facts
        if isinstance(bundle, Polka) and bundle.votes[0].height == facts.height:
            facts.book.add_polka(bundle)
        for vote in bundle.votes:
            self._on_vote(vote, peer)

    def _on_decision(self, decision: Decision, peer: MemberId) -> None:
        if not self._note_height(peer, decision.certificate.height) and self._driver.adopt(
            decision.block, decision.certificate
        ):
            self._begin_next()

    def _on_summary(self, summary: VoteSummary, peer: MemberId) -> None:
        driver = self._driver
        if self._note_height(peer, summary.height):
            return
        if summary.height < driver.facts.height:
            self._send(peer, self._recovery.answer_laggard(summary.height, peer, driver.now_ms))
        elif driver.state.step is not Step.IDLE:
            for message in self._recovery.answer_summary(
                summary, peer, driver.facts, driver.state.view, driver.now_ms
            ):
                self._send(peer, message)

    def _on_block_request(self, request: BlockRequest, peer: MemberId) -> None:
        driver = self._driver
        block = driver.facts.get_block(request.block_hash)
        if block is not None:
            if self._recovery.may_answer(peer, "block", driver.now_ms):
                self._send(peer, BlockResponse(block))
        elif request.height < driver.facts.height:
            self._send(peer, self._recovery.answer_laggard(request.height, peer, driver.now_ms))

    # --- keeping in step --------------------------------------------------------------------------------------

    def _on_timer(self, event: TimerFired) -> None:
        driver = self._driver
        if event.height != driver.facts.height:
            return
        if event.kind is Timer.NEXT_HEIGHT:
            driver.begin_height()
        elif event.kind is Timer.RESEND:
            if driver.state.step is not Step.IDLE:
                self._recovery.ask_again()
                self._speak_again(None)
                driver.start_resend_timer()
        else:
            action = table.on_timeout(driver.state, event.kind, event.view)
            if action is not None:
                driver.perform(action)

    def _speak_again(self, peer: MemberId | None) -> None:
        """Send own votes, what moved us to this view, and what we have, to one member or to all."""
        driver = self._driver
        view, book = driver.state.view, driver.facts.book
        messages: list[ConsensusMessage] = []
        if view:
            messages += make_bundles(book.reasons_for(view), len(driver.tip.members))
        if driver.state.valid is not None:
            messages.append(driver.state.valid.polka)
        proposal = driver.facts.get_proposal(view)
        if proposal is not None and proposal.vote.sender == driver.signer.member:
            messages.append(proposal)
        messages.extend(vote for kind, vote in sorted(driver.own.items()) if kind != PROPOSAL)
        messages.append(self._recovery.summarise(driver.facts, view))
        for message in messages:
            driver.effects.append(Broadcast(message) if peer is None else Send(peer, message))


# --- what is worth checking signatures for
#
# A look at a message's height, turn and use, before anything is spent on it. Security assumption: nothing in the
# message is proven yet, so nothing here changes what this member believes. A wrong verdict costs a message that honest
# members send again, never safety.


class Worth(Enum):
    """What to do with a message."""

    CHECK = 1
    """Verify it, then let the replica have it."""
    OUT_OF_REACH = 2
    """It is of a height whose votes are counted no more, or not yet: only where its sender stands is of interest."""
    NOTHING = 3
    """It can change nothing here."""


def admit(
    message: ConsensusMessage,
    peer: MemberId,
    replica: Replica,
    chain_id: bytes,
    now_ms: int,
    check: SignatureCheck = crypto.is_signature_valid,
) -> Event | None:
    """Return what a message of `peer` means to the replica, with every signature that counts checked; None if nothing.

    A vote that is here already is compared byte for byte and not checked again. Raises `Rejected` if no honest member
    sends the message.
    """
    match sift(message, replica):
        case Worth.CHECK:
            verify_message(message, replica.tip.members, chain_id, check, replica.has_vote)
            return Received(Verified(message, peer), now_ms)
        case Worth.OUT_OF_REACH:
            return OutOfReach(peer, height_of(message), now_ms)
        case _:
            return None


def height_of(message: ConsensusMessage) -> Height:
    """Return the height a message is about."""
    match message:
        case Polka() | ViewCertificate():
            return message.votes[0].height
        case Proposal():
            return message.vote.height
        case Decision():
            return message.certificate.height
        case BlockResponse():
            return message.block.height
        case _:
            return message.height


def sift(message: ConsensusMessage, replica: Replica) -> Worth:
    """Return what a message is worth; raise `Rejected` if no honest member sends it, whatever its signatures."""
    lowest = replica.tip.height
    height = height_of(message)
    match message:
        case Vote() | Polka() | ViewCertificate():
            # counted are those of the last block, of the height under decision, and of the one after; and if this
            # member's key has signed something that it knows nothing of, it must learn so
            votes = (message,) if isinstance(message, Vote) else message.votes
            is_of_use = lowest <= height <= lowest + 2 or any(vote.sender == replica.member for vote in votes)
            return Worth.CHECK if is_of_use else Worth.OUT_OF_REACH
        case Proposal():
            return _sift_proposal(message, replica)
        case Decision():
            if height <= lowest:
                return Worth.NOTHING
            return Worth.CHECK if height == lowest + 1 else Worth.OUT_OF_REACH
        case BlockResponse():
            return Worth.CHECK if replica.awaits(message.block.hash) else Worth.NOTHING
        case Evidence():
            return Worth.CHECK if replica.wants(message) else Worth.NOTHING
        case VoteSummary() | BlockRequest() | Status():
            return Worth.CHECK
        case _:
            assert_never(message)


def _sift_proposal(proposal: Proposal, replica: Replica) -> Worth:
    vote, next_height = proposal.vote, replica.tip.height + 1
    if vote.height != next_height:
        if vote.height < next_height:
            return Worth.NOTHING
        return Worth.CHECK if vote.height == next_height + 1 else Worth.OUT_OF_REACH
    if vote.sender != replica.tip.proposer(vote.view):
        raise Rejected("proposal out of turn")
    return Worth.NOTHING if replica.has_proposal(vote) else Worth.CHECK
