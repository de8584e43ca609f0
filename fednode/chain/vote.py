"""Who may vote, signed votes, what proves a member voted twice, and what proves a block final.

Security assumption: Ed25519 (the one rule in `crypto`) is unforgeable, at most f members are faulty. The signed
bytes name chain, kind, height, view, echoed valid view and value at fixed offsets, under a domain tag per kind: a
signature of one chain, kind, height or view is worthless in any other.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Final

from fednode import crypto
from fednode.codec import U32, Bytes32, Bytes64, Range, Size, encode, tagged
from fednode.crypto import Domain, sha256, tagged_hash
from fednode.errors import Rejected
from fednode.ids import NO_HASH, Hash, Height, MemberId, View, fault_bound, quorum

# --- who may vote at a height, and whose turn it is to propose ----------------------------------------------------
# A pure function of the chain: two honest nodes with the same blocks name the same proposer, and years later anyone
# can show that a proposal came from the wrong one.


MAX_MEMBERS = 256

Id = Annotated[MemberId, Range(1, 2**16 - 1)]
Ids = Annotated[tuple[Id, ...], Size(0, MAX_MEMBERS)]

ABSENT_AFTER_SETS = 2
"""A member missing from the last 2n certificates goes to the end of the rota."""


@dataclass(frozen=True, slots=True)
class Member:
    """One voter: its number and the Ed25519 key it signs votes and transactions with."""

    id: Id
    sign_key: Bytes32


@dataclass(frozen=True)
class MemberSet:
    """The equal voters of one height, ascending by MemberId; never empty."""

    members: Annotated[tuple[Member, ...], Size(1, MAX_MEMBERS)]

    def __post_init__(self) -> None:
        ids = [member.id for member in self.members]
        if not ids or any(left >= right for left, right in itertools.pairwise(ids)):
            raise ValueError("members must be listed once each, in ascending order")
        if len({member.sign_key for member in self.members}) != len(ids):
            raise ValueError("two members share a signing key")

    def __len__(self) -> int:
        return len(self.members)

    @cached_property
    def ids(self) -> tuple[MemberId, ...]:
        """The members' numbers in member order."""
        return tuple(member.id for member in self.members)

    @cached_property
    def keys(self) -> dict[MemberId, bytes]:
        """Signing key of every member."""
        return {member.id: member.sign_key for member in self.members}

    @cached_property
    def positions(self) -> dict[MemberId, int]:
        """Index of every member in member order: its bit in a certificate."""
        return {member.id: index for index, member in enumerate(self.members)}

    @cached_property
    def fault_bound(self) -> int:
        """f: how many members may be arbitrarily faulty."""
        return fault_bound(len(self.members))

    @cached_property
    def quorum(self) -> int:
        """q: how many votes decide."""
        return quorum(len(self.members))

    @cached_property
    def hash(self) -> Hash:
        """Hash that a header names the set by."""
        return tagged_hash(Domain.BLOCK, b"members", encode(self))

    def key_of(self, member: MemberId) -> bytes:
        """Return a member's signing key; raise `Rejected` for a stranger."""
        key = self.keys.get(member)
        if key is None:
            raise Rejected(f"{member} is not a member")
        return key


@dataclass(frozen=True, slots=True)
class Rota:
    """Which members the chain shows to be away: they propose last, so a dead one costs its timeout once.

    `skipped`: a view of theirs was passed over, and no later certificate carries their signature.
    `missed`: number of latest certificates in a row without a member's signature (zeros left out, capped at 2n).
    """

    skipped: Ids = ()
    missed: Annotated[tuple[tuple[Id, U32], ...], Size(0, MAX_MEMBERS)] = ()

    def order(self, members: MemberSet, chain_id: bytes, height: Height) -> tuple[MemberId, ...]:
        """Return the proposers of views 0, 1, 2, ... (modulo n) of `height`.

        Present members take turns from (H(chain id) + height) mod n on. Counting heights up, instead of hashing each,
        keeps the rule stateless and lets no member lead two heights running: the rota learns of a dead leader one
        block late, and that block must not have the same leader.
        """
        limit = ABSENT_AFTER_SETS * len(members)
        away = {member for member, count in self.missed if count >= limit}.union(self.skipped)
        present = [member for member in members.ids if member not in away]
        absent = [member for member in members.ids if member in away]
        turn = int.from_bytes(sha256(chain_id)[:8], "big") + height
        return tuple(_rotate(present, turn) + _rotate(absent, turn))

    def after(
        self, members: MemberSet, signers: frozenset[MemberId], view: int, order: tuple[MemberId, ...]
    ) -> Rota:
        """Return the rota once a certificate is on the chain.

        `members` is the set that signed it, `order` the proposers of its height, `view` the view it decided in.
        """
        limit = ABSENT_AFTER_SETS * len(members)
        missed = dict(self.missed)
        counts = {m: 0 if m in signers else min(missed.get(m, 0) + 1, limit) for m in members.ids}
        still = {m for m in self.skipped if m not in signers and m in members.positions}
        leader = order[view % len(order)]
        passed = {order[index] for index in range(min(view, len(order)))} - {leader}
        return Rota(
            tuple(m for m in members.ids if m in still or m in passed),
            tuple((m, count) for m, count in counts.items() if count),
        )


