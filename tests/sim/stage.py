"""Replicas on a stage: nothing moves unless the script says so.

Members are called A, B, C, ... in the order in which they lead the views of the first height. Some are honest and run
a real replica; the others are scripted: whatever is sent in their name is signed with their key.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fednode.chain.block import Block, BlockContext, Tip, assemble, genesis_tip
from fednode.chain.consensus import effects as ask
from fednode.chain.consensus.effects import Effect
from fednode.chain.consensus.events import Event, Received, Started, Timer, TimerFired, WorkArrived
from fednode.chain.consensus.messages import ConsensusMessage, Proposal, verify_message
from fednode.chain.consensus.recovery import SignRecord, VoteSigner, initial_record
from fednode.chain.consensus.replica import Replica
from fednode.chain.vote import (
    NIL,
    NO_VIEW,
    PRECOMMIT,
    PREVOTE,
    PROPOSAL,
    Evidence,
    Vote,
    domain_of,
    make_evidence,
    sign_bytes,
)
from fednode.crypto import Verified
from fednode.effects import Broadcast, Persist, Send
from fednode.ids import Height, MemberId, View
from tests.sim.checker import Checker
from tests.sim.keys import CHAIN_ID, GENESIS_MS, make_members
from tests.sim.ledger import ToyLedger

HEIGHT = Height(1)
KINDS = {"proposal": PROPOSAL, "prevote": PREVOTE, "precommit": PRECOMMIT}


@dataclass
class Actor:
    """An honest member: its replica, its sign-state file, what it has said."""

    name: str
    member: MemberId
    replica: Replica
    ledger: ToyLedger
    record: SignRecord
    sent: list[ConsensusMessage] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    decided: list[Block] = field(default_factory=list)

    def find_vote(self, kind: int, view: int) -> Vote | None:
        """The vote it has sent at one place."""
        return next((m for m in self.sent if isinstance(m, Vote) and (m.kind, m.view) == (kind, view)), None)

    def find_proposal(self, view: int) -> Proposal | None:
        """The proposal it has sent in a view."""
        return next((m for m in self.sent if isinstance(m, Proposal) and m.vote.view == view), None)


class Stage:
    """Everything about one height of a small federation."""

    def __init__(self, honest: str, count: int = 4) -> None:
        self.members, self.signers, self.check = make_members(count)
        self.tip: Tip = genesis_tip(CHAIN_ID, self.members, GENESIS_MS)
        self.names = {chr(ord("A") + index): member for index, member in enumerate(self.tip.next_order)}
        self.now_ms = GENESIS_MS + 1000
        self.blocks: dict[str, Block] = {}
        self.checker = Checker(self.members, self.check, frozenset(self.names[name] for name in honest))
        self.actors: dict[str, Actor] = {}
        for name in honest:
            record = initial_record(CHAIN_ID, self.signers[self.names[name]].public_key)
            self.actors[name] = self._make_actor(name, record)

    def _make_actor(self, name: str, record: SignRecord) -> Actor:
        member = self.names[name]
        ledger = ToyLedger(self.members)
        signer = VoteSigner(CHAIN_ID, member, self.signers[member], record)
        actor = Actor(name, member, Replica(self.tip, None, ledger, signer, check=self.check), ledger, record)
        self.feed(actor, Started(self.now_ms))
        return actor

    def restart(self, name: str, record: SignRecord | None = None) -> None:
        """Kill a member: what it did not persist is gone. With `record` its machine is restored from a copy."""
        old = self.actors[name]
        self.actors[name] = self._make_actor(name, record or old.record)
        self.actors[name].sent[:0] = old.sent
        self.actors[name].decided[:0] = old.decided

    def feed(self, actor: Actor, event: Event) -> list[Effect]:
        """Give one event to one member and keep what it asks for."""
        effects = actor.replica.handle(event)
        actor.effects += effects
        for effect in effects:
            match effect:
                case Persist():
                    actor.record = effect.record
                case Broadcast() | Send():
                    self.checker.on_sent(actor.member, effect.message)
                    actor.sent.append(effect.message)
                case ask.Decide():
                    self.checker.on_decided(effect.block, effect.certificate)
                    actor.decided.append(effect.block)
                case _:
                    pass
        return effects

    def deliver(self, sender: str, message: ConsensusMessage, to: str) -> list[Effect]:
        """Bring a message to one member, through the check every message passes."""
        verify_message(message, self.members, CHAIN_ID, self.check)
        return self.feed(self.actors[to], Received(Verified(message, self.names[sender]), self.now_ms))

    def give_work(self, name: str, transaction: bytes) -> None:
        """Put a transaction into one member's pool."""
        self.actors[name].ledger.add(transaction)
        self.feed(self.actors[name], WorkArrived(self.now_ms))

    def fire(self, name: str, timer: Timer, view: int) -> list[Effect]:
        """Let a timer of one member run out."""
        return self.feed(self.actors[name], TimerFired(timer, HEIGHT, View(view), self.now_ms))

    # --- in the name of a scripted member ---------------------------------------------------------------------

    def forge_vote(
        self, name: str, kind: int, view: int, value: bytes, valid_view: int = NO_VIEW, height: Height = HEIGHT
    ) -> Vote:
        """A vote signed with a scripted member's key."""
        message = sign_bytes(CHAIN_ID, kind, height, view, valid_view, value)
        signature = self.signers[self.names[name]].sign(domain_of(kind), message)
        return Vote(kind, height, View(view), View(valid_view), value, self.names[name], signature)

    def forge_block(
        self, builder: str, transactions: tuple[bytes, ...], evidence: tuple[Evidence, ...] = ()
    ) -> Block:
        """A block with these transactions, executed as the rules say."""
        context = BlockContext(CHAIN_ID, HEIGHT, self.now_ms, self.names[builder], evidence)
        return assemble(self.tip, context, ToyLedger(self.members)._run(transactions), None)

    def forge_evidence(self, against: str) -> Evidence:
        """Two votes that a member never signed."""
        value, member = b"v" * 32, self.names[against]
        one, other = (Vote(PREVOTE, HEIGHT, View(0), NO_VIEW, v, member, bytes(64)) for v in (NIL, value))
        return make_evidence(one, other)

    def get_value(self, name: str) -> bytes:
        """Hash of a named block; 'nil' is nil."""
        return NIL if name == "nil" else self.get_block(name).hash

    def get_block(self, name: str) -> Block:
        """A block by its name: the first one anybody proposed with the transaction of that name."""
        if name not in self.blocks:
            sent = [message for actor in self.actors.values() for message in actor.sent]
            blocks = [message.block for message in sent if isinstance(message, Proposal)]
            self.blocks[name] = next(block for block in blocks if b"tx " + name.encode() in block.transactions)
        return self.blocks[name]

    def get_vote(self, name: str, kind: int, view: int, value: bytes) -> Vote:
        """What a member says: an honest one's vote must have been sent, a scripted one's is made."""
        actor = self.actors.get(name)
        if actor is None:
            return self.forge_vote(name, kind, view, value)
        vote = actor.find_vote(kind, view)
        assert vote is not None, f"{name} has not cast vote {kind} in view {view}"
        assert vote.value == value, f"{name} voted for another value in view {view}"
        return vote
