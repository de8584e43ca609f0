"""The round clock of one member: when to vote that a phase has run out.

An idle chain has no clock, so deadlines are votes: every validator, taking part or not, starts its own timer when it
applies the block that opened a phase (again after a restart) and votes when it has run out. It does not vote while its
pool holds a valid message of that phase: otherwise a slow or hostile proposer could drop a chosen member.
"""

from __future__ import annotations

from collections.abc import Callable

from fednode.effects import StartTimer
from fednode.ids import MemberId, StudyId
from fednode.ledger.studies.bodies import Expire
from fednode.ledger.sums.records import OpenPhase
from fednode.rounds.events import Effect, PhaseTimer, Submit
from fednode.rounds.ledger_view import Snapshot

RETRY_MS = 250
"""How soon to look at the pool again while it holds a message of the phase."""


class RoundClock:
    """Turns open phases into timers and timers into `expire` votes. `holds_message` asks this node's own pool."""

    def __init__(self, study: StudyId, me: MemberId, holds_message: Callable[[StudyId], bool]) -> None:
        self._study = study
        self._me = me
        self._holds_message = holds_message
        self._phase = 0
        self._is_over = False
        self._snapshot: Snapshot | None = None

    def on_ledger(self, snapshot: Snapshot) -> list[Effect]:
        """Start the timer of a phase that has just opened; after that vote until the ledger has the vote."""
        self._snapshot = snapshot
        phase = snapshot.open_phase
        if phase is None:
            return []
        if phase.number == self._phase:
            return self._vote(snapshot, phase) if self._is_over else []
        self._phase, self._is_over = phase.number, False
        return [StartTimer(PhaseTimer(phase.number), phase.timeout_ms)]

    def on_timer(self, key: PhaseTimer) -> list[Effect]:
        """Vote, if the timer belongs to the open phase, this member has not voted and nothing is on its way."""
        phase = self._snapshot.open_phase if self._snapshot is not None else None
        if self._snapshot is None or phase is None or key.phase_no != phase.number:
            return []
        self._is_over = True
        return self._vote(self._snapshot, phase)

    def _vote(self, snapshot: Snapshot, phase: OpenPhase) -> list[Effect]:
        if self._me in phase.expire_votes:
            return []
        if self._holds_message(self._study):
            return [StartTimer(PhaseTimer(phase.number), RETRY_MS)]
        current = snapshot.round
        number, attempt = (current.number, current.attempt.number) if current is not None else (0, 0)
        if current is None:
            number = snapshot.record.next_round
        return [Submit(Expire(self._study, number, attempt, phase.number))]
