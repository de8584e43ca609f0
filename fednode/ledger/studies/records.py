"""What the ledger remembers of studies and of their closed rounds, and what reads it from the state.

All members of tuples are ascending unless said otherwise. Times are milliseconds of block time and are kept for
reports only: no rule compares them, because a chain has no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from fednode.chain.state import Source
from fednode.chain.vote import MAX_MEMBERS, Id, Ids
from fednode.codec import U8, U16, U32, U64, Bytes32, Size
from fednode.ids import MemberId, StudyId, quorum
from fednode.ledger.studies.bodies import Metrics, StudyTerms, TrainingEnd
from fednode.ledger.sums.records import (
    NO_COINS,
    Absence,
    Coins,
    KeptOut,
    Leashes,
    OpenPhase,
    PhaseSpan,
    RoundRecord,
    Text,
    VoidAttempt,
)
from fednode.sums.bodies import Member, Members

# --- a study before its first round -------------------------------------------------------------------------------
# Whom it waits for, the vote to begin without one of them, and who counts the votes. Security assumption: a hospital
# that is late, down or still reading its table is left out by q people who name it, never by time alone: a study
# trained without a hospital cannot be made complete afterwards.


@dataclass(frozen=True, slots=True)
class Without:
    """Who votes that the study begins without `member`."""

    member: Id
    voters: Ids


@dataclass(frozen=True, slots=True)
class Beginning:
    """A study that has not opened a round yet. `since_ms` is the block time from which on it waits.

    `without` is ascending by member, at most one of each.
    """

    since_height: U64
    since_ms: U64
    without: Annotated[tuple[Without, ...], Size(0, MAX_MEMBERS)] = ()

    def voters(self, member: int) -> tuple[MemberId, ...]:
        """Return who votes to begin without a hospital."""
        return next((tuple(vote.voters) for vote in self.without if vote.member == member), ())

    def is_left_out(self, member: int, member_count: int) -> bool:
        """Whether q of the members vote to begin without a hospital."""
        return len(self.voters(member)) >= quorum(member_count)


GENESIS_CREATOR = 0
"""Creator of a study that came with the genesis."""


class StudyStatus(IntEnum):
    """Life of a study. PAUSING and STOPPING wait for the running round to end."""

    CREATED = 1
    REJECTED = 2
    WAITING = 3
    RUNNING = 4
    PAUSING = 5
    PAUSED = 6
    STOPPING = 7
    STOPPED = 8
    FINISHED = 9


@dataclass(frozen=True, slots=True)
class StudyList:
    """Ids of all studies in order of creation."""

    studies: Annotated[tuple[Bytes32, ...], Size(0, 1000)]


@dataclass(frozen=True, slots=True)
class SpecRecord:
    """A study's specification, kept apart because it is large and never changes."""

    spec: bytes


