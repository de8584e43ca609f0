"""What a node tells about itself: one frozen record for each kind of answer, as every door shows it.

The names of the fields are the names of the JSON that programs read. Hashes and keys are whole hexadecimal strings;
times are milliseconds since 1970 and, for people, UTC text; members are numbers. None means that there is nothing.
Loads nothing heavy: the command line reads answers back into these records.
"""

from __future__ import annotations

from collections.abc import Mapping

from fednode.desk.record import Record

Numbers = tuple[int, ...]
Measures = Mapping[str, int | float | None]
"""Means over hospitals by name, `hospitals` that were counted, and `..._within`: how far liars can have moved each."""


# --- chain -----------------------------------------------------------------------------------------------------

class PlannedVersion(Record):
    """A version of the protocol that was decided for later, or is voted on."""

    version: int
    from_height: int
    release: str
    is_known: bool


class ChainEndView(Record):
    """Name, members, rules and end of a chain. `source`: the daemon, or the store of a stopped one."""

    name: str
    id: str
    height: int
    hash: str
    time_ms: int
    time: str
    state_root: str
    members: int
    fault_bound: int
    quorum: int
    protocol_version: int
    planned_version: PlannedVersion | None
    source: str


class ChainView(ChainEndView):
    """The chain as a running daemon sees it: who can be reached, who signs, and whether that suffices."""

    reachable: int
    signing: Numbers
    has_quorum: bool
    is_signing: bool
    not_signing_reason: str | None
    view: int
    leader: int
    catching_up_to: int | None


class TransactionLine(Record):
    """A transaction of a block in short: who sent it, and what the rules said."""

    id: str
    kind: str
    sender: int
    ok: bool
    reason: str


class BlockView(Record):
    """A block with its proof of finality and a line for each transaction."""

    height: int
    version: int
    hash: str
    time_ms: int
    time: str
    proposer: int
    view: int
    signers: Numbers
    tx_count: int
    evidence: tuple[object, ...]
    parent_hash: str
    tx_root: str
    receipts_root: str
    state_root: str
    members_hash: str
    next_members_hash: str
    params_hash: str
    transactions: tuple[TransactionLine, ...]


class TransactionView(Record):
    """A transaction with its place on the chain and its receipt; `body` has the fields of its kind."""

    id: str
    kind: str
    sender: int
    nonce: int
    valid_until: int
    size_bytes: int
    height: int
    ok: bool
    reason: str
    body: Mapping[str, object]


class WholeBlock(Record):
    """A block as it is stored, for verification: all in base64; the next members only where they change."""

    block: str
    certificate: str
    receipts: tuple[str, ...]
    next_members: str | None


class MembersAt(Record):
    """The set of members that decides a height, in its canonical encoding as base64."""

    height: int
    set: str


class StateItem(Record):
    """A record of the state: its kind, its key, its value in base64."""

    kind: int
    key: str
    value: str


class StatePage(Record):
    """Some records of the state after a block, in the order of its tree."""

    height: int
    hash: str
    items: tuple[StateItem, ...]


class VersionVotes(PlannedVersion):
    """An open vote on a version, and how many it needs."""

    voters: Numbers
    needed: int


class VersionSpan(Record):
    """From which block on a version has been in force."""

    version: int
    from_height: int


class VersionsView(Record):
    """By which rules the chain goes on, what was decided for later, and the votes. `source` as for the chain."""

    in_force: int
    known: Numbers
    planned: PlannedVersion | None
    history: tuple[VersionSpan, ...]
    votes: tuple[VersionVotes, ...]
    source: str


# --- members and roles -----------------------------------------------------------------------------------------

class KnownMember(Record):
    """A hospital as the ledger knows it, and at how many heights it was seen to sign twice."""

    id: int
    name: str
    fingerprint: str
    peer_id: str
    sign_key: str
    network_key: str
    addresses: tuple[str, ...]
    double_votes: int


class MemberView(KnownMember):
    """A hospital, and whether it can be reached from here and signs; only a running daemon knows that."""

    is_me: bool
    is_connected: bool | None
    is_signing: bool | None
    is_twice: bool
    address: str | None
    refused: str | None
    dropped_messages: int


class ProposalView(Record):
    """An open proposal to add or remove a member; the fingerprint is what people compare before they approve.

    What is about a candidate's card or report is None for a removal.
    """

    proposal: int
    change: str
    member: int
    name: str | None
    proposer: int
    height: int
    reason: str
    approvals: Numbers
    needed: int
    is_observing: bool | None
    reported_height: int | None
    approved_height: int | None
    fingerprint: str | None
    sign_key: str | None
    addresses: tuple[str, ...]


class OutlookView(Record):
    """What a change of the members would lead to; `says` is the sentence for whoever is about to vote."""

    change: str
    member: int
    name: str
    members_now: int
    quorum_now: int
    members_then: int
    tolerated_then: int
    quorum_then: int
    signing: tuple[str, ...]
    not_signing: tuple[str, ...]
    is_enough: bool
    says: str


class RoleView(Record):
    """Who holds a role, or held it, and the votes for changing that."""

    role: str
    holder: str
    is_granted: bool
    since_height: int
    votes_to_change: Numbers


# --- rounds ----------------------------------------------------------------------------------------------------

