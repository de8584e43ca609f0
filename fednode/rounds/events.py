"""What can happen to a study's machine, and what it can ask of the node. Effects are performed in order.

Security assumption: a `Snapshot` is final state of this node's own ledger; answers come from this node's own worker;
a model passed as `ModelLoaded` has been checked against the hash that names it. Secrets and vectors are left out of
`repr`, so no journal prints them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fednode.ids import Hash
from fednode.learn import jobs as work
from fednode.learn.jobs import DataAt
from fednode.learn.model_file import Draft, StoredModel
from fednode.ledger.bodies import Body
from fednode.rounds.jobs import Job
from fednode.rounds.ledger_view import Snapshot
from fednode.smpc import messages as sm

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
class TimerFired:
    """A timer asked for with `StartTimer` has run out."""

    name: str


@dataclass(frozen=True, slots=True)
class DataChanged:
    """The table of this hospital is another file from now on, or its file has changed; None: it has none."""

    data: DataAt | None


@dataclass(frozen=True, slots=True)
class ComputeDone:
    """The result of `jobs.run(job)`."""

    number: int
    result: object = field(repr=False)


@dataclass(frozen=True, slots=True)
class SumHappened:
    """Something for the secure sum of `round`: a chunk, a request, a timer, a result, a peer."""

    round: int
    event: sm.Event


Event = LedgerChanged | DataChanged | WorkDone | ModelLoaded | TimerFired | ComputeDone | SumHappened

# --- effects ---------------------------------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Deliver `TimerFired(name)` after `delay_ms`."""

    name: str
    delay_ms: int


@dataclass(frozen=True, slots=True)
class Compute:
    """Run `jobs.run(job)` off the loop and deliver `ComputeDone`."""

    number: int
    job: Job = field(repr=False)


@dataclass(frozen=True, slots=True)
class SumAsked:
    """An effect of the secure sum of `round`, passed through: Persist, SendChunk, WantChunk, StartTimer, Compute."""

    round: int
    effect: sm.Persist | sm.SendChunk | sm.WantChunk | sm.StartTimer | sm.Compute


@dataclass(frozen=True, slots=True)
class ForgetRound:
    """Delete the encrypted records of this study's rounds up to and including `round`."""

    round: int


@dataclass(frozen=True, slots=True)
class Note:
    """One line for the journal and the status, without secrets."""

    text: str
    is_problem: bool = False


Effect = Submit | StartWork | NeedModel | StoreModel | StartTimer | Compute | SumAsked | ForgetRound | Note