@dataclass(frozen=True, slots=True)
class ReadyEntry:
    """A member of a study. It takes part in the rounds that open while `ready_height` > `absent_height`."""

    member: Member
    seal_key: Bytes32
    coin_head: Bytes32
    ready_height: U64
    absent_height: U64 = 0

    @property
    def is_ready(self) -> bool:
        """Whether the member is expected in the next round that opens."""
        return self.ready_height > self.absent_height


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """Where a study stands. `stop_wishes`: whose last word on a round was that training is done. `pin`: the only set
    that may be unmasked until a round has succeeded, less whoever is `kept_out` of all rounds. `hospitals`: whom it is
    for; until its first round opens it waits for them, by its `beginning`."""

    study: Bytes32
    terms: StudyTerms
    creator: U16
    created_height: U64
    status: U8
    reason: Text = ""
    approvals: Members = ()
    rejects: Members = ()
    resume_votes: Members = ()
    stop_votes: Members = ()
    ready: tuple[ReadyEntry, ...] = ()
    join: OpenPhase | None = None
    next_phase: U32 = 1
    next_round: U32 = 0
    model_hash: Bytes32 = bytes(32)
    has_statistics_sum: bool = False
    rounds_done: U16 = 0
    training_end: U8 = TrainingEnd.NOT_YET
    stop_wishes: Members = ()
    failures_in_row: U16 = 0
    pin: Members | None = None
    metrics: Metrics | None = None
    hospitals: Members = ()
    beginning: Beginning | None = None
    coins: Coins = NO_COINS
    kept_out: KeptOut | None = None
    leashes: Leashes = ()

    @property
    def has_ended(self) -> bool:
        """Whether no round of the study will ever open again."""
        return self.status in (StudyStatus.REJECTED, StudyStatus.STOPPED, StudyStatus.FINISHED)

    @property
    def is_active(self) -> bool:
        """Whether members take part in the study: it is approved and not at its end."""
        return self.status != StudyStatus.CREATED and not self.has_ended

    @property
    def faulty_members(self) -> tuple[MemberId, ...]:
        """Members named `faulty` that people have not readmitted."""
        return () if self.kept_out is None else self.kept_out.members

    @property
    def ready_members(self) -> tuple[MemberId, ...]:
        """Members expected in the next round that opens."""
        out = self.faulty_members
        return tuple(entry.member for entry in self.ready if entry.is_ready and entry.member not in out)


@dataclass(frozen=True, slots=True)
class RoundReport:
    """What the block says of a closed round. Metrics of a training round measure `start_model`; those of a closing
    round measure the last model, which is then both `start_model` and `model_hash`. After a failed round `model_hash`
    equals `start_model`. `coin` is the last attempt's, if any; `not_ready` belong to the study; f is `fault_bound`.
    """

    study: Bytes32
    number: U32
    kind: U8
    outcome: U8
    reason: Text
    expected: Members
    counted: Members
    absent: tuple[Absence, ...]
    barred: Members
    faulty: Members
    attempts: U16
    voids: tuple[VoidAttempt, ...]
    phases: tuple[PhaseSpan, ...]
    start_model: Bytes32
    model_hash: Bytes32
    sum_digest: Bytes32
    weight: U64
    metrics: Metrics | None
    is_unmasked: bool
    fault_bound: U16
    opened_height: U64
    opened_ms: U64
    closed_height: U64
    closed_ms: U64
    not_ready: Members = ()
    coin: Bytes32 | None = None


# --- reading studies, their rounds and reports --------------------------------------------------------------------


STUDIES_KEY = b"studies"


def study_key(study: bytes) -> bytes:
    """Key of a study's record."""
    return b"study/" + study


def spec_key(study: bytes) -> bytes:
    """Key of a study's specification."""
    return b"spec/" + study


def round_key(study: bytes) -> bytes:
    """Key of the round a study is in."""
    return b"round/" + study


def report_key(study: bytes, number: int) -> bytes:
    """Key of a closed round's report."""
    return b"report/" + study + number.to_bytes(4, "big")


def get_studies(source: Source) -> tuple[StudyId, ...]:
    """Return the ids of all studies in order of creation."""
    record = source.read(STUDIES_KEY, StudyList)
    return () if record is None else tuple(StudyId(study) for study in record.studies)


def get_study(source: Source, study: bytes) -> StudyRecord | None:
    """Return a study's record."""
    return source.read(study_key(study), StudyRecord)


def get_spec(source: Source, study: bytes) -> bytes | None:
    """Return the bytes of a study's specification."""
    record = source.read(spec_key(study), SpecRecord)
    return None if record is None else record.spec


def get_round(source: Source, study: bytes) -> RoundRecord | None:
    """Return the round a study is in, if one runs."""
    return source.read(round_key(study), RoundRecord)


def get_report(source: Source, study: bytes, number: int) -> RoundReport | None:
    """Return the report of a closed round."""
    return source.read(report_key(study, number), RoundReport)
