"""The bodies about a study: its proposal, votes on its life, who is ready, and the results of its rounds.

A body checks its own form (sorted, distinct, in range) when it is built; whether the rules accept it they decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from fednode.chain.vote import Id, Ids
from fednode.codec import U8, U16, U32, U64, Bytes32, Range, Size, encode, tagged
from fednode.crypto import Domain, tagged_hash
from fednode.ids import StudyId
from fednode.sums.bounds import LOSS_BITS, MAX_LENGTH, MAX_ROW_LOSS, MAX_WORDS, SHARE_BITS
from fednode.texts import check_plain

MAX_SPEC_BYTES = 60_000
"""A study's specification must fit a transaction together with its terms."""

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
        check_plain("a reason", self.reason)


@tagged(10)
@dataclass(frozen=True, slots=True)
class Ready:
    """Join or rejoin: this member's data fit the study. `seal_key` is the X25519 key that its shares of the next round
    are sealed to, of no other: the keys of that round name the one after it. `coin_head`: link 0 of its chain."""

    study: Bytes32
    seal_key: Bytes32
    coin_head: Bytes32


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
        check_plain("a reason", self.reason)
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


@tagged(24)
@dataclass(frozen=True, slots=True)
class Gone:
    """The sender finds no way to these expected members of phase `phase_no`; whom q name is not waited for any more.

    The sender's next vote on the phase takes the place of this one; one without members takes it back.
    """

    study: Bytes32
    round: U32
    attempt: U16
    phase_no: U32
    members: Ids

    def __post_init__(self) -> None:
        if list(self.members) != sorted(set(self.members)):
            raise ValueError("members must be ascending")


@tagged(4)
@dataclass(frozen=True, slots=True)
class StudyBegin:
    """Vote that a study opens its first round without a hospital that is not ready; q votes that name it carry it."""

    study: Bytes32
    without: Id


# --- a model's quality --------------------------------------------------------------------------------------------
# Fractions summed over hospitals, and what liars can have made of them. Security assumption: every member's fractions
# were proven to be those of one voice (`sums.measures`), so f liars move a mean over V voices by at most f / V of its
# range, and a target that holds without them holds whatever they said.


MAX_VOICES = 256
SHARE_UNIT = (1 << SHARE_BITS) - 1
LOSS_UNIT = (1 << LOSS_BITS) - 1

MAX_FIGURES = 16


@dataclass(frozen=True, slots=True)
class Figure:
    """One of the study's own metrics of the last model: its name, its value in millionths, and over how many hospitals
    it was summed."""

    name: Annotated[str, Size(1, 64)]
    ppm: Annotated[int, Range(0, 1_000_000)]
    voices: Annotated[int, Range(1, MAX_VOICES)]

    def __post_init__(self) -> None:
        check_plain("the name of a metric", self.name)


@dataclass(frozen=True, slots=True)
class Metrics:
    """What hospitals measured of a model on held-out rows, one voice each: fractions are summed, never rows.

    `voices` hospitals had such rows; `right` is the sum of their shares of rows classified right, in 1/SHARE_UNIT;
    `loss` that of the mean losses of `loss_voices`, in MAX_ROW_LOSS/LOSS_UNIT nats; `figures` are the study's own
    metrics. Voices differ only where somebody lies, or a hospital lacks a class.
    """

    voices: Annotated[int, Range(1, MAX_VOICES)]
    right: U32
    loss_voices: Annotated[int, Range(0, MAX_VOICES)]
    loss: U32
    figures: Annotated[tuple[Figure, ...], Size(0, MAX_FIGURES)] = ()

    def __post_init__(self) -> None:
        if self.right > self.voices * SHARE_UNIT or self.loss > self.loss_voices * LOSS_UNIT:
            raise ValueError("more is right, or lost, than the voices can say")
        if len({figure.name for figure in self.figures}) != len(self.figures):
            raise ValueError("a metric is given twice")

    @property
    def accuracy_permyriad(self) -> int:
        """Mean share of rows right in 1/10000, rounded down."""
        return 10_000 * self.right // (self.voices * SHARE_UNIT)

    @property
    def loss_ppm(self) -> int:
        """Mean loss in 10^-6 nats, rounded down; 0 without a voice."""
        return 1_000_000 * MAX_ROW_LOSS * self.loss // (max(self.loss_voices, 1) * LOSS_UNIT)

    def holds_without(self, liars: int, target_permyriad: int) -> bool:
        """Whether the mean share of rows right is at least the target whichever `liars` voices are left out, each of
        them having said that all is right."""
        left = self.voices - liars
        return left > 0 and 10_000 * (self.right - liars * SHARE_UNIT) >= target_permyriad * left * SHARE_UNIT


class TrainingEnd(IntEnum):
    """Why no further round trains."""

    NOT_YET = 0
    ROUNDS = 1
    TARGET = 2
    WISHES = 3

    @property
    def reason(self) -> str:
        """For people."""
        return {
            TrainingEnd.ROUNDS: "all rounds done",
            TrainingEnd.TARGET: "the target accuracy is reached, whatever f members claim",
            TrainingEnd.WISHES: "enough members find by their own held-out rows that training is done",
        }.get(self, "")
