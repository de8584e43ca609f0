"""A member that attacks: it follows the protocol well enough to be counted, and breaks it wherever that may hurt.

What it may do is what a real one could: sign anything with its own key, say different things to different members,
keep, repeat, delay and mix what others signed. It cannot sign for others; where it tries, the signature is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fednode.chain import sync
from fednode.chain.block import MAX_TRANSACTIONS_BYTES, Block, BlockContext, assemble
from fednode.chain.consensus import messages as m
from fednode.chain.consensus.effects import Effect
from fednode.chain.vote import (
    NIL,
    NO_VIEW,
    PRECOMMIT,
    PREVOTE,
    PROPOSAL,
    Certificate,
    Vote,
    domain_of,
    make_evidence,
    sign_bytes,
)
from fednode.effects import Broadcast
from fednode.errors import Rejected
from fednode.ids import Hash, Height, MemberId, View
from tests.sim.keys import CHAIN_ID
from tests.sim.node import SimNode

KEPT = 40
ATTACK_SHARE = 0.2
"""Share of the events at which it attacks."""


class Adversary(SimNode):
    """One hostile machine. It has an honest replica inside, so that it knows where the others are."""

    heard: list[m.ConsensusMessage]
    attacks: dict[str, int]

    def start(self) -> None:
        self.heard, self.attacks = [], {}
        super().start()

    def receive(self, sender: MemberId, message: m.ConsensusMessage | sync.SyncMessage) -> None:
        """Listen, keep what may be of use, answer with an attack now and then."""
        if not isinstance(message, m.Status | sync.BlockRangeRequest | sync.BlockRangeResponse):
            self.heard.append(message)
            del self.heard[:-KEPT]
        super().receive(sender, message)
        if self.is_up and self.world.random.random() < ATTACK_SHARE:
            self.attack()

    def attack(self) -> None:
        """Make one attack and send it to some members."""
        draw = self.world.random
        make = draw.choice(ATTACKS)
        try:
            messages = [m.decode_message(m.encode_message(message)) for message in make(self)]
        except (Rejected, ValueError):
            return  # the codec refuses these bytes at every receiver
        name = make.__name__.lstrip("_")
        self.attacks[name] = self.attacks.get(name, 0) + len(messages)
        for message in messages:
            for member in self._some_members():
                self.world.send(self, member, message)

    def _perform(self, effect: Effect) -> None:
        """What the replica inside wants to say reaches only some, and others may hear the opposite."""
        if not isinstance(effect, Broadcast) or self.world.random.random() < 0.6:
            super()._perform(effect)
            return
        chosen = self._some_members()
        for member in chosen:
            self.world.send(self, member, effect.message)
        if isinstance(effect.message, Vote):
            vote = effect.message
            other = self._vote(vote.kind, vote.view, self._some_value())
            for member in self.world.members.ids:
                if member not in chosen and member != self.member:
                    self.world.send(self, member, other)

    # --- material -----------------------------------------------------------------------------------------------

    def _some_members(self) -> list[MemberId]:
        draw = self.world.random
        return [member for member in self.world.members.ids if member != self.member and draw.random() < 0.6]

    def _sign(self, kind: int, height: int, view: int, valid_view: int, value: bytes) -> Vote:
        message = sign_bytes(CHAIN_ID, kind, height, view, valid_view, value)
        signature = self.world.signers[self.member].sign(domain_of(kind), message)
        return Vote(kind, Height(height), View(view), View(valid_view), value, self.member, signature)

    def _vote(self, kind: int, view: int, value: bytes, height: int | None = None) -> Vote:
        return self._sign(kind, self.replica.tip.height + 1 if height is None else height, view, NO_VIEW, value)

    def _some_value(self) -> bytes:
        values = [vote.value for vote in self._heard_votes()]
        return self.world.random.choice([NIL, NIL, *values])

    def _heard_votes(self, kind: int | None = None) -> list[Vote]:
        found: list[Vote] = []
        for message in self.heard:
            if isinstance(message, Vote):
                found.append(message)
            elif isinstance(message, m.Polka | m.ViewCertificate):
                found += message.votes
        return [vote for vote in found if kind is None or vote.kind == kind]

    def _block(self, *transactions: bytes) -> Block:
        """A block of its own on top of the chain."""
        tip = self.replica.tip
        context = BlockContext(CHAIN_ID, Height(tip.height + 1), max(self.now_ms(), tip.time_ms + 1), self.member, ())
        return assemble(tip, context, self.ledger._run(transactions), self.replica.certificate)

    def _heard_blocks(self) -> list[Block]:
        return [message.block for message in self.heard if isinstance(message, m.Proposal)]


Attack = Callable[[Adversary], list[m.ConsensusMessage]]


def _forged_valid_view(self: Adversary) -> list[m.ConsensusMessage]:
    """A proposal that names a view in which its block had no prevotes."""
    draw = self.world.random
    view = self.replica.state.view + draw.randrange(3)
    block = draw.choice([self._block(b"tx hostile %d" % self.replica.tip.height), *self._heard_blocks()])
    vote = self._sign(PROPOSAL, block.header.height, view, draw.randrange(-1, max(view, 0)), block.hash)
    return [m.Proposal(vote, block)]


def _older_polka(self: Adversary) -> list[m.ConsensusMessage]:
    """A real quorum of prevotes of an earlier view, shown again, with a proposal that rests on it."""
    draw = self.world.random
    polkas = [message for message in self.heard if isinstance(message, m.Polka)]
    by_place: dict[tuple[int, int, bytes], dict[MemberId, Vote]] = {}
    for vote in self._heard_votes(PREVOTE):
        by_place.setdefault((vote.height, vote.view, vote.value), {})[vote.sender] = vote
    quorum = self.replica.tip.members.quorum
    polkas += [
        m.Polka(tuple(votes[member] for member in sorted(votes))) for votes in by_place.values() if len(votes) >= quorum
    ]
    if not polkas:
        return []
    polka = draw.choice(polkas)
    found: list[m.ConsensusMessage] = [polka]
    first = polka.votes[0]
    for block in self._heard_blocks():
        if block.hash == first.value:
            view = first.view + 1 + draw.randrange(3)
            found.append(m.Proposal(self._sign(PROPOSAL, first.height, view, first.view, block.hash), block))
            break
    return found


def _short_polka(self: Adversary) -> list[m.ConsensusMessage]:
    """Prevotes for its own block by nobody else."""
    block = self._block(b"tx hostile")
    return [m.Polka((self._vote(PREVOTE, self.replica.state.view, block.hash),))]


def _double_vote(self: Adversary) -> list[m.ConsensusMessage]:
    """Two votes at one place, or a vote where the honest replica inside made another."""
    kind = self.world.random.choice((PREVOTE, PRECOMMIT))
    return [self._vote(kind, self.replica.state.view, self._some_value())]


def _two_proposals(self: Adversary) -> list[m.ConsensusMessage]:
    """Two blocks for one view."""
    view = self.replica.state.view
    blocks = (self._block(b"tx hostile one"), self._block(b"tx hostile two"))
    return [m.Proposal(self._sign(PROPOSAL, block.header.height, view, -1, block.hash), block) for block in blocks]


def _invalid_block(self: Adversary) -> list[m.ConsensusMessage]:
    """A block with what may not be in it, or with a state that does not follow."""
    block = self._block(b"bad")
    if self.world.random.random() < 0.5:
        block = self._block(b"tx hostile")
        block = replace(block, header=replace(block.header, state_root=Hash(bytes(32))))
    view = self.replica.state.view
    return [m.Proposal(self._sign(PROPOSAL, block.header.height, view, -1, block.hash), block)]


def _stale(self: Adversary) -> list[m.ConsensusMessage]:
    """Something said long ago, by anybody."""
    return [self.world.random.choice(self.heard)] if self.heard else []


def _wrong_height(self: Adversary) -> list[m.ConsensusMessage]:
    """Votes of heights that are over, or that nobody has reached; views far away."""
    draw, height = self.world.random, self.replica.tip.height + 1
    far = draw.choice((max(0, height - 1), max(0, height - 7), height + 1, height + 2, height + 10**9, 2**62))
    view = draw.choice((0, 1, 5, 10**6, 2**31 - 1))
    kind = draw.choice((PREVOTE, PRECOMMIT))
    return [self._vote(kind, view, self._some_value(), draw.choice((height, far)))]


def _unknown_index(self: Adversary) -> list[m.ConsensusMessage]:
    """Bitmaps that do not fit, members that do not exist, blocks that nobody has."""
    draw, height, view = self.world.random, Height(self.replica.tip.height + 1), self.replica.state.view
    bits = draw.choice((b"", b"\xff", b"\xff" * 4, bytes(32)))
    stranger = replace(self._vote(PREVOTE, view, NIL), sender=MemberId(draw.choice((99, 65_535))))
    return [
        m.VoteSummary(draw.choice((height, Height(height + 3), Height(0))), View(view), False, bits, bits),
        stranger,
        m.BlockRequest(height, bytes(32)),
    ]


def _forged_vote(self: Adversary) -> list[m.ConsensusMessage]:
    """A vote in another member's name."""
    votes = self._heard_votes()
    if not votes:
        return []
    vote = self.world.random.choice(votes)
    return [replace(vote, value=self._some_value(), view=self.replica.state.view, valid_view=NO_VIEW)]


