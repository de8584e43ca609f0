"""What calls that act answer: the transaction that is final, and what it led to.

Read models like the others, written and read back by the same two functions.
"""

from __future__ import annotations

from dataclasses import dataclass

from fednode.desk.read_models import BeginningView, RoleView, VersionsView


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """A transaction that is final: its id, and the block it is in."""

    id: str
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoDone(Final):
    """A memo on the ledger, and how long that took."""

    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyCreated(Final):
    """A study was proposed."""

    study: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyVoted(StudyCreated):
    """A vote about a study was cast; `status` is what it led to."""

    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyBegun(StudyVoted):
    """Votes to begin a study without some were cast."""

    taking_part: str | None
    beginning: BeginningView | None
    quorum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsAllowed:
    """A data set may enter the statistics of a study although it entered another's."""

    study: str
    allowed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberInvited(Final):
    """A hospital was proposed as a member."""

    proposal: int
    member: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalVoted(Final):
    """A vote to remove a member is final; the proposal is None where that vote alone carried it."""

    proposal: int | None
    member: int
    is_carried: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateVoted(RemovalVoted):
    """A vote for a candidate is final; once it has carried, the candidate's daemon may come in."""

    is_member: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressesAnnounced(Final):
    """New addresses of this hospital are on the ledger."""

    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionVoted(VersionsView):
    """A vote on a version is final, in which transaction and block, and where that leaves the versions."""

    id: str
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleVoted(RoleView):
    """A vote on a role is final, in which transaction and block, and where that leaves the role."""

    id: str
    height: int
