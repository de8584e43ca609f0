"""The bodies of every kind of transaction: what a member may write on the ledger.

Bodies carry keys, digests and small shares. Vectors travel between members and never on the ledger. A body checks
its own form (sorted, distinct, in range) when it is built; whether the rules accept it is decided in `rules`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from fednode.codec import U8, U16, U32, U64, Bytes32, Bytes64, Range, Size, encode, tagged
from fednode.crypto import Domain, tagged_hash
from fednode.ids import MemberId, StudyId
from fednode.ledger.check_bodies import Coin, Confirm, Expose, Proof, Recheck, Redeal, ShareRoot, check_ascending
from fednode.ledger.members.bodies import MembershipBody
from fednode.ledger.studies.beginning import StudyBegin
from fednode.ledger.studies.measured import Metrics
from fednode.sums.bounds import MAX_LENGTH, MAX_OPENING_BYTES, MAX_WORDS, MIN_OPENING_BYTES
from fednode.texts import is_plain

MAX_SPEC_BYTES = 60_000
"""A study's specification must fit a transaction together with its terms."""

MAX_TERM_SHARES = 256
MAX_POINTS = 100
"""Feldman commitments in one message: T, so at most 100 are needed by the largest membership."""

MAX_SEALED_BYTES = 160

Member = Annotated[MemberId, Range(1, 2**16 - 1)]
Members = Annotated[tuple[Member, ...], Size(0, MAX_TERM_SHARES)]
Points = Annotated[tuple[Bytes32, ...], Size(1, MAX_POINTS)]
Reason = Annotated[str, Size(0, 100)]


class StudyAction(IntEnum):
    """What a member votes for; q equal votes carry it."""

    APPROVE = 1
    REJECT = 2
    RESUME = 3
    STOP = 4
    READMIT = 5


class Weights(IntEnum):
    """How hospitals count in the average: all alike, by a public weight each posts with its commitment, or by a
    hidden weight of which only the sum is ever opened."""

    EQUAL = 0
    PUBLIC = 1
    HIDDEN = 2


class Outcome(IntEnum):
    """Outcome of a round."""

    OK = 1
    FAILED = 2


def _check_printable(text: str, what: str) -> None:
    """Texts of one member are shown in the terminals of others: no control or invisible characters."""
    if not is_plain(text):
        raise ValueError(f"{what} must be printable, on one line")


# --- studies ---------------------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class ProofTerms:
    """What the proofs of a study's sums are about: parameters of the model, and packed words that are opened of summed
    statistics of the columns, of the quality of a model in training, and of the last one."""

    length: Annotated[int, Range(1, MAX_LENGTH)]
    statistics_words: Annotated[int, Range(0, MAX_WORDS)]
    quality_words: Annotated[int, Range(0, MAX_WORDS)]
    closing_words: Annotated[int, Range(0, MAX_WORDS)]


@dataclass(frozen=True, slots=True)
class StudyTerms:
    """What the ledger itself must know of a study; everything else is in the specification, opaque to it.

    Times are in milliseconds, the target accuracy in 1/10000 (0: none), `weight_bound` is the largest weight a member
    may post.
    """

    rounds: Annotated[int, Range(1, 2**16 - 1)]
    has_statistics: bool
    weights: U8
    weight_bound: Annotated[int, Range(1, 2**16 - 1)]
    start_after_ms: Annotated[int, Range(1, 2**32 - 1)]
    train_timeout_ms: Annotated[int, Range(1, 2**32 - 1)]
    phase_timeout_ms: Annotated[int, Range(1, 2**32 - 1)]
    proofs: ProofTerms
    target_accuracy_permyriad: Annotated[int, Range(0, 10_000)] = 0
    pause_after_failures: Annotated[int, Range(1, 255)] = 3

    def __post_init__(self) -> None:
        if self.weights not in tuple(Weights):
            raise ValueError("weights are equal (0), public (1) or hidden (2)")
        if self.weights == Weights.EQUAL and self.weight_bound != 1:
            raise ValueError("with equal weights the weight bound is 1")
        if self.weight_bound & (self.weight_bound + 1):
            raise ValueError("the bound of proven weights is 2^b - 1")


