"""When a hospital votes of its own accord: that a phase has run out, that nobody waits for a member, that training
is done.

An idle chain has no clock, so deadlines are votes: every validator, taking part or not, starts its own timer when it
applies the block that opened a phase (again after a restart) and votes when it has run out. It does not vote while its
pool holds a valid message of that phase: otherwise a slow or hostile proposer could drop a chosen member.

For a member that this node finds no way to (two dials have failed, half a second apart) it runs a short clock besides:
until the member is back, or q members say the same (`ledger.sums.leash`).
"""

from __future__ import annotations

from collections.abc import Callable

from fednode.effects import StartTimer
from fednode.ids import MemberId, StudyId
from fednode.learn.measures import RIGHT, own_quality
from fednode.learn.study import StopRule
from fednode.ledger.studies.bodies import Expire, Gone
from fednode.ledger.sums.records import OpenPhase
from fednode.rounds.events import Effect, PhaseTimer, Submit
from fednode.rounds.ledger_view import Snapshot
from fednode.sums.measures import Claims

RETRY_MS = 250
"""How soon to look at the pool again while it holds a message of the phase."""
LEASH_MS = 1_000
"""How long a member is waited for in a phase from when it is gone."""


class RoundClock:
    """Turns open phases into timers and timers into votes. `holds_message` asks this node's own pool."""

    def __init__(self, study: StudyId, me: MemberId, holds_message: Callable[[StudyId], bool]) -> None:
        self._study = study
        self._me = me
        self._holds_message = holds_message
        self._phase = 0
        self._is_over = False
        self._gone = frozenset[MemberId]()
        self._leashed: set[MemberId] = set()
        """Members whose short clock runs, or has run out, in the open phase."""
        self._overdue: set[MemberId] = set()
        self._snapshot: Snapshot | None = None

    def on_ledger(self, snapshot: Snapshot) -> list[Effect]:
        """Start the timers of a phase that has just opened; after that vote until the ledger has the vote."""
        self._snapshot = snapshot
        phase = snapshot.open_phase
        if phase is None:
            return []
        if phase.number == self._phase:
            return self._vote_gone(snapshot, phase) + (self._vote(snapshot, phase) if self._is_over else [])
        self._phase, self._is_over = phase.number, False
        self._leashed, self._overdue = set(), set()
        return [StartTimer(PhaseTimer(phase.number), phase.timeout_ms), *self._start_leashes(phase)]

    def on_gone(self, members: frozenset[MemberId]) -> list[Effect]:
        """Start the short clocks of members that are gone from now on; take the vote back on those that are back."""
        self._gone = members
        self._leashed &= members
        self._overdue &= members
        phase = self._snapshot.open_phase if self._snapshot is not None else None
        if self._snapshot is None or phase is None or phase.number != self._phase:
            return []
        return self._start_leashes(phase) + self._vote_gone(self._snapshot, phase)

    def on_timer(self, key: PhaseTimer) -> list[Effect]:
        """Vote, if the timer belongs to the open phase, this member has not voted and nothing is on its way."""
        phase = self._snapshot.open_phase if self._snapshot is not None else None
        if self._snapshot is None or phase is None or key.phase_no != phase.number:
            return []
        if key.member is None:
            self._is_over = True
            return self._vote(self._snapshot, phase)
        if key.member not in self._leashed:
            return []  # it was back meanwhile
        self._overdue.add(key.member)
        return self._vote_gone(self._snapshot, phase)

    def _start_leashes(self, phase: OpenPhase) -> list[Effect]:
        new = sorted(self._gone.intersection(phase.expected).difference(phase.posted, self._leashed))
        self._leashed.update(new)
        return [StartTimer(PhaseTimer(phase.number, member), LEASH_MS) for member in new]

    def _vote_gone(self, snapshot: Snapshot, phase: OpenPhase) -> list[Effect]:
        awaited = set(phase.expected).difference(phase.posted)
        named = self._overdue & awaited
        standing = dict(phase.gone_votes).get(self._me, ())
        if named == awaited.intersection(standing):
            return []
        if named.difference(standing) and self._holds_message(self._study):
            return [StartTimer(PhaseTimer(phase.number, min(named)), RETRY_MS)]
        return [Submit(Gone(self._study, *_place_of(snapshot), phase.number, tuple(sorted(named))))]

    def _vote(self, snapshot: Snapshot, phase: OpenPhase) -> list[Effect]:
        if self._me in phase.expire_votes:
            return []
        if self._holds_message(self._study):
            return [StartTimer(PhaseTimer(phase.number), RETRY_MS)]
        return [Submit(Expire(self._study, *_place_of(snapshot), phase.number))]


def _place_of(snapshot: Snapshot) -> tuple[int, int]:
    """Return round and attempt of the open phase; before a round, the one that would open."""
    current = snapshot.round
    return (snapshot.record.next_round, 0) if current is None else (current.number, current.attempt.number)


# --- when a hospital finds by its own held-out rows that training is done: its vote, which no other claims move ---
# Security assumption: the vote shows one bit a round of what this hospital measured, on the ledger, to everybody.


PERMYRIAD = 10_000


class Wish:
    """Follows the measures of one study's models. In memory only: a restart counts rounds without progress anew."""

    def __init__(self, rule: StopRule) -> None:
        self._rule = rule
        self._model: bytes | None = None
        self._best: int | None = None
        self._stale = 0
        self.wants_stop = False

    def note(self, model: bytes, claims: Claims) -> None:
        """Take in what this hospital claims of the model a round started from; of one model once."""
        if model == self._model:
            return
        self._model, own = model, own_quality(claims)
        if own is None:
            self.wants_stop = False
            return
        right, loss = own
        self._stale = 0 if self._best is None or loss < self._best else self._stale + 1
        self._best = loss if self._best is None else min(loss, self._best)
        is_reached = 0 < self._rule.accuracy_permyriad * RIGHT.unit <= PERMYRIAD * right
        self.wants_stop = is_reached or 0 < self._rule.no_improvement_rounds <= self._stale
