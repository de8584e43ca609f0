"""What a block did, in sentences for the journal: rounds, studies, members, votes. Everything stands on the ledger too.

Security assumption: none; it only tells people. Names and reasons were checked by the ledger's rules, which let
characters that show and one line pass, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from fednode.chain.block import Receipt
from fednode.chain.state import Changes, State
from fednode.core.taking_part import count_text, member_names
from fednode.ledger.members.bodies import (
    MemberAddresses,
    MemberApprove,
    MemberPropose,
    MemberRemove,
    MemberRotate,
    Role,
    RoleVote,
    VersionVote,
)
from fednode.ledger.members.reading import MEMBERS_KEY, MEMBERSHIP_KEY, get_membership
from fednode.ledger.members.records import Change
from fednode.ledger.record_table import RECORD_TABLE
from fednode.ledger.studies.bodies import Outcome, StudyAction, StudyBegin, StudyCreate, StudyPause, StudyVote
from fednode.ledger.studies.records import RoundReport, StudyRecord, StudyStatus
from fednode.ledger.sums.records import RoundKind
from fednode.ledger.transactions import Transaction

Told = tuple[str, str, Mapping[str, bytes | int]]
"""Kind of a line, its sentence, and what it is about."""

_NOTHING: Mapping[str, bytes | int] = MappingProxyType({})


class Chronicle:
    """Remembers where studies stood and who was a member, to tell what a block changed."""

    def __init__(self, state: State) -> None:
        self._statuses: dict[bytes, int] = {}
        self._names = dict(member_names(state))
        self._belong = set(self._names)
        self._proposals: dict[int, str] = {}
        self._know_proposals(state)

    def _know_proposals(self, state: State) -> None:
        """Remember what open proposals are about: the vote that carries one closes it."""
        for open_ in get_membership(state).proposals:
            about = open_.card.name if open_.card is not None else self._names.get(int(open_.member), "?")
            self._proposals[open_.number] = f"{'remove' if open_.change == Change.REMOVE else 'admit'} {about}"

    def tell(
        self, state: State, changes: Changes, transactions: Sequence[Transaction], receipts: Sequence[Receipt]
    ) -> Iterator[Told]:
        """Yield what people should know of a block; `state` is that after it."""
        changed = {key for key, _ in changes}
        if MEMBERS_KEY in changed:
            self._names = {**self._names, **member_names(state)}
        if MEMBERSHIP_KEY in changed:
            self._know_proposals(state)
        names = self._names
        for transaction, receipt in zip(transactions, receipts, strict=True):
            text = _vote_text(transaction.body, self._proposals, names) if receipt.ok else None
            if text is not None:
                by = int(transaction.sender)
                yield "vote", f"{names.get(by, f'member {by}')} {text}", {"member": by}
        for key, value in changes:
            if value is None:
                continue
            if key == MEMBERS_KEY:
                yield from self._members(state)
            elif key.startswith((b"report/", b"study/")):
                yield from self._of_study(RECORD_TABLE.decode(key, value), names)

    def _members(self, state: State) -> Iterator[Told]:
        now = set(member_names(state))
        for number in sorted(now ^ self._belong):
            what = "is a member now" if number in now else "is no member any more"
            yield "member", f"{self._names[number]} {what}; the federation has {len(now)}", {"member": number}
        self._belong = now

    def _of_study(self, record: object, names: Mapping[int, str]) -> Iterator[Told]:
        if isinstance(record, RoundReport):
            yield "round", round_text(record, names), {"study": record.study, "round": record.number}
        elif isinstance(record, StudyRecord) and self._statuses.get(record.study) != record.status:
            is_known = record.study in self._statuses
            self._statuses[record.study] = record.status
            status = StudyStatus(record.status).name.lower()
            if is_known or record.status != StudyStatus.RUNNING:
                reason = f": {record.reason}" if record.reason else ""
                yield "study", f"the study is {status}{reason}", {"study": record.study}


def round_text(report: RoundReport, names: Mapping[int, str]) -> str:
    """Return a closed round as a sentence."""
    kind = RoundKind(report.kind).name.lower()
    seconds = (report.closed_ms - report.opened_ms) / 1000
    counted = count_text(len(report.counted), report.not_ready, names)
    gone = sorted({int(absence.member) for absence in report.absent} - set(map(int, report.counted)))
    left_out = f", left out: {', '.join(names.get(number, f'member {number}') for number in gone)}" if gone else ""
    if report.outcome != Outcome.OK:
        return f"round {report.number} ({kind}) FAILED after {seconds:.1f} s: {report.reason}{left_out}"
    return f"round {report.number} ({kind}) is done after {seconds:.1f} s, counted {counted}{left_out}"


def _vote_text(body: object, proposals: Mapping[int, str], names: Mapping[int, str]) -> str | None:
    """Return what a member decided or voted for; None for what daemons say among themselves."""
    match body:
        case StudyCreate():
            return "proposes a study"
        case StudyVote(_, action):
            return f"votes on a study: {StudyAction(action).name.lower()}"
        case StudyPause(_, reason):
            return f"pauses a study{f': {reason}' if reason else ''}"
        case StudyBegin(_, without):
            return f"votes to begin a study without {names.get(int(without), f'member {without}')}"
        case MemberPropose(card):
            return f"proposes {card.name} as a member"
        case MemberRemove(member, reason):
            return f"votes to remove {names.get(int(member), f'member {member}')}{f': {reason}' if reason else ''}"
        case MemberApprove(number):
            return f"votes to {proposals[number]}" if number in proposals else f"votes for proposal {number}"
        case MemberRotate():
            return "replaces its keys"
        case MemberAddresses(addresses):
            return f"is reached at {', '.join(addresses)} from now on"
        case RoleVote(role, holder, is_grant):
            verb = "grant" if is_grant else "revoke"
            return f"votes to {verb} the role {Role(role).name.lower()}, {holder.hex()[:12]}"
        case VersionVote(version, height, _):
            return f"votes for protocol version {version} from block {height} on"
    return None