class PhaseView(Record):
    """An open phase of a round."""

    name: str
    step: int
    number: int
    opened_height: int
    opened_ms: int
    timeout_ms: int
    expected: Numbers
    posted: Numbers
    expire_votes: Numbers


class AbsenceView(Record):
    """A member that missed a phase of an attempt."""

    member: int
    phase: str
    attempt: int


class RoundView(Record):
    """The running round."""

    number: int
    kind: str
    attempt: int
    phase: PhaseView
    expected: Numbers
    included: Numbers
    absent: tuple[AbsenceView, ...]
    barred: Numbers
    faulty: Numbers
    is_unmasked: bool
    coin: str | None
    opened_height: int
    opened_ms: int
    start_model: str | None


class SpanView(Record):
    """When a phase was open, and whether it ended by votes."""

    attempt: int
    phase: str
    step: int
    opened_height: int
    closed_height: int
    opened_ms: int
    closed_ms: int
    seconds: float
    expired: bool


class VoidView(Record):
    """An attempt that led to no sum, and who is left out of the next one."""

    attempt: int
    phase: str
    reason: str
    dropped: Numbers


class ReportView(Record):
    """The report of a closed round."""

    study: str
    number: int
    kind: str
    outcome: str
    reason: str
    expected: Numbers
    counted: Numbers
    not_ready: Numbers
    taking_part: str
    absent: tuple[AbsenceView, ...]
    barred: Numbers
    faulty: Numbers
    attempts: int
    voids: tuple[VoidView, ...]
    phases: tuple[SpanView, ...]
    start_model: str | None
    model_hash: str | None
    sum_digest: str
    coin: str | None
    weight: int
    metrics: Measures | None
    opened_height: int
    closed_height: int
    opened_ms: int
    closed_ms: int
    seconds: float


class Happened(Record):
    """In which block something is that was waited for: a block by its hash, a transaction, the report of a round."""

    height: int
    hash: str | None
    id: str | None
    report: ReportView | None


# --- studies ---------------------------------------------------------------------------------------------------

class WithoutView(Record):
    """Votes that a study begins without a member."""

    member: int
    voters: Numbers


class BeginningView(Record):
    """A study that waits for its hospitals."""

    since_height: int
    since_ms: int
    without: tuple[WithoutView, ...]


class StudyView(Record):
    """Where a study stands on the ledger."""

    id: str
    name: str
    status: str
    reason: str
    creator: int
    approvals: Numbers
    rejects: Numbers
    resume_votes: Numbers
    stop_votes: Numbers
    quorum: int
    fault_bound: int
    ready: Numbers
    rounds_done: int
    rounds: int
    next_round: int
    model_hash: str | None
    metrics: Measures | None
    pinned: Numbers | None
    faulty: Numbers
    readmit_votes: Numbers
    stuck: str | None
    round: RoundView | None
    waiting_for: Numbers | None
    hospitals: Numbers
    not_ready: Numbers
    taking_part: str | None
    beginning: BeginningView | None


class TableView(Record):
    """What the training process found in this hospital's table."""

    rows: int
    class_rows: Mapping[str, int]
    used_by: str
    warnings: tuple[str, ...]
    changes: tuple[str, ...]


class StudySummary(StudyView):
    """Where a study stands, seen from this hospital."""

    table: TableView | None
    has_data: bool
    problem: str | None
    took_no_part_in: Numbers
    own_part: str | None
    has_model: bool


class ShownStudy(StudySummary):
    """A study with its terms and its file (None if this version cannot read it), and what the chain will show of it.
    `names` of members by number, as people voted them in; `me`: this hospital, 0 where it is no member."""

    terms: Mapping[str, object]
    toml: str | None
    limits: tuple[str, ...]
    names: Mapping[str, str]
    me: int


# --- models ----------------------------------------------------------------------------------------------------

class ModelView(Record):
    """A model that the ledger names: the round that made it, and what was measured of it since, if anything was."""

    hash: str
    study: str
    study_name: str
    round: int
    counted: Numbers
    is_here: bool
    height: int
    metrics: Measures | None


class ModelShown(ModelView):
    """A model, and where its file lies or would lie."""

    path: str


# --- the daemon ------------------------------------------------------------------------------------------------

class OwnView(Record):
    """Who this hospital is on the chain; it has no number before it is proposed."""

    id: int | None
    name: str
    peer_id: str
    is_member: bool


class PoolView(Record):
    """Transactions that wait for a block; `own` are this hospital's."""

    transactions: int
    bytes: int
    own: int


class StatusView(Record):
    """Everything at a glance; the most urgent of the problems first. `todo`: what waits for a person here."""

    version: str
    protocol_version: int
    pid: int
    uptime_s: float
    rss_mb: float
    cpu_s: float
    worker_pid: int | None
    worker_pid_beside: int | None
    member: OwnView
    chain: ChainView
    members: tuple[MemberView, ...]
    connected: int
    studies: tuple[StudySummary, ...]
    pool: PoolView
    problems: tuple[str, ...]
    todo: tuple[str, ...]
    network: Mapping[str, object]


class MemoryView(Record):
    """Memory and processor time of the daemon's process."""

    rss_mb: float
    cpu_s: float
    pid: int
