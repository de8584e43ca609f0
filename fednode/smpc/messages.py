"""What a secure sum is told and what it asks for: the ledger's view, events, effects, messages for the ledger.

Security assumption: a `SumView` is final ledger state computed by this node's own rules, never a peer's claim;
`sender` of a chunk or a request is the member authenticated by the connection. Fields that hold secrets or long
vectors are left out of `repr`, so that no journal prints them.

Terms: *dealer* shares its two key scalars, *holder* keeps a share; the masked vector y of a dealer is cut into one
chunk per qualified dealer; the *owner* of a chunk sums that chunk over everyone. P, Q, C and U are the members that
are present (keys and acknowledgement posted), qualified (keys accepted), committed, and included in the sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fednode.codec import U16, Range, pack
from fednode.crypto import Domain, Secret, tagged_hash
from fednode.ids import Hash, MemberId, fault_bound
from fednode.smpc.jobs import Job

MIN_INCLUDED = 3
"""Fewest members of any sum: with two, each would learn the other's vector."""


class Phase(IntEnum):
    """Phases of one attempt, numbered as on the ledger."""

    KEYS = 1
    ACK = 2
    ANSWER = 3
    COMMIT = 4
    ROSTER = 5
    DIGEST = 6
    SUMACK = 7
    REVEAL = 8
    REVEAL2 = 9
    RESULT = 10


@dataclass(frozen=True, slots=True)
class SumParams:
    """What is fixed for one round's secure sum before its first attempt.

    `members` are all members of the ledger, ascending; `length` is the number of ring elements of every vector.
    """

    chain_id: bytes
    study: bytes
    round: int
    me: MemberId
    members: tuple[MemberId, ...]
    length: int

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
        return max(self.threshold, MIN_INCLUDED)


# --- messages for the ledger: the fields of the transaction bodies without study, round and attempt ------------

@dataclass(frozen=True, slots=True)
class KeysMessage:
    """Feldman commitments to a (pair masks) and b (self mask), and every holder's two shares sealed to it."""

    a_points: tuple[bytes, ...]
    b_points: tuple[bytes, ...]
    a_proof: bytes
    b_proof: bytes
    sealed: tuple[tuple[MemberId, bytes], ...]


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
    """SHA-256 Merkle root over the BLAKE3 digests of the chunks of y, and the public weight."""

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
    """Openings decided by (Q, U) alone: own b, shares of a of dropped dealers, shares of b of silent ones."""

    own_b: bytes | None
    a_shares: tuple[tuple[MemberId, bytes], ...]
    b_shares: tuple[tuple[MemberId, bytes], ...]


Message = (
    KeysMessage | AckMessage | AnswerMessage | CommitMessage | RosterMessage | DigestMessage | SumAckMessage
    | RevealMessage
)


def key_proof_context(params: SumParams, attempt: int, member: MemberId, which: str) -> bytes:
    """Return the context of the proof that `member` knows its scalar `which` ("a" or "b")."""
    return pack(("fednode-keys", params.chain_id, params.study, params.round, attempt, member, which))


def compute_list_digest(params: SumParams, attempt: int, digests: tuple[bytes, ...]) -> Hash:
    """Return what an acknowledgement names: the digest of all chunk digests in chunk order."""
    place = (params.round.to_bytes(4, "big"), attempt.to_bytes(2, "big"))
    return tagged_hash(Domain.ROUND, b"sum-list", params.study, *place, *digests)


# --- the ledger's view -----------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class CommitPosted:
    """A commitment as the ledger holds it."""

    root: bytes
    weight: int


@dataclass(frozen=True, slots=True)
class SumView:
    """What the ledger says about the current attempt, after a block. Tuples of members are ascending.

    Fields that are not decided yet are empty (`owners`, `included`, ...). `holders` are the members expected in
    KEYS of this attempt; `complaints` maps each member that acknowledged to the dealers it named; `owners[c]` is the
    current owner of chunk c; `acked` are members whose SumAck named the list digest; `awaited_b` are the members of U
    whose own b was missing when REVEAL2 opened; `a_shares[j][h]` is the share of a_j that h opened (b likewise);
    `pinned`, if set, is the only U that may be unmasked. `phase_timeout_ms` belongs to the current phase.
    """

    attempt: int
    phase: Phase
    phase_no: int
    step: int
    phase_timeout_ms: int
    holders: tuple[MemberId, ...]
    seal_keys: Mapping[MemberId, bytes]
    posted: tuple[MemberId, ...] = ()
    keys: Mapping[MemberId, KeysMessage] = field(default_factory=dict)
    complaints: Mapping[MemberId, tuple[MemberId, ...]] = field(default_factory=dict)
    answers: Mapping[MemberId, tuple[tuple[MemberId, bytes, bytes], ...]] = field(default_factory=dict)
    present: tuple[MemberId, ...] = ()
    qualified: tuple[MemberId, ...] = ()
    committed: Mapping[MemberId, CommitPosted] = field(default_factory=dict)
    owners: tuple[MemberId, ...] = ()
    settled: tuple[int, ...] = ()
    left_out: tuple[MemberId, ...] = ()
    included: tuple[MemberId, ...] = ()
    digests: Mapping[int, bytes] = field(default_factory=dict)
    acked: tuple[MemberId, ...] = ()
    is_unmasked: bool = False
    own_b: Mapping[MemberId, bytes] = field(default_factory=dict)
    a_shares: Mapping[MemberId, Mapping[MemberId, bytes]] = field(default_factory=dict)
    b_shares: Mapping[MemberId, Mapping[MemberId, bytes]] = field(default_factory=dict)
    awaited_b: tuple[MemberId, ...] = ()
    pinned: tuple[MemberId, ...] | None = None


