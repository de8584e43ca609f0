"""Which hospitals take part in a study, in the words people read: who is not ready, who was left out.

Security assumption: none; it only tells people what stands on the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fednode.ids import MemberId, StudyId, quorum
from fednode.ledger.bodies import Outcome
from fednode.ledger.records import RoundRecord, RoundReport, StudyRecord, StudyStatus
from fednode.ledger.round_life import not_ready
from fednode.ledger.state import State, get_members, get_report, get_study

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


def rounds_without(state: State, study: StudyId, me: MemberId) -> list[int]:
    """Return the rounds that were summed without a hospital that belongs to the study."""
    record = get_study(state, study)
    found = [] if record is None else [get_report(state, study, number) for number in range(record.next_round)]
    return [report.number for report in found if report is not None and _is_without(report, me)]


def _is_without(report: RoundReport, me: MemberId) -> bool:
    belongs = me in report.not_ready or me in report.expected
    return report.outcome == Outcome.OK and belongs and me not in report.counted


def own_part(state: State, study: StudyId, me: MemberId, why: str | None) -> str | None:
    """Tell a hospital that a study waits for it, or went on without it; `why` it is not ready, if that is known."""
    record = get_study(state, study)
    if record is None:
        return None
    if record.beginning is not None and record.status == StudyStatus.WAITING:
        if me not in missing_members(record, None, [found.member for found in get_members(state)]):
            return None
        return f"the study waits for this hospital: it is not ready{f' ({why})' if why else ''}"
    missed = rounds_without(state, study, me)
    if not missed:
        return None
    shown = ", ".join(map(str, missed[:_MOST_ROUNDS])) + (", ..." if len(missed) > _MOST_ROUNDS else "")
    return f"this hospital took no part in round {shown}: its rows are not in {'it' if len(missed) == 1 else 'them'}"


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
