"""The phases of a secure sum, one row each: who posts, what is taken, when it is complete, what follows, how long it
may last.

The rules of messages (`accept`), the clock of studies (`is_complete`, `follow`, `limit_phase`) and what nodes ask of an
open phase (`pending_phase`) read this table and nothing else. What comes after what is decided by `follow`; the
order in which phases can come is `sums.phase`.

Security assumption: signatures and nonces have been checked; `sender` is a member of the ledger. A message counts only
while its own phase of its own attempt is open, once per member, and only from a member the phase has a part for. A
member that was absent earlier in the round still counts, it is only not waited for. Every `accept` returns the round
with the message in it, or raises `Rejected` with a `Refusal` code; none changes its arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from fednode.chain.state import Draft, Source
from fednode.ids import MemberId, StudyId
from fednode.ledger.bodies import Body
from fednode.ledger.refusals import Refusal, refuse
from fednode.ledger.studies.bodies import Expire, Gone, Ready, Result, StudyTerms
from fednode.ledger.studies.records import get_round, get_study
from fednode.ledger.sums.binding import (
    accept_coin,
    accept_proof,
    accept_share_root,
    after_coin,
    after_proof,
    after_share,
)
from fednode.ledger.sums.course import BlockTime, Next, are_all_posted
from fednode.ledger.sums.dealing import (
    accept_acknowledge,
    accept_answer,
    accept_commit,
    accept_keys,
    after_acknowledge,
    after_answer,
    after_commit,
    after_keys,
)
from fednode.ledger.sums.disputes import (
    accept_confirm,
    accept_expose,
    accept_redeal,
    after_confirm,
    after_expose,
    after_redeal,
)
from fednode.ledger.sums.leash import vote_on_time
from fednode.ledger.sums.opening import (
    accept_result,
    accept_reveal,
    accept_reveal2,
    after_result,
    after_reveal,
    after_reveal2,
    is_result_complete,
    is_reveal2_complete,
    is_reveal_complete,
)
from fednode.ledger.sums.recheck import accept_recheck, after_recheck, is_recheck_complete
from fednode.ledger.sums.records import OpenPhase, RoundKind, RoundRecord, answered_members
from fednode.ledger.sums.summing import (
    accept_digest,
    accept_roster,
    accept_sum_ack,
    after_digest,
    after_roster,
    after_sum_ack,
    is_sum_acknowledged,
)
from fednode.sums.bodies import (
    Acknowledge,
    Answer,
    Coin,
    Commit,
    Confirm,
    Digest,
    Expose,
    Keys,
    Message,
    Proof,
    Recheck,
    Redeal,
    Reveal,
    Roster,
    ShareRoot,
    SumAck,
)
from fednode.sums.phase import Phase

MAX_TIMEOUT_MS = 2**32 - 1
Accept = Callable[[Draft, RoundRecord, StudyTerms, MemberId, Any], RoundRecord]
"""Returns the round with a body of the row's kind in it, or raises `Rejected` with a `Refusal` code."""
RoundBody = Message | Result | Expire | Gone


# --- the table ---------------------------------------------------------------------------------------------------

def _are_all_posted(source: Source, record: RoundRecord) -> bool:
    return are_all_posted(record)


def _has_posted(record: RoundRecord, member: MemberId) -> bool:
    return member in record.phase.posted


def _has_acked(record: RoundRecord, member: MemberId) -> bool:
    """Who reported chunks that it could not get may still acknowledge the whole list."""
    return member in record.attempt.acked


def _phase_timeout(record: RoundRecord, terms: StudyTerms) -> int:
    return terms.phase_timeout_ms


def _commit_timeout(record: RoundRecord, terms: StudyTerms) -> int:
    """The first commit follows the training; in later attempts the update is there."""
    is_trained = record.kind == RoundKind.TRAINING and record.attempt.number == 0
    return terms.train_timeout_ms if is_trained else terms.phase_timeout_ms


def _recheck_timeout(record: RoundRecord, terms: StudyTerms) -> int:
    """Everybody fetches a vector from each member of U, in other phases one in all."""
    return min(terms.phase_timeout_ms * len(record.attempt.included), MAX_TIMEOUT_MS)


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """One phase.

    takes        the body that is taken while it is open
    posters      the members that have a part in it
    accept       what a body does to the round
    follow       ends the phase: opens the next one, voids the attempt or ends the round
    is_complete  whether the messages suffice; by default, when every expected one is in
    has_posted   whether a member has said all that it may
    timeout_ms   how long each member waits, by its own timer, before it votes that the phase is over
    """

    takes: type
    posters: Callable[[RoundRecord], Collection[MemberId]]
    accept: Accept
    follow: Callable[[Source, RoundRecord, BlockTime], Next]
    is_complete: Callable[[Source, RoundRecord], bool] = _are_all_posted
    has_posted: Callable[[RoundRecord, MemberId], bool] = _has_posted
    timeout_ms: Callable[[RoundRecord, StudyTerms], int] = _phase_timeout


def _present(record: RoundRecord) -> Collection[MemberId]:
    return record.attempt.present


def _owners(record: RoundRecord) -> Collection[MemberId]:
    return {chunk.owner for chunk in record.attempt.chunks}


