"""What a change of the members would leave: how many there would be, how many must sign, and who signs now.

Security assumption: none; it only tells people before they vote. Who signs is what `health.signing_members` says, as
seen from this node.
"""

from __future__ import annotations

from dataclasses import dataclass

from fednode.chain.state import State
from fednode.desk.read_models import OutlookView
from fednode.ids import MemberId, fault_bound, quorum
from fednode.ledger.members.reading import get_candidates, get_members
from fednode.ledger.members.records import Change


@dataclass(frozen=True, slots=True)
class Outlook:
    """The federation after a change, by names. `signing` are those of the members then that sign now, or are connected
    as candidates and would sign; `absent` are the others.
    """

    change: Change
    member: MemberId
    name: str
    before: int
    signing: tuple[str, ...]
    absent: tuple[str, ...]

    @property
    def after(self) -> int:
        """How many members there would be."""
        return len(self.signing) + len(self.absent)

    @property
    def is_enough(self) -> bool:
        """Whether as many would sign as the new quorum asks for."""
        return len(self.signing) >= quorum(self.after)

    def sentence(self) -> str:
        """Say it to whoever is about to vote."""
        absent = f"; not signing: {', '.join(self.absent)}" if self.absent else ""
        told = (
            f"with {self.name} {'in' if self.change == Change.ADD else 'out'}, the federation has {self.after} members "
            f"(now {self.before}), {fault_bound(self.after)} of them may fail, and every block needs "
            f"{quorum(self.after)} signatures. {len(self.signing)} would sign: {', '.join(self.signing) or 'nobody'}"
            f"{absent}"
        )
        if self.is_enough:
            return told
        return f"{told}. That is too few: no block could be made, and no vote could undo it, until others come back"

    def view(self) -> OutlookView:
        """Return it for people and programs."""
        return OutlookView(
            change=self.change.name.lower(), member=int(self.member), name=self.name, members_now=self.before,
            quorum_now=quorum(self.before), members_then=self.after, tolerated_then=fault_bound(self.after),
            quorum_then=quorum(self.after), signing=self.signing, not_signing=self.absent, is_enough=self.is_enough,
            says=self.sentence(),
        )


def compute_outlook(
    state: State, change: Change, member: MemberId, signing: frozenset[MemberId], connected: frozenset[MemberId]
) -> Outlook:
    """Return what is left when `member` comes in or goes. It must be a candidate or a member of `state`.

    Candidates that are approved already and not in yet count as members then: they may come at any block.
    """
    members = get_members(state)
    coming = [
        candidate.record for candidate in get_candidates(state)
        if change == Change.ADD and (candidate.member == member or candidate.proposal.approved is not None)
    ]
    then = [record for record in (*members, *coming) if change == Change.ADD or record.member != member]
    there = signing | (connected & {record.member for record in coming})
    name = next(record.name for record in (*members, *coming) if record.member == member)
    return Outlook(
        change, member, name, len(members),
        tuple(record.name for record in then if record.member in there),
        tuple(record.name for record in then if record.member not in there),
    )
