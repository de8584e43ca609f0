"""What a secure sum is run for, its phases, and what its members post: transaction bodies without their place.

Security assumption: none of these holds a secret that is not meant for everybody, or is sealed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

from fednode.ids import MemberId, fault_bound
from fednode.sums.bounds import Strength, min_included, strength_of
from fednode.sums.context import SumContext
from fednode.sums.measures import Plan
from fednode.sums.statement import Statement


@dataclass(frozen=True, slots=True)
class SumParams:
    """What is fixed for one round's secure sum before its first attempt.

    `members` are all members of the ledger, ascending; `length` is the number of ring elements of every vector.
    `statement` gives what a dealer has to prove, from the weight in its commitment (0 unless weights are
    public); it must be the ledger's own. `plan` is what every vector comes with claims about.
    """

    chain_id: bytes
    study: bytes
    round: int
    me: MemberId
    members: tuple[MemberId, ...]
    length: int
    has_public_weights: bool
    statement: Callable[[int], Statement]
    plan: Plan = ()

    def context(self, attempt: int) -> SumContext:
        """Return what every derivation of an attempt is bound to."""
        return SumContext(self.chain_id, self.study, self.round, attempt)

    @property
    def strength(self) -> Strength:
        """How hard the sum is bound."""
        return strength_of(len(self.members))

    @property
    def faults(self) -> int:
        """f: how many members may behave arbitrarily."""
        return fault_bound(len(self.members))

    @property
    def threshold(self) -> int:
        """T = N - f: how many shares open a vanished member's secret."""
        return len(self.members) - self.faults

    @property
    def min_included(self) -> int:
        """Fewest members that Q, C and U may ever hold: max(N - f, 3)."""
        return min_included(len(self.members))


# --- messages for the ledger: the fields of the transaction bodies without study, round and attempt ------------

@dataclass(frozen=True, slots=True)
class KeysMessage:
    """Feldman commitments to a (pair masks) and b (self mask), and every holder's two shares sealed to it.

    The dispute point is c times the base point, for a scalar c that only this member knows.
    """

    a_points: tuple[bytes, ...]
    b_points: tuple[bytes, ...]
    a_proof: bytes
    b_proof: bytes
    sealed: tuple[tuple[MemberId, bytes], ...]
    c_point: bytes
    c_proof: bytes


@dataclass(frozen=True, slots=True)
class AckMessage:
    """Dealers whose shares do not open or do not fit their points; every other dealer is acknowledged."""

    wrong: tuple[MemberId, ...]


@dataclass(frozen=True, slots=True)
class AnswerMessage:
    """The shares (holder, a, b) of exactly the holders that complained, made public."""

    shares: tuple[tuple[MemberId, bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class CommitMessage:
    """SHA-256 Merkle root over the BLAKE3 digests of the chunks of y, and the public weight (0 if it is not)."""

    root: bytes
    weight: int


@dataclass(frozen=True, slots=True)
class RosterMessage:
    """An owner's report on its chunks: pairs (chunk, dealer) of which it holds no valid data."""

    step: int
    missing: tuple[tuple[int, MemberId], ...]


@dataclass(frozen=True, slots=True)
class DigestMessage:
    """BLAKE3 digests (chunk, digest) of the masked sums this owner computed."""

    digests: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class SumAckMessage:
    """Either the digest of the whole list of digests ("I hold it all and serve it"), or the chunks not obtained."""

    list_digest: bytes | None
    missing: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RevealMessage:
    """Openings decided by (Q, U) alone: own b, shares of a of dropped dealers, shares of b of silent ones.

    `opening` (REVEAL only): the share of the sum over U of sketches, weight and measures; None from a member
    that does not hold a share of every member of U.
    """

    own_b: bytes | None
    a_shares: tuple[tuple[MemberId, bytes], ...]
    b_shares: tuple[tuple[MemberId, bytes], ...]
    opening: bytes | None = None


@dataclass(frozen=True, slots=True)
class CoinMessage:
    """This member's link of its hash chain, number `SumView.coin_index`."""

    preimage: bytes


@dataclass(frozen=True, slots=True)
class ShareRootMessage:
    """The sketch of the masked vector (256 words modulo 2^32, little endian) and the roots over the sealed boxes."""

    sketch: bytes
    bits_root: bytes
    proof_root: bytes


class SumOk(IntEnum):
    """What a holder says of the masked sum: is its sketch the sum of the posted ones?"""

    UNKNOWN = 0
    EQUAL = 1
    DIFFERS = 2


@dataclass(frozen=True, slots=True)
class ProofMessage:
    """Answers to the proofs of the dealers of U number 30 * part and following, joined, and a `SumOk`.
    Above 31 members answers are longer and fewer go into a part (`bounds.Strength`).

    1072 bytes a dealer; 0xff throughout for one whose shares this holder does not have.
    """

    part: int
    sum_ok: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RecheckMessage:
    """What a member found that added up all masked chunks itself: sums (chunk, digest) and sketches (dealer, SHA-256)
    other than those posted, and members that have a chunk, as its dealer or owner, and did not give it out."""

    chunks: tuple[tuple[int, bytes], ...]
    sketches: tuple[tuple[MemberId, bytes], ...]
    withheld: tuple[MemberId, ...]


@dataclass(frozen=True, slots=True)
class RedealMessage:
    """What `holder`, which disputes its share, is to hold of this dealer, hidden from the others (`proofs.redeal`)."""

    holder: MemberId
    box: bytes


@dataclass(frozen=True, slots=True)
class ConfirmMessage:
    """Answers to the confirm query about the disputed dealers, ascending, joined: 8 bytes a repetition; 0xff throughout
    for one of which this member holds nothing."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ExposeMessage:
    """The point with which everybody can open the box `dealer` redealt to this member, and a proof that it is."""

    dealer: MemberId
    shared: bytes
    proof: bytes


Message = (
    KeysMessage | AckMessage | AnswerMessage | CommitMessage | RosterMessage | DigestMessage | SumAckMessage
    | RevealMessage | CoinMessage | ShareRootMessage | ProofMessage | RecheckMessage | RedealMessage | ConfirmMessage
    | ExposeMessage
)