def compute_study_id(terms: StudyTerms, spec: bytes) -> StudyId:
    """Return the study's only name on the ledger."""
    return StudyId(tagged_hash(Domain.STUDY, encode(terms), spec))


@tagged(1)
@dataclass(frozen=True, slots=True)
class StudyCreate:
    """Propose a study; the other members read the specification and vote."""

    terms: StudyTerms
    spec: Annotated[bytes, Size(0, MAX_SPEC_BYTES)]


@tagged(2)
@dataclass(frozen=True, slots=True)
class StudyVote:
    """Vote on a study's life."""

    study: Bytes32
    action: Annotated[int, Range(1, 5)]


@tagged(3)
@dataclass(frozen=True, slots=True)
class StudyPause:
    """Pause a study at the next round boundary. Any member may: q must agree to go on."""

    study: Bytes32
    reason: Annotated[str, Size(0, 200)] = ""

    def __post_init__(self) -> None:
        _check_printable(self.reason, "a reason")


@tagged(10)
@dataclass(frozen=True, slots=True)
class Ready:
    """Join or rejoin: this member's data fit the study. `seal_key` is the X25519 key that its shares of the next round
    are sealed to, of no other: the keys of that round name the one after it. `coin_head`: link 0 of its chain."""

    study: Bytes32
    seal_key: Bytes32
    coin_head: Bytes32


# --- one attempt of a secure sum -------------------------------------------------------------------------------

@tagged(11)
@dataclass(frozen=True, slots=True)
class Keys:
    """Feldman commitments of the scalars a and b, proofs that the dealer knows them, and every holder's sealed shares.

    `a_points[0]` is the key point A = a G, `b_points[0]` the key point B; `sealed` lists every member expected in
    this attempt except the dealer, ascending. `next_key` is the X25519 key that shares of the next round are sealed to:
    what was sealed in this one opens for nobody once its members have deleted their keys of it. `c_point` = c G is the
    dispute key, proven like the others.
    """

    study: Bytes32
    round: U32
    attempt: U16
    a_points: Points
    b_points: Points
    a_proof: Bytes64
    b_proof: Bytes64
    sealed: Annotated[
        tuple[tuple[Member, Annotated[bytes, Size(1, MAX_SEALED_BYTES)]], ...], Size(0, MAX_TERM_SHARES)
    ]
    next_key: Bytes32
    c_point: Bytes32
    c_proof: Bytes64

    def __post_init__(self) -> None:
        check_ascending([holder for holder, _ in self.sealed], "holders")


@tagged(12)
@dataclass(frozen=True, slots=True)
class Acknowledge:
    """The dealers whose shares are wrong; every dealer not named is acknowledged."""

    study: Bytes32
    round: U32
    attempt: U16
    wrong: Members = ()

    def __post_init__(self) -> None:
        check_ascending(self.wrong, "dealers")


@tagged(13)
@dataclass(frozen=True, slots=True)
class Answer:
    """A dealer's reply to complaints: (holder, share of a, share of b) of exactly the holders that complained."""

    study: Bytes32
    round: U32
    attempt: U16
    shares: Annotated[tuple[tuple[Member, Bytes32, Bytes32], ...], Size(1, MAX_TERM_SHARES)]

    def __post_init__(self) -> None:
        check_ascending([holder for holder, _, _ in self.shares], "holders")


@tagged(14)
@dataclass(frozen=True, slots=True)
class Commit:
    """Merkle root over the chunks of the masked vector, and the public weight."""

    study: Bytes32
    round: U32
    attempt: U16
    root: Bytes32
    weight: U16


@tagged(15)
@dataclass(frozen=True, slots=True)
class Roster:
    """An owner's report: pairs (chunk, dealer) of which it holds no valid data. Empty: nothing is missing."""

    study: Bytes32
    round: U32
    attempt: U16
    step: U8
    missing: Annotated[tuple[tuple[U16, Member], ...], Size(0, 8192)] = ()

    def __post_init__(self) -> None:
        check_ascending(self.missing, "missing chunks")


