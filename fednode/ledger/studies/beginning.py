"""A study before its first round: whom it waits for, the vote to begin without one of them, and who counts the votes.

Security assumption: a hospital that is late, down or still reading its table is left out by q people who name it, never
by time alone: a study trained without a hospital cannot be made complete afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fednode.chain.vote import MAX_MEMBERS, Id, Ids
from fednode.codec import U64, Size
from fednode.ids import MemberId, quorum


@dataclass(frozen=True, slots=True)
class Without:
    """Who votes that the study begins without `member`."""

    member: Id
    voters: Ids


@dataclass(frozen=True, slots=True)
class Beginning:
    """A study that has not opened a round yet. `since_ms` is the block time from which on it waits.

    `without` is ascending by member, at most one of each.
    """

    since_height: U64
    since_ms: U64
    without: Annotated[tuple[Without, ...], Size(0, MAX_MEMBERS)] = ()

    def voters(self, member: int) -> tuple[MemberId, ...]:
        """Return who votes to begin without a hospital."""
        return next((tuple(vote.voters) for vote in self.without if vote.member == member), ())

    def is_left_out(self, member: int, member_count: int) -> bool:
        """Whether q of the members vote to begin without a hospital."""
        return len(self.voters(member)) >= quorum(member_count)