def _unsettled_owners(record: RoundRecord) -> Collection[MemberId]:
    return {chunk.owner for chunk in record.attempt.chunks if not chunk.is_settled}


def _coin_holders(record: RoundRecord) -> Collection[MemberId]:
    return record.coins.holders.intersection(record.attempt.present)


def _disputed(record: RoundRecord) -> Collection[MemberId]:
    return record.attempt.disputed_dealers


def _off(record: RoundRecord) -> Collection[MemberId]:
    return {holder for _, holder, _ in record.attempt.unconfirmed}


PHASES: dict[Phase, PhaseRow] = {
    Phase.KEYS: PhaseRow(Keys, lambda record: record.attempt.holders, accept_keys, after_keys),
    Phase.ACK: PhaseRow(Acknowledge, lambda record: record.attempt.dealers, accept_acknowledge, after_acknowledge),
    Phase.ANSWER: PhaseRow(Answer, lambda record: record.phase.expected, accept_answer, after_answer),
    Phase.COMMIT: PhaseRow(
        Commit, lambda record: record.attempt.qualified, accept_commit, after_commit, timeout_ms=_commit_timeout
    ),
    Phase.ROSTER: PhaseRow(Roster, _unsettled_owners, accept_roster, after_roster),
    Phase.DIGEST: PhaseRow(Digest, _owners, accept_digest, after_digest),
    Phase.SUMACK: PhaseRow(SumAck, _present, accept_sum_ack, after_sum_ack, is_sum_acknowledged, _has_acked),
    Phase.COIN: PhaseRow(Coin, _coin_holders, accept_coin, after_coin),
    Phase.SHARE: PhaseRow(ShareRoot, lambda record: record.attempt.included, accept_share_root, after_share),
    Phase.PROOF: PhaseRow(Proof, _present, accept_proof, after_proof),
    Phase.RECHECK: PhaseRow(
        Recheck, _present, accept_recheck, after_recheck, is_recheck_complete, timeout_ms=_recheck_timeout
    ),
    Phase.REDEAL: PhaseRow(Redeal, _disputed, accept_redeal, after_redeal),
    Phase.CONFIRM: PhaseRow(Confirm, answered_members, accept_confirm, after_confirm),
    Phase.EXPOSE: PhaseRow(Expose, _off, accept_expose, after_expose),
    Phase.REVEAL: PhaseRow(Reveal, _present, accept_reveal, after_reveal, is_reveal_complete),
    Phase.REVEAL2: PhaseRow(Reveal, _present, accept_reveal2, after_reveal2, is_reveal2_complete),
    Phase.RESULT: PhaseRow(Result, _present, accept_result, after_result, is_result_complete),
}


def row_of(record: RoundRecord) -> PhaseRow:
    """Return the row of the open phase."""
    return PHASES[Phase(record.phase.kind)]


# --- messages of the open phase ----------------------------------------------------------------------------------

def is_of_open_phase(record: RoundRecord, body: RoundBody) -> bool:
    """Whether `body` is a message of exactly the phase that is open."""
    return (
        (body.round, body.attempt) == (record.number, record.attempt.number)
        and type(body) is row_of(record).takes
        and (not isinstance(body, Roster) or body.step == record.phase.step)
    )


def accept(draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: RoundBody) -> RoundRecord:
    """Take a message of the open phase, or a vote that its time is over; or raise `Rejected` with a `Refusal` code."""
    if isinstance(body, Expire | Gone):
        return accept_clock(record, sender, body)
    if not is_of_open_phase(record, body):
        raise refuse(Refusal.PHASE_CLOSED)
    row = row_of(record)
    if sender not in row.posters(record):
        raise refuse(Refusal.NOT_IN_PHASE)
    if row.has_posted(record, sender):
        raise refuse(Refusal.ALREADY_POSTED)
    return row.accept(draft, record, terms, sender, body)


def accept_clock(record: RoundRecord, sender: MemberId, body: Expire | Gone) -> RoundRecord:
    """A vote that the phase's time is over, or who is gone in it; any member when the round opened may cast it."""
    if sender not in record.members:
        raise refuse(Refusal.NOT_IN_PHASE)
    if (body.round, body.attempt, body.phase_no) != (record.number, record.attempt.number, record.phase.number):
        raise refuse(Refusal.PHASE_CLOSED)
    return replace(record, phase=vote_on_time(record.phase, sender, body))


def expects(record: RoundRecord, member: MemberId) -> bool:
    """Whether the open phase still waits for a message of `member`."""
    return member in record.phase.expected and not row_of(record).has_posted(record, member)


def limit_phase(record: RoundRecord, terms: StudyTerms) -> RoundRecord:
    """Return the round with the time that its open phase may last."""
    return replace(record, phase=replace(record.phase, timeout_ms=row_of(record).timeout_ms(record, terms)))


# --- what a node asks about the open phase -----------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class PendingPhase:
    """The open phase of a study. `record` is None during JOIN; `round` is then the round that would open.

    A member votes to expire a phase only when its own timer has run out *and* its pool holds no acceptable message of
    that phase: otherwise a slow or hostile proposer could drop a member of its choice by leaving its message out.
    """

    study: StudyId
    round: int
    attempt: int
    phase: OpenPhase
    record: RoundRecord | None


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