@tagged(16)
@dataclass(frozen=True, slots=True)
class Digest:
    """Digests (chunk, digest) of the masked sums of every chunk the sender owns."""

    study: Bytes32
    round: U32
    attempt: U16
    digests: Annotated[tuple[tuple[U16, Bytes32], ...], Size(1, MAX_TERM_SHARES)]

    def __post_init__(self) -> None:
        check_ascending([chunk for chunk, _ in self.digests], "chunks")


@tagged(17)
@dataclass(frozen=True, slots=True)
class SumAck:
    """Either the digest of the whole list of digests ("I hold and serve it all"), or the chunks not obtained."""

    study: Bytes32
    round: U32
    attempt: U16
    list_digest: Bytes32 | None
    missing: Annotated[tuple[U16, ...], Size(0, MAX_TERM_SHARES)] = ()

    def __post_init__(self) -> None:
        check_ascending(self.missing, "chunks")
        if (self.list_digest is None) != bool(self.missing):
            raise ValueError("a sum acknowledgement carries either the list digest or missing chunks")


@tagged(18)
@dataclass(frozen=True, slots=True)
class Reveal:
    """Openings decided by the one Unmask alone: own b; shares of a of dropped dealers; shares of b of silent ones.

    `opening` is the sender's share of the summed sketch, weight and measures: elements of 8 bytes, little endian; None
    from who does not hold a share of every member of U.
    """

    study: Bytes32
    round: U32
    attempt: U16
    own_b: Bytes32 | None
    a_shares: Annotated[tuple[tuple[Member, Bytes32], ...], Size(0, MAX_TERM_SHARES)] = ()
    b_shares: Annotated[tuple[tuple[Member, Bytes32], ...], Size(0, MAX_TERM_SHARES)] = ()
    opening: Annotated[bytes, Size(MIN_OPENING_BYTES, MAX_OPENING_BYTES)] | None = None

    def __post_init__(self) -> None:
        check_ascending([dealer for dealer, _ in self.a_shares], "dealers")
        check_ascending([dealer for dealer, _ in self.b_shares], "dealers")


@tagged(19)
@dataclass(frozen=True, slots=True)
class Result:
    """A member's vote on the round: q equal ones close it. A failed one names the reason and no model.

    `wants_stop` is the sender's own word, on which members need not agree: by its own held-out rows training is done.
    """

    study: Bytes32
    round: U32
    attempt: U16
    outcome: Annotated[int, Range(1, 2)]
    reason: Reason
    sum_digest: Bytes32
    model_hash: Bytes32
    weight: U64
    metrics: Metrics | None = None
    wants_stop: bool = False

    def __post_init__(self) -> None:
        _check_printable(self.reason, "a reason")
        if self.outcome == Outcome.OK and self.reason:
            raise ValueError("a successful result gives no reason")
        if self.outcome == Outcome.FAILED and (any(self.model_hash) or self.weight or self.metrics is not None):
            raise ValueError("a failed result names no model, weight or metrics")


@tagged(20)
@dataclass(frozen=True, slots=True)
class Expire:
    """The sender's timer for phase `phase_no` of the study has run out; q of these end the phase."""

    study: Bytes32
    round: U32
    attempt: U16
    phase_no: U32


@tagged(30)
@dataclass(frozen=True, slots=True)
class Memo:
    """A signed line for auditors: it is recorded with its sender, height and time, and changes nothing else."""

    text: Annotated[str, Size(1, 256)]

    def __post_init__(self) -> None:
        _check_printable(self.text, "a memo")


Body = (
    StudyCreate | StudyVote | StudyPause | StudyBegin | Ready | Keys | Acknowledge | Answer | Commit | Roster | Digest
    | SumAck | Reveal | Result | Expire | Coin | ShareRoot | Proof | Recheck | Redeal | Confirm | Expose
    | Memo | MembershipBody
)
