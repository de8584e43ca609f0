"""Which hospitals take part in a study, in the words people read: who is not ready, who was left out.

Security assumption: none; it only tells people what stands on the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fednode.chain.state import State
from fednode.ids import MemberId, StudyId, quorum
from fednode.ledger.members.reading import get_members
from fednode.ledger.studies.bodies import Outcome
from fednode.ledger.studies.records import StudyRecord, StudyStatus, get_report, get_study
from fednode.ledger.studies.round_life import not_ready
from fednode.ledger.sums.records import RoundRecord

_MOST_ROUNDS = 12

Names = Mapping[int, str]


def member_names(state: State) -> Names:
    """Return the names of all members by number."""
    return {int(record.member): record.name for record in get_members(state)}


def count_text(ready: int, missing: Iterable[int], names: Names) -> str:
    """Return "4 of 4", or "3 of 4, not ready: St. Dora"."""
    told = [names.get(int(member), f"member {member}") for member in missing]
    return f"{ready} of {ready + len(told)}" + (f", not ready: {', '.join(told)}" if told else "")


def missing_members(record: StudyRecord, current: RoundRecord | None, members: Iterable[MemberId]) -> tuple[int, ...]:
    """Return who belongs to a study and is not in its round, or would not be in the next one."""
    if current is not None:
        return not_ready(record, current.members, current.expected)
    return not_ready(record, members, record.ready_members)


def part_text(record: StudyRecord, current: RoundRecord | None, state: State) -> str | None:
    """Return how many of a study's hospitals are in its round, or ready for the next; None where nothing is to come."""
    if current is None and record.status not in (StudyStatus.WAITING, StudyStatus.PAUSED):
        return None
    members = [found.member for found in get_members(state)]
    ready = current.expected if current is not None else record.ready_members
    return count_text(len(ready), missing_members(record, current, members), member_names(state))


@dataclass(slots=True)
class _Followed:
    """What was read of a study: up to which round, those summed without this hospital, and whether the last one was."""

    next_round: int = 0
    missed: list[int] = field(default_factory=list)
    is_missing: bool = False


class MissedRounds:
    """Which rounds were summed without this hospital. Reports never change, so each is read once."""

    def __init__(self, me: MemberId) -> None:
        self._me = me
        self._followed: dict[StudyId, _Followed] = {}

    def of(self, state: State, study: StudyId) -> list[int]:
        """Return the successful rounds of a study that this hospital belongs to and was not counted in."""
        return self._follow(state, study).missed

    def is_missing(self, state: State, study: StudyId) -> bool:
        """Whether the last successful round was summed without it."""
        return self._follow(state, study).is_missing

    def _follow(self, state: State, study: StudyId) -> _Followed:
        record, seen = get_study(state, study), self._followed.setdefault(study, _Followed())
        for number in range(seen.next_round, 0 if record is None else record.next_round):
            report = get_report(state, study, number)
            if report is not None and report.outcome == Outcome.OK:
                belongs = self._me in report.not_ready or self._me in report.expected
                seen.is_missing = belongs and self._me not in report.counted
                seen.missed += [number] if seen.is_missing else []
            seen.next_round = number + 1
        return seen


def own_part(state: State, study: StudyId, me: MemberId, missed: MissedRounds, why: str | None) -> str | None:
    """Tell a hospital that a study waits for it, or goes on without it; `why` it is not ready, if that is known."""
    record = get_study(state, study)
    if record is None:
        return None
    if record.beginning is not None and record.status == StudyStatus.WAITING:
        if me not in missing_members(record, None, [found.member for found in get_members(state)]):
            return None
        return f"the study waits for this hospital: it is not ready{f' ({why})' if why else ''}"
    if not missed.is_missing(state, study):
        return None
    numbers = missed.of(state, study)
    shown = ("..., " if len(numbers) > _MOST_ROUNDS else "") + ", ".join(map(str, numbers[-_MOST_ROUNDS:]))
    return f"this hospital took no part in round {shown}: its rows are not in {'it' if len(numbers) == 1 else 'them'}"


def who_to_ask(state: State, study: StudyId, name: str, now_ms: int) -> str | None:
    """Tell people, after the time the study sets, for whom it waits and how it begins without them; else None."""
    record = get_study(state, study)
    if record is None or record.beginning is None or record.status != StudyStatus.WAITING:
        return None
    members = [found.member for found in get_members(state)]
    missing = [
        member for member in missing_members(record, None, members)
        if member in record.hospitals and not record.beginning.is_left_out(member, len(members))
    ]
    waited_ms = now_ms - record.beginning.since_ms
    if not missing or waited_ms < record.terms.start_after_ms:
        return None
    names = member_names(state)
    told = _listed([names.get(int(member), f"member {member}") for member in missing])
    options = " ".join(f"--without '{names.get(int(member), member)}'" for member in missing)
    votes = max(len(record.beginning.voters(member)) for member in missing)
    return (
        f"study '{name}' has waited {_long(waited_ms)} for {told}. Ask there: 'fednode doctor' says what is missing. "
        f"To begin without: fednode study start '{name}' {options}. {quorum(len(members))} members must say so, "
        f"{votes or 'none'} did"
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _long(ms: int) -> str:
    hours = ms // 3_600_000
    if hours >= 48:
        return f"{hours // 24} days"
    return f"{hours} h" if hours >= 2 else f"{max(1, ms // 60_000)} min"
