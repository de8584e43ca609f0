"""Timers of one attempt and what was submitted in which phase: repeated, reported and asked for at the right time.

Deadlines are the ledger's; these timers only make a member act before them. All are parts of the phase's timeout, and
each is named by its phase, so one that fires late means nothing.
"""

from __future__ import annotations

from enum import Enum

from fednode.smpc.messages import Effect, Message, StartTimer, Submit, SumView


class Timer(Enum):
    """What a timer is for; the value is in its name."""

    WANT = "want"
    RETRY = "retry"
    REPORT = "report"


PERCENT_OF_PHASE = {
    Timer.WANT: 10,  # chunks that did not come are asked for, again and again
    Timer.RETRY: 40,  # a message the ledger does not show yet is submitted again
    Timer.REPORT: 60,  # what is missing is reported; the rest of the phase is for the report to commit
}


class Pace:
    """Timers and submissions of one attempt."""

    def __init__(self) -> None:
        self._started: set[str] = set()
        self._fired: set[str] = set()
        self._submitted: set[tuple[int, str]] = set()

    def start(self, view: SumView, *timers: Timer) -> list[Effect]:
        """Start timers of the current phase that do not run yet and have not fired for good."""
        effects: list[Effect] = []
        for timer in timers:
            name = _name(view, timer)
            if name not in self._started:
                self._started.add(name)
                effects.append(StartTimer(name, max(1, view.phase_timeout_ms * PERCENT_OF_PHASE[timer] // 100)))
        return effects

    def fire(self, view: SumView, name: str) -> Timer | None:
        """Take in a timer; return which it was, or None if it belongs to a past phase or was never started."""
        for timer in Timer:
            if name == _name(view, timer) and name in self._started:
                if timer is Timer.REPORT:
                    self._fired.add(name)
                else:
                    self._started.discard(name)
                if timer is Timer.RETRY:
                    self._submitted = {key for key in self._submitted if key[0] != view.phase_no}
                return timer
        return None

    def is_report_due(self, view: SumView) -> bool:
        """Whether the time to wait for missing chunks in this phase is over."""
        return _name(view, Timer.REPORT) in self._fired

    def submit(self, view: SumView, message: Message, kind: str = "") -> list[Effect]:
        """Submit a message once per phase and kind, and again whenever RETRY fires."""
        key = (view.phase_no, kind)
        if key in self._submitted:
            return []
        self._submitted.add(key)
        return [Submit(view.attempt, message), *self.start(view, Timer.RETRY)]


def _name(view: SumView, timer: Timer) -> str:
    return f"{timer.value}/{view.attempt}/{view.phase_no}"
