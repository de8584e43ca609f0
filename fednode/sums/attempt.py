"""One attempt of a secure sum: the place that everything derived in it is bound to, what members have posted, and what
follows from it.

The ledger keeps it and takes messages by it; the session is shown the same. Members in tuples are ascending. The long
bodies (keys, sketches and roots, answers, boxes) are kept apart, each under a key of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fednode.codec import U8, U16, U32, U64, Bytes32, Size, pack
from fednode.crypto import Domain, tagged_hash
from fednode.ids import PROTOCOL_VERSION, Hash, MemberId
from fednode.sums.bodies import Member, Members
from fednode.sums.bounds import MAX_OPENING_BYTES, MIN_OPENING_BYTES


@dataclass(frozen=True, slots=True)
class SumContext:
    """One attempt of one round: nothing derived for it fits another."""

    chain_id: bytes
    study: bytes
    round: int
    attempt: int

    @property
    def place(self) -> tuple[bytes, bytes, int, int]:
        """All of it, as it enters whatever is hashed or derived."""
        return (self.chain_id, self.study, self.round, self.attempt)


def key_proof_context(context: SumContext, member: int, which: str) -> bytes:
    """Return what the proof that `member` knows its scalar `which` ("a", "b" or "c") is bound to."""
    return pack(("fednode-keys", *context.place, member, which))


def dispute_context(context: SumContext, dealer: int, holder: int) -> bytes:
    """Return what a box that was dealt again, and the proof that opens it to everybody, are bound to."""
    return pack(("fednode-redeal", PROTOCOL_VERSION, *context.place, dealer, holder))


def compute_list_digest(study: bytes, round_: int, attempt: int, digests: Sequence[bytes]) -> Hash:
    """Return what an acknowledgement of the masked sum names: the hash over all chunk digests in chunk order."""
    place = (round_.to_bytes(4, "big"), attempt.to_bytes(2, "big"))
    return tagged_hash(Domain.ROUND, b"sum-list", study, *place, *digests)


Share = tuple[Member, Bytes32]
Pair = tuple[Member, Member]
"""(dealer, holder)."""
OpeningBytes = Annotated[bytes, Size(MIN_OPENING_BYTES, MAX_OPENING_BYTES)]


@dataclass(frozen=True, slots=True)
class ChunkRecord:
    """One chunk of the sum: who owned it in turn (the last one does), who reported which dealer missing, its digest.

    `reports` are pairs (dealer, reporter), ascending.
    """

    owners: tuple[Member, ...]
    reports: tuple[tuple[Member, Member], ...] = ()
    is_settled: bool = False
    digest: Bytes32 | None = None

    @property
    def owner(self) -> MemberId:
        """The member that owns the chunk now."""
        return self.owners[-1]


@dataclass(frozen=True, slots=True)
class Attempt:
    """Everything the members have posted in an attempt, and the sets that follow from it.

    holders      expected in KEYS: the members that shares are sealed to
    dealers      posted keys
    complaints   (holder, dealers it named) of every member that acknowledged
    answers      (dealer, ((holder, a, b), ...))
    present P, qualified Q, committed C ((member, root, weight) in Q order), left_out, included U
    chunks       one per member of Q
    acked        sent the digest of the whole list; sum_missing: (member, chunks) of those that could not
    own_b        ((member, scalar), ...); a_shares, b_shares: ((dealer, ((holder, share), ...)), ...)
    silent_b     members of U whose own b was missing when REVEAL2 opened

    From the freeze block (the q-th ack of the list of digests) on:

    freeze_height  its height, 0 before; freeze_block: its hash, known from the next block on
    coin_index     which link of every chain makes the coin; links: (member, link)
    shared         posted sketch and roots; query_seed: what the challenges are drawn from, once all of U have
    answered       (member, what it says of the sum, the parts that are in) of every member that answered
    openers        members whose answers carried the verdict on every dealer of U, or that confirmed what was dealt
                   again to them: whose openings count
    openings       (member, share of the summed sketch, weight and measures, hidden by what only members know)
    sum_opened     what they decode to, hidden alike

    From the end of PROOF on, where holders have not the share of a dealer that was proven:

    disputes       those shares; redealt: what was dealt again; confirm_seed: what the challenges of the confirm query
                   are drawn from, once all is
    confirmed      who answered the query
    unconfirmed    (dealer, holder, the answer that the holder's proven share gives) where the holder gave another one
    exposed        of these, boxes that their holder has opened to everybody, and that are wrong
    """

    number: U16
    holders: Members
    dealers: Members = ()
    complaints: tuple[tuple[Member, Members], ...] = ()
    answers: tuple[tuple[Member, tuple[tuple[Member, Bytes32, Bytes32], ...]], ...] = ()
    present: Members = ()
    qualified: Members = ()
    committed: tuple[tuple[Member, Bytes32, U16], ...] = ()
    chunks: tuple[ChunkRecord, ...] = ()
    left_out: Members = ()
    included: Members = ()
    list_digest: Bytes32 | None = None
    acked: Members = ()
    sum_missing: tuple[tuple[Member, tuple[U16, ...]], ...] = ()
    own_b: tuple[Share, ...] = ()
    a_shares: tuple[tuple[Member, tuple[Share, ...]], ...] = ()
    b_shares: tuple[tuple[Member, tuple[Share, ...]], ...] = ()
    silent_b: Members = ()
    freeze_height: U64 = 0
    freeze_block: Bytes32 | None = None
    coin_index: U32 = 0
    links: tuple[tuple[Member, Bytes32], ...] = ()
    coin: Bytes32 | None = None
    shared: Members = ()
    query_seed: Bytes32 | None = None
    answered: tuple[tuple[Member, U8, tuple[U8, ...]], ...] = ()
    openers: Members = ()
    openings: tuple[tuple[Member, OpeningBytes], ...] = ()
    sum_opened: OpeningBytes | None = None
    disputes: tuple[Pair, ...] = ()
    redealt: tuple[Pair, ...] = ()
    confirm_seed: Bytes32 | None = None
    confirmed: Members = ()
    unconfirmed: tuple[tuple[Member, Member, Annotated[bytes, Size(8, 64)]], ...] = ()
    exposed: tuple[Pair, ...] = ()

    @property
    def is_frozen(self) -> bool:
        """Whether Q, U and the masked sum are fixed."""
        return self.freeze_height > 0

    @property
    def committers(self) -> tuple[MemberId, ...]:
        """C."""
        return tuple(member for member, _, _ in self.committed)

    @property
    def owners(self) -> tuple[MemberId, ...]:
        """The owner of each chunk now."""
        return tuple(chunk.owner for chunk in self.chunks)

    @property
    def dropped(self) -> tuple[MemberId, ...]:
        """Q outside U: the members whose pair masks stand alone and whose a is opened, never their b."""
        return tuple(member for member in self.qualified if member not in self.included)

    @property
    def weight(self) -> int:
        """The sum of the weights that members of U posted: 0 where they are not public."""
        return sum(weight for member, _, weight in self.committed if member in self.included)

    @property
    def disputed_dealers(self) -> tuple[MemberId, ...]:
        """The dealers of disputed shares, ascending."""
        return tuple(sorted({dealer for dealer, _ in self.disputes}))

    def root_of(self, member: MemberId) -> bytes | None:
        """Return the root that a member committed, or None."""
        return next((root for known, root, _ in self.committed if known == member), None)

    def weight_of(self, member: MemberId) -> int:
        """Return the weight that a member of C posted with its root; `KeyError` for another."""
        return {known: weight for known, _, weight in self.committed}[member]

    def digest_of(self, chunk: int) -> bytes | None:
        """Return the posted digest of a chunk of the sum, or None."""
        return self.chunks[chunk].digest if chunk < len(self.chunks) else None

    def parts_of(self, member: MemberId) -> tuple[int, ...]:
        """Return the parts of its answers to the proofs that a member has posted."""
        return next((parts for known, _, parts in self.answered if known == member), ())

    def complainers(self, dealer: MemberId) -> tuple[MemberId, ...]:
        """Return the present members that named `dealer` when they acknowledged."""
        return tuple(holder for holder, wrong in self.complaints if dealer in wrong and holder in self.present)
