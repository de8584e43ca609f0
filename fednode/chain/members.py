"""Who may vote at a height, and whose turn it is to propose.

Everything here is a pure function of the chain: two honest nodes with the same blocks name the same proposer, and
years later anyone can show that a proposal came from the wrong one.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from fednode.codec import U32, Bytes32, Range, Size, encode
from fednode.crypto import Domain, sha256, tagged_hash
from fednode.errors import Rejected
from fednode.ids import Hash, Height, MemberId, fault_bound, quorum

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
