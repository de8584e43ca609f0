"""Carries out what the rules of `view.py` ask for: signs and persists, builds, decides, moves on to the next height.

Security assumption: effects are performed in the order in which they were added, a `Persist` is durable before the
next one begins. The driver knows no messages but those it makes; `replica.py` feeds it.
"""

from __future__ import annotations

from typing import assert_never

from fednode.chain.block import MAX_EVIDENCE, Block, BlockContext, Execution, Tip, advance, assemble, check_evidence
from fednode.chain.consensus import effects as ask
from fednode.chain.consensus import view as table
from fednode.chain.consensus.application import Application
from fednode.chain.consensus.effects import Effect
from fednode.chain.consensus.events import Timer, ViewTimer
from fednode.chain.consensus.messages import Proposal
from fednode.chain.consensus.recovery import Recovery, Valid, VoteSigner, read_vote
from fednode.chain.consensus.view import HeightState, Step, Timeouts
from fednode.chain.consensus.votes import HeightFacts
from fednode.chain.vote import (
    NO_VIEW,
    PRECOMMIT,
    PROPOSAL,
    Certificate,
    Evidence,
    SignatureCheck,
    Vote,
    make_certificate,
    sign_bytes,
)
from fednode.effects import Broadcast, Persist, StartTimer
from fednode.errors import Rejected, VerificationFailed
from fednode.ids import Height, MemberId, View

MAX_PENDING_PER_MEMBER = 16
"""Proofs against one member that wait for a block: whoever offends more keeps no proof against another out."""


