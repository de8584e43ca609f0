"""What the ledger remembers of studies and rounds: the values behind the keys of the state.

All members of tuples are ascending unless said otherwise. Times are milliseconds of block time and are kept for
reports only: no rule compares them, because a chain has no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from fednode.codec import U8, U16, U32, U64, Bytes32, Name, Range, Size
from fednode.ids import MemberId, fault_bound
from fednode.ledger.bodies import Result, StudyTerms
from fednode.ledger.studies.beginning import Beginning
from fednode.ledger.studies.measured import Metrics, TrainingEnd
from fednode.ledger.sums.records import NO_COINS, ChecksRecord, Coins, KeptOut
from fednode.sums.bodies import Member, Members
from fednode.sums.bounds import MAX_WORDS, min_included

GENESIS_CREATOR = 0
"""Creator of a study that came with the genesis."""

Text = Annotated[str, Size(0, 300)]
Share = tuple[Member, Bytes32]


class RoundKind(IntEnum):
    """What a round sums: feature statistics, trained updates (with metrics), or metrics of the last model alone."""

    STATISTICS = 0
    TRAINING = 1
    CLOSING = 2


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
class ChainRecord:
    """The chain itself, as the genesis named it."""

    chain_id: Bytes32
    name: Name
    protocol_version: U16
    genesis_ms: U64


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """A hospital. `network_key` is the Ed25519 key of its libp2p peer id, `seal_key` an X25519 key."""

    member: Member
    name: Name
    sign_key: Bytes32
    network_key: Bytes32
    seal_key: Bytes32
    addresses: Annotated[tuple[Annotated[str, Size(1, 200)], ...], Size(0, 8)]


@dataclass(frozen=True, slots=True)
class MemberList:
    """All hospitals, ascending by number."""

    members: tuple[MemberRecord, ...]


@dataclass(frozen=True, slots=True)
class NonceRecord:
    """Highest nonce a sender has used."""

    nonce: U64


@dataclass(frozen=True, slots=True)
class SeenRecord:
    """Where a key point was used; it may never be used again."""

    study: Bytes32
    round: U32
    attempt: U16
    member: Member


@dataclass(frozen=True, slots=True)
class StudyList:
    """Ids of all studies in order of creation."""

    studies: Annotated[tuple[Bytes32, ...], Size(0, 1000)]


@dataclass(frozen=True, slots=True)
class SpecRecord:
    """A study's specification, kept apart because it is large and never changes."""

    spec: bytes


@dataclass(frozen=True, slots=True)
class OpenPhase:
    """A phase that is open: it ends when all expected have posted or q `expire` votes name its `number`.

    `number` counts every phase ever opened in the study; `step` counts roster steps; `is_reopened` marks the second
    chance of SUMACK; `timeout_ms` is how long each member waits, by its own timer, before it votes.
    """

    number: U32
    kind: U8
    step: U8
    opened_height: U64
    opened_ms: U64
    timeout_ms: U32
    expected: Members
    posted: Members = ()
    expire_votes: Members = ()
    is_reopened: bool = False


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
class Absence:
    """A member that a phase ended without, once per round; no blame."""

    member: Member
    phase: U8
    attempt: U16


@dataclass(frozen=True, slots=True)
class VoidAttempt:
    """An attempt that opened nothing: in which phase and why, and whom the next attempt goes on without."""

    attempt: U16
    phase: U8
    reason: Text
    dropped: Members


@dataclass(frozen=True, slots=True)
class PhaseSpan:
    """When a phase was open, and whether votes ended it."""

    attempt: U16
    phase: U8
    step: U8
    opened_height: U64
    opened_ms: U64
    closed_height: U64
    closed_ms: U64
    is_expired: bool


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
class AttemptRecord:
    """Everything the members have posted in the current attempt, and the sets that follow from it.

    holders      expected in KEYS: the members that shares are sealed to
    dealers      posted keys (the bodies lie under their own keys of the state)
    complaints   (holder, dealers it named) of every member that acknowledged
    answers      (dealer, ((holder, a, b), ...))
    present P, qualified Q, committed C ((member, root, weight) in Q order), left_out, included U
    chunks       one per member of Q
    acked        sent the digest of the whole list; sum_missing: (member, chunks) of those that could not
    own_b        ((member, scalar), ...); a_shares, b_shares: ((dealer, ((holder, share), ...)), ...)
    silent_b     members of U whose own b was missing when REVEAL2 opened
    ballots      (member, result)
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
    ballots: tuple[tuple[Member, Result], ...] = ()
    checks: ChecksRecord | None = None


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """The round a study is in.

    `members` are all members of the ledger when it opened (they fix N, f, T and q), `expected` those ready then,
    with the seal keys they had; `next_keys` are for the round to come; `barred` take no part in later attempts;
    `pinned` is the only set that may be unmasked, if any; `is_unmasked` is the one Unmask of the round. `coins` are
    those of the study when the round opened, with what has been revealed since. `words` of measures are opened.
    """

    study: Bytes32
    number: U32
    kind: U8
    members: Members
    expected: Members
    seal_keys: tuple[tuple[Member, Bytes32], ...]
    start_model: Bytes32
    pinned: Members | None
    opened_height: U64
    opened_ms: U64
    phase: OpenPhase
    attempt: AttemptRecord
    is_unmasked: bool = False
    absent: tuple[Absence, ...] = ()
    barred: Members = ()
    faulty: Members = ()
    voids: tuple[VoidAttempt, ...] = ()
    spans: tuple[PhaseSpan, ...] = ()
    next_keys: tuple[tuple[Member, Bytes32], ...] = ()
    coins: Coins = NO_COINS
    words: Annotated[int, Range(0, MAX_WORDS)] = 0

    @property
    def fault_bound(self) -> int:
        """f."""
        return fault_bound(len(self.members))

    @property
    def threshold(self) -> int:
        """T = N - f: shares that open a scalar, and also the quorum of the ledger."""
        return len(self.members) - self.fault_bound

    @property
    def min_included(self) -> int:
        """max(N - f, 3)."""
        return min_included(len(self.members))

    @property
    def absent_members(self) -> frozenset[MemberId]:
        """Members that are not waited for again in this round."""
        return frozenset(absence.member for absence in self.absent)


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