def _rotate(items: list[MemberId], turn: int) -> list[MemberId]:
    if not items:
        return []
    start = turn % len(items)
    return items[start:] + items[:start]


# --- votes --------------------------------------------------------------------------------------------------------


PROPOSAL: Final = 1
PREVOTE: Final = 2
PRECOMMIT: Final = 3
"""Kinds of signature, in the order in which one member makes them within a view."""

NO_VIEW: Final = View(-1)
"""Valid view of a fresh proposal, and of every precommit."""

NIL: Final = NO_HASH
"""Value of a vote for no block."""

HeightField = Annotated[Height, Range(0, 2**63 - 1)]
ViewField = Annotated[View, Range(0, 2**31 - 1)]
ValidViewField = Annotated[View, Range(-1, 2**31 - 1)]

SignatureCheck = Callable[[bytes, Domain, bytes, bytes], bool]
"""(public key, domain, message, signature) -> valid; `crypto.is_signature_valid` but for simulated keys."""


class CountedCheck:
    """The check of a signature, which counts how often it is asked: what an event cost is charged to its sender."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, public_key: bytes, domain: Domain, message: bytes, signature: bytes) -> bool:
        self.count += 1
        return crypto.is_signature_valid(public_key, domain, message, signature)

    def take(self) -> int:
        """Return how many were checked since the last call."""
        count, self.count = self.count, 0
        return count


_DOMAINS = {PROPOSAL: Domain.PROPOSAL, PREVOTE: Domain.PREVOTE, PRECOMMIT: Domain.PRECOMMIT}
_LAYOUT = struct.Struct(">B32sQIi32s")
SIGN_BYTES = _LAYOUT.size


def domain_of(kind: int) -> Domain:
    """Return the domain tag under which votes of `kind` are signed."""
    return _DOMAINS[kind]


def sign_bytes(chain_id: bytes, kind: int, height: int, view: int, valid_view: int, value: bytes) -> bytes:
    """Return the 81 bytes a member signs: kind u8, chain id, height u64, view u32, valid view i32, value."""
    return _LAYOUT.pack(kind, chain_id, height, view, valid_view, value)


def read_sign_bytes(data: bytes) -> tuple[int, int, int, int, bytes]:
    """Return kind, height, view, valid view and value of what `sign_bytes` made."""
    kind, _, height, view, valid_view, value = _LAYOUT.unpack(data)
    return kind, height, view, valid_view, value


@tagged(2)
@dataclass(frozen=True, slots=True)
class Vote:
    """One signature of one member: proposal, prevote or precommit for `value` (zeros: nil).

    A prevote echoes the valid view of the proposal it answers, so that after a fork the f + 1 members who made it
    possible can be named from their signatures alone.
    """

    kind: Annotated[int, Range(PROPOSAL, PRECOMMIT)]
    height: HeightField
    view: ViewField
    valid_view: ValidViewField
    value: Bytes32
    sender: Id
    signature: Bytes64

    def __post_init__(self) -> None:
        if self.valid_view >= self.view:
            raise ValueError("valid view not below the view")
        if self.valid_view != NO_VIEW and self.kind == PRECOMMIT:
            raise ValueError("a precommit carries no valid view")
        if self.kind == PROPOSAL and self.value == NIL:
            raise ValueError("a proposal for nil")

    def signed_bytes(self, chain_id: bytes) -> bytes:
        """Return what `signature` covers."""
        return _LAYOUT.pack(self.kind, chain_id, self.height, self.view, self.valid_view, self.value)

    def contradicts(self, other: Vote) -> bool:
        """Whether one honest member cannot have signed both: same place, another statement."""
        return (
            (self.kind, self.height, self.view, self.sender) == (other.kind, other.height, other.view, other.sender)
            and (self.value, self.valid_view) != (other.value, other.valid_view)
        )


def verify_vote(
    vote: Vote, members: MemberSet, chain_id: bytes, check: SignatureCheck = crypto.is_signature_valid
) -> None:
    """Raise `Rejected` unless a member of the set signed this vote on this chain."""
    key = members.key_of(vote.sender)
    if not check(key, _DOMAINS[vote.kind], vote.signed_bytes(chain_id), vote.signature):
        raise Rejected("vote with a bad signature")


@tagged(9)
@dataclass(frozen=True, slots=True)
class Evidence:
    """Two votes that one honest member cannot both have signed. It flags; it does not expel by itself."""

    first: Vote
    second: Vote

    def __post_init__(self) -> None:
        if not self.first.contradicts(self.second):
            raise ValueError("the two votes do not contradict each other")
        if (self.first.value, self.first.valid_view) > (self.second.value, self.second.valid_view):
            raise ValueError("the two votes are in the wrong order")

    @property
    def sender(self) -> MemberId:
        """The member that signed twice."""
        return self.first.sender

    @property
    def height(self) -> Height:
        """Height of the double vote."""
        return self.first.height

    @property
    def offence(self) -> tuple[Height, MemberId]:
        """What the evidence is of: one offence per height and member, whatever pair of votes shows it."""
        return (self.first.height, self.first.sender)

    @property
    def id(self) -> Hash:
        """Name of the offence."""
        return tagged_hash(Domain.BLOCK, b"evidence", struct.pack(">QH", *self.offence))


def make_evidence(one: Vote, other: Vote) -> Evidence:
    """Return two contradicting votes as evidence, in canonical order."""
    first, second = sorted((one, other), key=lambda vote: (vote.value, vote.valid_view))
    return Evidence(first, second)


def verify_evidence(
    evidence: Evidence, members: MemberSet, chain_id: bytes, check: SignatureCheck = crypto.is_signature_valid
) -> None:
    """Raise `Rejected` unless both signatures hold: without them anyone could flag an honest member."""
    verify_vote(evidence.first, members, chain_id, check)
    verify_vote(evidence.second, members, chain_id, check)


@dataclass(frozen=True, slots=True)
class Certificate:
    """q or more precommits for one block: its proof of finality, checkable with the member set alone.

    `bitmap`: bit i % 8 of byte i // 8 is set for the member at index i; one signature per set bit, in member order.
    """

    height: HeightField
    view: ViewField
    block_hash: Bytes32
    bitmap: Annotated[bytes, Size(1, (MAX_MEMBERS + 7) // 8)]
    signatures: Annotated[tuple[Bytes64, ...], Size(1, MAX_MEMBERS)]

    @property
    def hash(self) -> Hash:
        """Hash by which the next header names this certificate."""
        return tagged_hash(Domain.BLOCK, b"certificate", encode(self))

    def signers(self, members: MemberSet) -> tuple[MemberId, ...]:
        """Return who signed, in member order; raise `Rejected` if the bitmap does not fit the set."""
        size = len(members)
        bits = int.from_bytes(self.bitmap, "little")
        if len(self.bitmap) != (size + 7) // 8 or bits >> size or bits.bit_count() != len(self.signatures):
            raise Rejected("certificate does not fit the member set")
        return tuple(member for index, member in enumerate(members.ids) if bits >> index & 1)


def make_certificate(members: MemberSet, precommits: Iterable[Vote]) -> Certificate:
    """Return the certificate made of precommits for one block in one view, one per sender."""
    by_place = sorted((members.positions[vote.sender], vote) for vote in precommits)
    first = by_place[0][1]
    bits = sum(1 << place for place, _ in by_place)
    bitmap = bits.to_bytes((len(members) + 7) // 8, "little")
    return Certificate(
        first.height, first.view, first.value, bitmap, tuple(vote.signature for _, vote in by_place)
    )


def verify_certificate(
    certificate: Certificate,
    members: MemberSet,
    chain_id: bytes,
    check: SignatureCheck = crypto.is_signature_valid,
    known: Mapping[MemberId, bytes] | None = None,
) -> tuple[MemberId, ...]:
    """Return the signers of a certificate in which every signature holds; raise `Rejected` otherwise.

    `members` is the set of the certificate's height. `known` holds signatures over exactly this height, view and
    block that were checked before: they are compared instead of verified again.
    """
    signers = certificate.signers(members)
    if len(signers) < members.quorum:
        raise Rejected(f"certificate with {len(signers)} signatures, {members.quorum} needed")
    message = sign_bytes(
        chain_id, PRECOMMIT, certificate.height, certificate.view, NO_VIEW, certificate.block_hash
    )
    for signer, signature in zip(signers, certificate.signatures, strict=True):
        if known is not None and known.get(signer) == signature:
            continue
        if not check(members.keys[signer], Domain.PRECOMMIT, message, signature):
            raise Rejected("certificate with a bad signature")
    return signers
