"""What a node asks about the phase that is open: whose message is awaited, and what belongs to it.

A member votes to expire a phase only when its own timer has run out *and* its pool holds no acceptable message of
that phase: otherwise a slow or hostile proposer could drop a member of its choice by leaving its message out.
"""

from __future__ import annotations

from dataclasses import dataclass

from fednode.chain.state import Source
from fednode.ids import StudyId
from fednode.ledger.bodies import Body
from fednode.ledger.records import OpenPhase, RoundRecord
from fednode.ledger.studies.bodies import Expire, Ready, Result
from fednode.ledger.studies.records import get_round, get_study
from fednode.ledger.sums.phases import is_of_open_phase
from fednode.sums.bodies import Message


@dataclass(frozen=True, slots=True)
class PendingPhase:
    """The open phase of a study. `record` is None during JOIN; `round` is then the round that would open."""

    study: StudyId
    round: int
    attempt: int
    phase: OpenPhase
    record: RoundRecord | None

    def expire_body(self) -> Expire:
        """Return the vote that this phase's time is over."""
        return Expire(self.study, self.round, self.attempt, self.phase.number)


def pending_phase(source: Source, study: bytes) -> PendingPhase | None:
    """Return the phase whose clock runs in a study, or None."""
    record = get_round(source, study)
    if record is not None:
        return PendingPhase(StudyId(study), record.number, record.attempt.number, record.phase, record)
    life = get_study(source, study)
    if life is None or life.join is None:
        return None
    return PendingPhase(StudyId(study), life.next_round, 0, life.join, None)


def is_phase_message(pending: PendingPhase, body: Body) -> bool:
    """Whether `body` is a message of exactly this phase; votes on it are not. Says nothing about acceptance.

    Any body may be asked about, also of a kind from outside (`rules.add_kind`), which need not name a study.
    """
    if not isinstance(body, Ready | Message | Result) or body.study != pending.study:
        return False
    if pending.record is None or isinstance(body, Ready):
        return pending.record is None and isinstance(body, Ready)
    return is_of_open_phase(pending.record, body)
