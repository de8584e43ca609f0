"""What a secure sum is told and what it asks for: the ledger's view, events, effects, messages for the ledger; and what
of it is under way.

Security assumption: a `SumView` is final ledger state computed by this node's own rules, never a peer's claim;
`sender` of a chunk or a request is the member authenticated by the connection. Fields that hold secrets or long
vectors are left out of `repr`, so that no journal prints them.

Terms: *dealer* shares its two key scalars, *holder* keeps a share; the masked vector y of a dealer is cut into one
chunk per qualified dealer; the *owner* of a chunk sums that chunk over everyone. P, Q, C and U are the members that
are present (keys and acknowledgement posted), qualified (keys accepted), committed, and included in the sum.

Deadlines are the ledger's; the timers here only make a member act before them. All are parts of the phase's timeout,
and each is named by its phase, so one that fires late means nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fednode.codec import U16, Range
from fednode.crypto import Secret
from fednode.effects import Compute, ComputeDone, Job, Note, Persist, StartTimer, TimerFired
from fednode.ids import Hash, MemberId, fault_bound
from fednode.smpc.jobs import DealtPair, Result
from fednode.sums.attempt import Attempt, Pair, SumContext
from fednode.sums.bodies import Keys, Message, ShareRoot
from fednode.sums.bounds import Strength, min_included, strength_of
from fednode.sums.measures import Plan, no_claims
from fednode.sums.norm import Statement
from fednode.sums.phase import Phase


@dataclass(frozen=True, slots=True)
class SumParams:
    """What is fixed for one round's secure sum before its first attempt.

    `members` are all members of the ledger, ascending; `length` is the number of ring elements of every vector.
    `statement` gives what a dealer has to prove, from the weight in its commitment (0 unless weights are
    public); it must be the ledger's own. `plan` is what every vector comes with claims about;
    `next_key` the X25519 key for boxes of the round to come, which goes out with the keys of this one.
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
    next_key: bytes = field(kw_only=True)

    def context(self, attempt: int) -> SumContext:
        """Return what every derivation of an attempt is bound to."""
        return SumContext(self.chain_id, self.study, self.round, attempt)

    def place(self, attempt: int) -> tuple[bytes, int, int]:
        """Return the first fields of everything that is posted in an attempt."""
        return (self.study, self.round, attempt)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class SumView(Attempt):
    """What the ledger says after a block: the current attempt, which phase of it is open, and the long bodies.

    `posted` are the members whose message of the phase is in; `phase_timeout_ms` belongs to the phase. `seal_keys` are
    those of this round; `pinned`, if set, is the only U that may be unmasked; `is_unmasked` is the one Unmask of the
    round. `boxes` holds what was dealt again, by (dealer, holder). What is not posted yet is empty.
    """

    phase: Phase
    phase_no: int
    step: int
    phase_timeout_ms: int
    seal_keys: Mapping[MemberId, bytes]
    posted: tuple[MemberId, ...] = ()
    is_unmasked: bool = False
    pinned: tuple[MemberId, ...] | None = None
    keys: Mapping[MemberId, Keys] = field(default_factory=dict)
    share_roots: Mapping[MemberId, ShareRoot] = field(default_factory=dict)
    boxes: Mapping[Pair, bytes] = field(default_factory=dict)


class Lane(IntEnum):
    """Which vector a chunk belongs to, or SHARES: the sealed boxes of one dealer for one holder."""

    MASKED = 1
    SUM = 2
    SHARES = 3


@dataclass(frozen=True, slots=True)
class ChunkRef:
    """Name of a chunk within one study and round: codec record, so the wire can carry it as it is.

    `lane` MASKED: chunk of `dealer`'s masked vector. `lane` SUM: chunk of the masked sum, `dealer` is 0.
    `lane` SHARES: what `dealer` sealed to the present member number `chunk`: its box of bits, then that of the proof.
    """

    attempt: U16
    lane: Annotated[int, Range(1, 3)]
    dealer: U16
    chunk: U16


class Timer(Enum):
    """What a timer is for."""

    WANT = "want"
    RETRY = "retry"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class SumTimer:
    """A timer of one phase of one attempt: one that fires after its phase means nothing."""

    kind: Timer
    attempt: int
    phase_no: int


@dataclass(frozen=True, slots=True)
class ViewChanged:
    """A block was applied (or the node restarted): this is what the ledger says now."""

    view: SumView


@dataclass(frozen=True, slots=True, eq=False)
class InputReady:
    """This member's vector: uint32 ring elements, shape (length,), its weight, at least 1, and its claims.

    The array is the session's from here on: nobody else may change it, and the opened sum is written over it.
    `is_recorded`: it is on the disk already, as the part INPUT of the round's record.
    """

    values: NDArray[np.uint32] = field(repr=False)
    weight: int
    is_recorded: bool = False
    claims: NDArray[np.uint32] = field(default_factory=no_claims, repr=False)


@dataclass(frozen=True, slots=True)
class ChunkArrived:
    """A chunk from `sender`; `proof` holds the Merkle path of a MASKED chunk (32-byte hashes joined), both paths of
    SHARES one after the other, and is empty for a chunk of the SUM."""

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
class PeerUp:
    """A connection to `member` was (re)established."""

    member: MemberId


