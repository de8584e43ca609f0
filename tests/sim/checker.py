"""What must hold in every run, checked from the outside: nothing here uses the thresholds of the code under test."""

from __future__ import annotations

from fednode.chain.block import Block
from fednode.chain.consensus.messages import ConsensusMessage, Proposal
from fednode.chain.vote import NO_VIEW, PRECOMMIT, Certificate, MemberSet, SignatureCheck, Vote, sign_bytes
from fednode.crypto import Domain
from fednode.ids import NO_HASH, MemberId
from tests.sim.keys import CHAIN_ID, GENESIS_MS
from tests.sim.ledger import compute_members, compute_state_root, is_allowed


class Violation(AssertionError):
    """A property that the protocol promises does not hold."""


class Checker:
    """Watches what honest members sign and decide."""

    def __init__(
        self, members: MemberSet, check: SignatureCheck, honest: frozenset[MemberId],
        everybody: MemberSet | None = None,
    ) -> None:
        self._members = [members]
        """Who decides height h + 1, at index h."""
        self._everybody = everybody or members
        self._check = check
        self._honest = honest
        self._signed: dict[tuple[int, int, int, int], tuple[bytes, int]] = {}
        self.chain: list[Block] = []
        self._roots: list[bytes] = [NO_HASH]
        self._seen: set[bytes] = set()
        self._offences: set[tuple[int, int]] = set()

    def on_sent(self, sender: MemberId, message: ConsensusMessage) -> None:
        """No honest member signs two different statements for one place."""
        vote = message if isinstance(message, Vote) else message.vote if isinstance(message, Proposal) else None
        if vote is None or vote.sender != sender or sender not in self._honest:
            return
        place = (vote.sender, vote.height, vote.view, vote.kind)
        said = (vote.value, vote.valid_view)
        if self._signed.setdefault(place, said) != said:
            raise Violation(f"honest member {sender} signed twice at {place[1:]}")

    def on_decided(self, block: Block, certificate: Certificate) -> None:
        """Every decision is certified, valid, and the same as everybody's."""
        self._check_certificate(block, certificate)
        height = block.header.height
        if height <= len(self.chain):
            if self.chain[height - 1].hash != block.hash:
                raise Violation(f"two blocks at height {height}")
            return
        if height != len(self.chain) + 1:
            raise Violation(f"height {height} decided before {len(self.chain) + 1}")
        self._check_block(block)
        self._members.append(self.execute(self._members[-1], block))
        self.chain.append(block)

    def _check_certificate(self, block: Block, certificate: Certificate) -> None:
        if certificate.height > len(self._members):
            raise Violation(f"height {certificate.height} decided before {len(self._members)}")
        members = self._members[certificate.height - 1].members
        count = len(members)
        signers = [
            member for index, member in enumerate(members)
            if certificate.bitmap[index // 8] >> index % 8 & 1
        ]
        if 3 * len(signers) <= 2 * count or len(signers) != len(certificate.signatures):
            raise Violation(f"certificate of height {certificate.height} with {len(signers)} of {count} signers")
        if certificate.block_hash != block.hash or certificate.height != block.header.height:
            raise Violation("certificate of another block")
        message = sign_bytes(CHAIN_ID, PRECOMMIT, certificate.height, certificate.view, NO_VIEW, block.hash)
        for member, signature in zip(signers, certificate.signatures, strict=True):
            if not self._check(member.sign_key, Domain.PRECOMMIT, message, signature):
                raise Violation(f"certificate of height {certificate.height} with a bad signature")

    def _check_block(self, block: Block) -> None:
        header = block.header
        parent_hash, parent_ms = (
            (self.chain[-1].hash, self.chain[-1].header.time_ms) if self.chain else (NO_HASH, GENESIS_MS)
        )
        if header.parent_hash != parent_hash or header.time_ms <= parent_ms:
            raise Violation(f"block {header.height} does not follow its parent")
        for piece in block.evidence:
            if piece.sender in self._honest:
                raise Violation(f"evidence against honest member {piece.sender}")
            if piece.offence in self._offences:
                raise Violation(f"evidence of one offence twice: {piece.offence}")
            self._offences.add(piece.offence)

    def execute(self, members: MemberSet, block: Block) -> MemberSet:
        """Check what is in a block that `members` decided; return the members of the next height."""
        if not all(is_allowed(item) and item not in self._seen for item in block.transactions):
            raise Violation(f"block {block.height} holds a transaction that may not be in it")
        root = compute_state_root(self._roots[-1], block.transactions)
        if block.header.state_root != root:
            raise Violation(f"block {block.height} has a wrong state root")
        self._roots.append(root)
        self._seen.update(block.transactions)
        return compute_members(members, self._everybody, block.transactions)

    def on_reported(self, peer: MemberId, reason: str) -> None:
        """Nobody reports an honest member."""
        if peer in self._honest:
            raise Violation(f"honest member {peer} was reported: {reason}")