def _framing(self: Adversary) -> list[m.ConsensusMessage]:
    """Evidence against a member that signed only one of the two votes."""
    votes = [vote for vote in self._heard_votes(PREVOTE) if vote.sender != self.member]
    if not votes:
        return []
    vote = self.world.random.choice(votes)
    other = b"v" * 32 if vote.value == NIL else NIL
    return [make_evidence(vote, replace(vote, value=other))]


def _lonely_certificate(self: Adversary) -> list[m.ConsensusMessage]:
    """A decision that it alone signed: once, or as often as a quorum needs."""
    members = self.replica.tip.members
    block = self._block(b"tx hostile decided")
    if self.member not in members.positions:
        return []
    vote = self._vote(PRECOMMIT, 0, block.hash)
    own = 1 << members.positions[self.member]
    all_bits = (1 << len(members)) - 1
    bits = self.world.random.choice((own, all_bits))
    size = (len(members) + 7) // 8
    certificate = Certificate(
        vote.height, vote.view, block.hash, bits.to_bytes(size, "little"), (vote.signature,) * members.quorum
    )
    return [m.Decision(block, certificate)]


def _oversized(self: Adversary) -> list[m.ConsensusMessage]:
    """More than a block may hold, or a bundle of more votes than the members have."""
    if self.world.random.random() < 0.05:
        block = self._block(b"tx" + bytes(MAX_TRANSACTIONS_BYTES))
        return [m.Proposal(self._sign(PROPOSAL, block.header.height, self.replica.state.view, -1, block.hash), block)]
    value, count = self._some_value(), self.world.random.choice((1, 2)) * m.bundle_bound(len(self.replica.tip.members))
    return [m.ViewCertificate(tuple(self._vote(PREVOTE, view, value) for view in range(count)))]


def _unasked_block(self: Adversary) -> list[m.ConsensusMessage]:
    """A body nobody asked for."""
    return [m.BlockResponse(self._block(b"tx hostile body"))]


ATTACKS: tuple[Attack, ...] = (
    _forged_valid_view, _forged_valid_view, _older_polka, _older_polka, _short_polka, _double_vote, _double_vote,
    _two_proposals, _invalid_block, _stale, _stale, _wrong_height, _unknown_index, _forged_vote, _framing,
    _lonely_certificate, _oversized, _unasked_block,
)


