"""What is under way in one attempt: timers, submitted messages, jobs.

Deadlines are the ledger's; these timers only make a member act before them. All are parts of the phase's timeout, and
each is named by its phase, so one that fires late means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fednode.effects import Compute, Job, StartTimer
from fednode.ids import MemberId
from fednode.smpc.jobs import DealtPair, Result
from fednode.smpc.messages import ChunkArrived, Effect, Submit, SumTimer, SumView, Timer
from fednode.sums.bodies import Message

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
