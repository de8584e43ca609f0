"""What can happen to a study's machine, and what it can ask of the node. Effects are performed in order.

Security assumption: a `Snapshot` is final state of this node's own ledger; answers come from this node's own worker;
a model passed as `ModelLoaded` has been checked against the hash that names it. Secrets and vectors are left out of
`repr`, so no journal prints them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fednode.effects import Asked, Compute, ComputeDone, Note, Persist, StartTimer, TimerFired
from fednode.ids import Hash, MemberId, StudyId
from fednode.learn import jobs as work
from fednode.learn.jobs import DataAt
from fednode.learn.model_file import Draft, StoredModel
from fednode.ledger.bodies import Body
from fednode.rounds.jobs import Result
from fednode.rounds.ledger_view import Snapshot
from fednode.smpc import jobs as sum_jobs
from fednode.smpc import messages as sm

# --- addresses and timers ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OfStudy:
    """Address of a study's machine."""

    study: StudyId


@dataclass(frozen=True, slots=True)
class OfSum:
    """Address of the secure sum of one round of a study; its record is kept under it."""

    study: StudyId
    round: int


@dataclass(frozen=True, slots=True)
class PhaseTimer:
    """Runs out with the phase of this number of a study, or, for a `member` that is gone, long before."""

    phase_no: int
    member: MemberId | None = None


# --- events ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LedgerChanged:
    """A block was applied, or the node has just started: this is what the ledger says now."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class WorkDone:
    """The worker answered the job with this number."""

    number: int
    answer: work.Answer = field(repr=False)


@dataclass(frozen=True, slots=True)
class ModelLoaded:
    """A model asked for with `NeedModel` is in the local store."""

    hash: Hash
    model: StoredModel = field(repr=False)


@dataclass(frozen=True, slots=True)
class DataChanged:
    """The table of this hospital is another file from now on, or its file has changed; None: it has none."""

    data: DataAt | None


@dataclass(frozen=True, slots=True)
class SumHappened:
    """Something for the secure sum of `round`: a chunk, a request, a timer, a result, a peer."""

    round: int
    event: sm.Event


@dataclass(frozen=True, slots=True)
class MembersGone:
    """Which members no way was found to: the whole list, whenever it changes."""

    members: frozenset[MemberId]


Event = (
    LedgerChanged | MembersGone | DataChanged | WorkDone | ModelLoaded | TimerFired[PhaseTimer] | ComputeDone[Result]
    | SumHappened
)

# --- effects ---------------------------------------------------------------------------------------------------

SumEffect = Persist[sm.KeptPart] | StartTimer[sm.SumTimer] | Compute[sum_jobs.Result] | sm.SendChunk | sm.WantChunk
"""What a secure sum asks for that the study's machine passes on as it is."""


@dataclass(frozen=True, slots=True)
class Submit:
    """Sign this body and bring it onto the ledger, again if it gets lost."""

    body: Body


@dataclass(frozen=True, slots=True)
class StartWork:
    """Give a job to the worker process and deliver `WorkDone`."""

    number: int
    job: work.Job = field(repr=False)


@dataclass(frozen=True, slots=True)
class NeedModel:
    """Deliver `ModelLoaded` for this hash, from the local store or from whichever member has it."""

    hash: Hash


@dataclass(frozen=True, slots=True)
class StoreModel:
    """Give a finished model file the name of its hash, durably, and serve it to members."""

    hash: Hash
    draft: Draft = field(repr=False)


LAST_ROUND = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class ForgetRound:
    """Delete the encrypted records of this study's rounds up to and including `round`.

    `LAST_ROUND` says that the study is over here: what this hospital kept of its own goes too.
    """

    round: int


Effect = (
    StartTimer[PhaseTimer] | Compute[Result] | Note | Submit | StartWork | NeedModel | StoreModel | ForgetRound
    | Asked[OfSum, SumEffect]
)