# --- chunks ----------------------------------------------------------------------------------------------------

class Lane(IntEnum):
    """Which vector a chunk belongs to."""

    MASKED = 1
    SUM = 2


@dataclass(frozen=True, slots=True)
class ChunkRef:
    """Name of a chunk within one study and round: codec record, so the wire can carry it as it is.

    `lane` MASKED: chunk of `dealer`'s masked vector. `lane` SUM: chunk of the masked sum, `dealer` is 0.
    """

    attempt: U16
    lane: Annotated[int, Range(1, 2)]
    dealer: U16
    chunk: U16


# --- events ----------------------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class ViewChanged:
    """A block was applied (or the node restarted): this is what the ledger says now."""

    view: SumView


@dataclass(frozen=True, slots=True, eq=False)
class InputReady:
    """This member's vector: uint32 ring elements, shape (length,), and its public weight, at least 1.

    The session keeps the array itself: nobody may change it any more.
    """

    values: NDArray[np.uint32] = field(repr=False)
    weight: int


@dataclass(frozen=True, slots=True)
class ChunkArrived:
    """A chunk from `sender`; `proof` is the Merkle path of a MASKED chunk (32-byte hashes joined), else empty."""

    sender: MemberId
    ref: ChunkRef
    proof: bytes = field(repr=False)
    data: bytes | bytearray | memoryview = field(repr=False)


@dataclass(frozen=True, slots=True)
class WantArrived:
    """`sender` asks for a chunk."""

    sender: MemberId
    ref: ChunkRef


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer of this session ran out; names of past phases are ignored."""

    name: str


@dataclass(frozen=True, slots=True)
class ComputeDone:
    """The result of `run(job)`."""

    job_id: int
    result: object = field(repr=False)


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A connection to `member` was (re)established."""

    member: MemberId


Event = ViewChanged | InputReady | ChunkArrived | WantArrived | TimerFired | ComputeDone | PeerUp


# --- effects ---------------------------------------------------------------------------------------------------

class RecordPart(Enum):
    """The two files of a round's record: the small one is rewritten, the long one is written once."""

    STATE = "state"
    INPUT = "input"


@dataclass(frozen=True, slots=True)
class Persist:
    """Replace one part of the round's record. It must be encrypted and durable before any later effect is done."""

    part: RecordPart
    data: Secret[bytes]


@dataclass(frozen=True, slots=True)
class Submit:
    """Sign and submit a message for `attempt`."""

    attempt: int
    message: Message


@dataclass(frozen=True, slots=True)
class SendChunk:
    """Send a chunk. Drop it if the same (to, ref) is still queued or being written: requests repeat."""

    to: MemberId
    ref: ChunkRef
    proof: bytes = field(repr=False)
    data: memoryview = field(repr=False)


@dataclass(frozen=True, slots=True)
class WantChunk:
    """Ask `to` for a chunk."""

    to: MemberId
    ref: ChunkRef


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Deliver `TimerFired(name)` after `delay_ms`."""

    name: str
    delay_ms: int


@dataclass(frozen=True, slots=True)
class Compute:
    """Run `jobs.run(job)`, in a thread if that helps, and deliver `ComputeDone`."""

    job_id: int
    job: Job = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class SumOpened:
    """The sum over U: int32, shape (length,), centred; the sum of weights over U; the digest of the sum.

    V1 does not prove it: a lying owner can change it, so the caller checks bounds before use.
    """

    values: NDArray[np.int32] = field(repr=False)
    weight: int
    digest: Hash


@dataclass(frozen=True, slots=True)
class SumFailed:
    """The openings on the ledger do not give the keys they claim: there is no sum in this round."""

    reason: str


@dataclass(frozen=True, slots=True)
class Note:
    """One line for the journal, without secrets."""

    text: str


Effect = (
    Persist | Submit | SendChunk | WantChunk | StartTimer | Compute | SumOpened | SumFailed | Note
)