Event = (
    ViewChanged | InputReady | ChunkArrived | WantArrived | TimerFired[SumTimer] | ComputeDone[Result] | PeerUp
)


class RecordPart(Enum):
    """The files of a round's record: STATE is small and rewritten, INPUT long and written once, SHARES what
    this member answered and holds of the sum of all shares, KEY the secret of the key others seal to."""

    STATE = "state"
    INPUT = "input"
    SHARES = "shares"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class KeptPart:
    """One part of a round's record, to be encrypted where it is kept."""

    part: RecordPart
    data: Secret[bytes]


@dataclass(frozen=True, slots=True)
class Submit:
    """Sign and submit a message."""

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


@dataclass(frozen=True, slots=True, eq=False)
class SumOpened:
    """The sum over U: int32, shape (length,), centred; the sums of weights and of claims (packed); its salted digest; a
    salt for the digests of what is made of it, known to those who have the sum and nobody else.

    Its sketch is the sum of the proven ones and the weight was opened from proven shares.
    """

    values: NDArray[np.int32] = field(repr=False)
    weight: int
    digest: Hash
    words: tuple[int, ...] = field(repr=False)
    salt: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SumFailed:
    """There is no sum in this round: the openings do not give the keys they claim, or `MASKS_WRONG`."""

    reason: str


Effect = (
    Persist[KeptPart] | StartTimer[SumTimer] | Compute[Result] | Note | Submit | SendChunk | WantChunk | SumOpened
    | SumFailed
)


# --- timers, submitted messages and jobs under way in one attempt ------------------------------------------------

PERCENT_OF_PHASE = {
    Timer.WANT: 10,  # chunks that did not come are asked for, again and again
    Timer.RETRY: 40,  # a message the ledger does not show yet is submitted again
    Timer.REPORT: 60,  # what is missing is reported; the rest of the phase is for the report to commit
}


class Pace:
    """Timers and submissions of one attempt."""

    def __init__(self) -> None:
        self._started: set[SumTimer] = set()
        self._fired: set[SumTimer] = set()
        self._submitted: set[tuple[int, str]] = set()

    def start(self, view: SumView, *timers: Timer) -> list[Effect]:
        """Start timers of the current phase that do not run yet and have not fired for good."""
        effects: list[Effect] = []
        for timer in timers:
            key = _key(view, timer)
            if key not in self._started:
                self._started.add(key)
                effects.append(StartTimer(key, max(1, view.phase_timeout_ms * PERCENT_OF_PHASE[timer] // 100)))
        return effects

    def fire(self, view: SumView, key: SumTimer) -> Timer | None:
        """Take in a timer; return which it was, or None if it belongs to a past phase or was never started."""
        if key != _key(view, key.kind) or key not in self._started:
            return None
        if key.kind is Timer.REPORT:
            self._fired.add(key)
        else:
            self._started.discard(key)
        if key.kind is Timer.RETRY:
            self._submitted = {said for said in self._submitted if said[0] != view.phase_no}
        return key.kind

    def is_report_due(self, view: SumView) -> bool:
        """Whether the time to wait for missing chunks in this phase is over."""
        return _key(view, Timer.REPORT) in self._fired

    def submit(self, view: SumView, message: Message, kind: str = "") -> list[Effect]:
        """Submit a message once per phase and kind, and again whenever RETRY fires."""
        key = (view.phase_no, kind)
        if key in self._submitted:
            return []
        self._submitted.add(key)
        return [Submit(message), *self.start(view, Timer.RETRY)]


def _key(view: SumView, timer: Timer) -> SumTimer:
    return SumTimer(timer, view.number, view.phase_no)


class Work(Enum):
    """What a job is for."""

    CHECK = "check"
    MASK = "mask"
    HASH = "hash"
    SUM = "sum"
    PROVE = "prove"
    ANSWER = "answer"
    RECHECK = "recheck"
    UNMASK = "unmask"


@dataclass(frozen=True, slots=True, eq=False)
class Running:
    """A job under way: the chunk a HASH job digests, the shares a CHECK job checks and the dealers without any."""

    work: Work
    chunk: ChunkArrived | None = None
    dealt: tuple[DealtPair, ...] = ()
    unopened: tuple[MemberId, ...] = ()


class Jobs:
    """Jobs under way. Numbers are never used twice, so a late result of a past attempt means nothing."""

    def __init__(self) -> None:
        self._last = 0
        self._running: dict[int, Running] = {}

    def start(self, running: Running, job: Job[Result]) -> Effect:
        """Return the effect that runs a job."""
        self._last += 1
        self._running[self._last] = running
        return Compute(self._last, job)

    def finish(self, number: int) -> Running | None:
        """Take a job off the list; None if it belongs to a past attempt."""
        return self._running.pop(number, None)

    def is_running(self, work: Work) -> bool:
        """Whether a job of this kind is under way."""
        return any(running.work is work for running in self._running.values())

    def forget(self) -> None:
        """Drop everything under way: the attempt is over."""
        self._running.clear()
