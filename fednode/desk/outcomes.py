"""What calls that act answer: the transaction that is final, and what it led to.

Read models like the others, written and read back by the same two functions.
"""

from __future__ import annotations

from fednode.desk.read_models import BeginningView, RoleView, VersionsView
from fednode.desk.record import Record


class Final(Record):
    """A transaction that is final: its id, and the block it is in."""

    id: str
    height: int


class MemoDone(Final):
    """A memo on the ledger, and how long that took."""

    ms: float


class StudyCreated(Final):
    """A study was proposed."""

    study: str


class StudyVoted(StudyCreated):
    """A vote about a study was cast; `status` is what it led to, `votes` how many there are now, of those `needed`."""

    status: str
    votes: int
    needed: int


class StudyBegun(StudyVoted):
    """Votes to begin a study without some were cast."""

    taking_part: str | None
    beginning: BeginningView | None


class ModelExported(Record):
    """A model was written to a file."""

    hash: str
    path: str
    bytes: int


class StatisticsAllowed(Record):
    """A data set may enter the statistics of a study although it entered another's."""

    study: str
    allowed: bool


class MemberInvited(Final):
    """A hospital was proposed as a member."""

    proposal: int
    member: int
    name: str


class MemberVoted(Final):
    """A vote to add or remove a member is final; the proposal is None where that vote alone carried it.

    Once a vote to add one has carried, the candidate's daemon may come in: until it has, it is no member.
    """

    proposal: int | None
    member: int
    is_carried: bool
    is_member: bool


class AddressesAnnounced(Final):
    """New addresses of this hospital are on the ledger."""

    addresses: tuple[str, ...]


class VersionVoted(VersionsView):
    """A vote on a version is final, in which transaction and block, and where that leaves the versions."""

    id: str
    height: int


class RoleVoted(RoleView):
    """A vote on a role is final, in which transaction and block, and where that leaves the role."""

    id: str
    height: int


class Stopping(Record):
    """The daemon with this process id is ending."""

    pid: int