class Driver:
    """One member's protocol state and the effects it asks for."""

    __slots__ = (
        "_application", "_check", "_gone", "_persist_at", "_timeouts", "effects", "evidence", "facts", "is_halted",
        "now_ms", "own", "recovery", "signer", "state", "tip",
    )

    def __init__(
        self, tip: Tip, certificate: Certificate | None, application: Application, signer: VoteSigner,
        timeouts: Timeouts, check: SignatureCheck,
    ) -> None:
        self.tip = tip
        self.signer = signer
        self.state = HeightState()
        self.recovery = Recovery(tip, certificate)
        self.effects: list[Effect] = []
        self.now_ms = 0
        self.is_halted = False
        """Whether the next height is decided by rules this program does not know: it does nothing more."""
        self.own: dict[int, Vote] = {}
        """Own signatures of the current view, by kind: what is sent again."""
        self.evidence: dict[tuple[Height, MemberId], Evidence] = {}
        self._application = application
        self._timeouts = timeouts
        self._check = check
        self._persist_at: int | None = None
        self._gone: frozenset[MemberId] = frozenset()
        self.facts = HeightFacts(tip, application, check, self.recovery.known)
        if certificate is not None:
            self._notice_certificate(certificate)
        self._restore()

    def _restore(self) -> None:
        """Take up the height where the record left it: view, step, lock, valid value and the last vote itself."""
        record = self.signer.record
        if record is None or self.signer.refusal is not None or record.height != self.facts.height:
            return
        self.state.view, self.state.step = View(record.view), Step(record.step)
        self.state.locked_view, self.state.locked_value = View(record.locked_view), record.locked_value
        self.state.valid = record.valid
        self.facts.book.enter(record.view)
        if record.valid is not None:
            self.facts.add_block(record.valid.block)
            self.facts.book.add_polka(record.valid.polka)
        if record.step != PROPOSAL:
            vote = read_vote(record, MemberId(self.signer.member or 0))
            self.own[vote.kind] = vote
            self.facts.book.add(vote)

    def begin_event(self, now_ms: int) -> None:
        """Start a new list of effects."""
        self.effects = []
        self.now_ms = now_ms
        self._persist_at = None

    # --- the table at work ------------------------------------------------------------------------------------

    def run(self) -> bool:
        """Do what the rules ask for; return True as soon as a height has ended, False when the rules are silent."""
        while not self.is_halted:
            action = table.next_action(self.state, self.facts)
            if action is None:
                return False
            self.perform(action)
            if isinstance(action, table.Decided):
                return True
        return False

    def perform(self, action: table.Action) -> None:
        """Do one thing the rules ask for."""
        match action:
            case table.EnterView():
                self._enter_view(action)
            case table.Cast():
                table.apply(self.state, action)
                vote = self._sign(action.kind, action.valid_view, action.value)
                if vote is not None:
                    self.facts.book.add(vote)
                    self.effects.append(Broadcast(vote))
            case table.StartTimeout():
                table.apply(self.state, action)
                self._start_timer(action.timer, self._timeouts.get_vote_ms(self.state.view))
            case table.SetValid():
                table.apply(self.state, action)
            case table.Decided():
                precommits = self.facts.book.voters(action.view, PRECOMMIT, action.value)
                self.finish(action.value, make_certificate(self.tip.members, precommits.values()))
            case _:
                assert_never(action)

    def begin_height(self) -> None:
        """Begin the height if there is anything to decide; a leader that had nothing to propose tries again."""
        if self.is_halted:
            return
        if self.state.step is Step.IDLE:
            if self.has_work():
                self.wake()
        elif self.state.step is Step.PROPOSE and self._is_leader() and PROPOSAL not in self.own:
            self._propose()

    def wake(self) -> None:
        """Begin the height."""
        self.perform(table.EnterView(View(0)))

    def has_work(self) -> bool:
        """Whether this member has anything to put into a block.

        Against a member that the chain accuses already more evidence can wait for a block that is made anyway: else
        whoever signs everything twice would make an idle chain grow for ever.
        """
        return self._has_accused_anew() or self._application.has_work()

    def _has_accused_anew(self) -> bool:
        accused = {member for _, member in self.tip.offences}
        return any(piece.sender not in accused for piece in self.evidence.values())

    def start_timers(self) -> None:
        """Start what runs all the time within a view: after entering it, and after a restart in it."""
        if self.state.step is Step.PROPOSE:
            self._start_propose_timer()
        self.start_resend_timer()

    def note_gone(self, members: frozenset[MemberId]) -> None:
        """Pass over a leader that is gone after a short wait, in this view and in those to come.

        Whoever gives up on a leader votes for no block, which every member may do at any time: a wrong hint of one
        member costs at most its own vote in that view, and blocks need only q votes.
        """
        news, self._gone = members.difference(self._gone), members
        if self.state.step is Step.PROPOSE and self.tip.proposer(self.state.view) in news:
            self._start_propose_timer()

    def _start_propose_timer(self) -> None:
        is_gone = self.tip.proposer(self.state.view) in self._gone
        wait_ms = self._timeouts.gone_ms if is_gone else self._timeouts.get_propose_ms(self.state.view)
        self._start_timer(Timer.PROPOSE, wait_ms)

    def start_resend_timer(self) -> None:
        """Have own votes sent again after a while without a decision."""
        self._start_timer(Timer.RESEND, self._timeouts.get_resend_ms(self.state.view))

    def _start_timer(self, timer: Timer, delay_ms: int) -> None:
        self.effects.append(StartTimer(ViewTimer(timer, self.facts.height, self.state.view), delay_ms))

    def _enter_view(self, action: table.EnterView) -> None:
        """L11-L21: the leader proposes, everybody gives it time; who jumped over views asks for what it missed."""
        has_jumped = action.view > self.state.view + 1
        table.apply(self.state, action)
        valid = self.state.valid
        self.facts.enter(action.view, None if valid is None else valid.block)
        self.own = {}
        self.start_timers()
        if self._is_leader():
            self._propose()
        elif has_jumped:
            self.effects.append(Broadcast(self.recovery.summarise(self.facts, action.view)))

    # --- proposing and voting ---------------------------------------------------------------------------------

    def _is_leader(self) -> bool:
        return self.tip.proposer(self.state.view) == self.signer.member

    def _propose(self) -> None:
        """L14-L19: propose the valid value again, with the prevotes it rests on; else a new block, if there is work."""
        if not self.signer.may_sign(PROPOSAL, self.facts.height, self.state.view):
            return
        valid = self.state.valid
        block = self._build() if valid is None else valid.block
        if block is None:
            return
        vote = self._sign(PROPOSAL, NO_VIEW if valid is None else View(valid.view), block.hash)
        if vote is None:
            return
        if valid is not None:
            self.effects.append(Broadcast(valid.polka))
        proposal = Proposal(vote, block)
        self.facts.add_proposal(proposal, self.now_ms)
        self.effects.append(Broadcast(proposal))

    def _build(self) -> Block | None:
        """Return a new block; None if there is nothing to put in one.

        Once every member has led a view in vain the block may be empty, so that a height that was begun also ends.
        """
        tip = self.tip
        evidence = tuple(sorted(self._find_fit_evidence(), key=lambda piece: piece.offence)[:MAX_EVIDENCE])
        time_ms = max(self.now_ms, tip.time_ms + 1)
        leader = tip.proposer(self.state.view)
        context = BlockContext(tip.chain_id, self.facts.height, time_ms, leader, evidence)
        done = self._application.pick(context, bool(evidence) or self.state.view >= len(tip.members))
        if done is None:
            return None
        block = assemble(tip, context, done, self.recovery.get_certificate())
        self.facts.add_own(block, done)
        return block

    def _sign(self, kind: int, valid_view: View, value: bytes) -> Vote | None:
        """Sign, have the record persisted before anything that follows, and remember the vote for sending it again."""
        member, record = self.signer.member, self.signer.record
        if member is None or record is None or self.tip.members.keys.get(member) != record.public_key:
            return None  # no member of this height, or not with this key any more
        vote = self.signer.sign(kind, self.facts.height, self.state.view, valid_view, value, self._get_bound)
        if vote is not None:
            self._persist()
            self.own[kind] = vote
        return vote

    def _get_bound(self) -> tuple[View, bytes, Valid | None]:
        return self.state.locked_view, self.state.locked_value, self.state.valid

    def _persist(self) -> None:
        """Ask for the newest record to be written. Within one event it takes the place of an earlier one: that stands
        before every message signed since, and knows all of them.
        """
        record = self.signer.record
        assert record is not None, "a vote was signed"
        if self._persist_at is None:
            self._persist_at = len(self.effects)
            self.effects.append(Persist(record))
        else:
            self.effects[self._persist_at] = Persist(record)

    # --- deciding ---------------------------------------------------------------------------------------------

    def adopt(self, block: Block, certificate: Certificate) -> bool:
        """Take over a block that others decided, if it is the next; return whether it was."""
        if self.is_halted or certificate.height != self.facts.height or block.hash != certificate.block_hash:
            return False
        self.facts.add_block(block)
        self.finish(block.hash, certificate)
        return True

    def finish(self, value: bytes, certificate: Certificate) -> None:
        """Make a certified block the tip and stand ready for the next height."""
        block = self.facts.get_block(value)
        assert block is not None, "only a block that is here is decided"
        done = self._get_execution(value, certificate)
        book = self.facts.book
        self._application.commit(block, done)
        self.is_halted = done.is_last
        self.tip = advance(self.tip, block, done.next_members)
        self._notice_certificate(certificate)
        self.effects.append(ask.Decide(block, certificate, self.tip))
        self._persist_at = None  # a later record must not reach the disk before this block
        self.recovery.finish_height(self.tip, block, certificate, book)
        self.state, self.own = HeightState(), {}
        self.facts = HeightFacts(self.tip, self._application, self._check, self.recovery.known)
        if self.evidence:
            old, new = self.tip.signed_by.keys, self.tip.members.keys  # a replaced key's votes prove nothing any more
            fit = (piece for piece in self._find_fit_evidence() if old.get(piece.sender) == new.get(piece.sender))
            self.evidence = {piece.offence: piece for piece in fit}

    def schedule_next(self) -> None:
        """After a decision: let other events in before the next height begins."""
        if self.state.step is Step.IDLE and self.has_work():
            self._start_timer(Timer.NEXT_HEIGHT, 0)

    def _get_execution(self, value: bytes, certificate: Certificate) -> Execution:
        try:
            return self.facts.get_execution(value)
        except Rejected as error:
            raise VerificationFailed(
                f"the members decided block {certificate.height}, which this node's rules refuse ({error.reason}): its "
                "program or its state differs from theirs; install their version and let it fetch the chain anew"
            ) from None

    def _notice_certificate(self, certificate: Certificate) -> None:
        """Compare our signature in the tip's certificate with the sign-state."""
        member, record = self.signer.member, self.signer.record
        if member is None or record is None or self.tip.signed_by.keys.get(member) != record.public_key:
            return  # made with a key this member has replaced
        if member in certificate.signers(self.tip.signed_by):
            signed = sign_bytes(
                self.tip.chain_id, PRECOMMIT, certificate.height, certificate.view, NO_VIEW, certificate.block_hash
            )
            self.signer.notice(certificate.height, certificate.view, PRECOMMIT, signed)

    # --- double votes -----------------------------------------------------------------------------------------

    def note_evidence(self, piece: Evidence, is_own: bool) -> None:
        """Keep a proven double vote until a block carries it; the member that found it tells the others once."""
        if not self.wants(piece):
            return
        self.evidence[piece.offence] = piece
        self.effects.append(ask.FoundEvidence(piece.sender, piece.height))
        if is_own:
            self.effects.append(Broadcast(piece))
        self.begin_height()

    def wants(self, piece: Evidence) -> bool:
        """Whether a double vote, once it is proven, would be kept."""
        waiting = sum(other.sender == piece.sender for other in self.evidence.values())
        return piece.offence not in self.evidence and waiting < MAX_PENDING_PER_MEMBER and self._is_fit(piece)

    def _is_fit(self, piece: Evidence) -> bool:
        try:
            check_evidence(self.tip, piece)
        except Rejected:
            return False
        return True

    def _find_fit_evidence(self) -> list[Evidence]:
        return [piece for piece in self.evidence.values() if self._is_fit(piece)]
