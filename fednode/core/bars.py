"""Whom this node keeps away because a machine of it broke on what they sent.

Security assumption: at most f members lie. Whoever sent what broke a machine may only have passed it on, so no more
than f (one where f is 0) are kept away at a time: otherwise one liar whose value others pass on would cut this node off
from everybody. When one more breaks it, at least one of them is honest and nobody knows which: all may come back, and
this node waits before it begins anew, each time longer, until those others have moved on from what broke it.
"""

from __future__ import annotations

from collections.abc import Iterator

from fednode.fence import Stumbled
from fednode.ids import MemberId, fault_bound

MAX_PAUSE_S = 60


class Bars:
    """The members that are kept away, as a collection; `pause_s` is how long to wait before the next beginning."""

    def __init__(self) -> None:
        self._members: set[MemberId] = set()
        self._rounds = self.pause_s = 0

    def __contains__(self, member: object) -> bool:
        return member in self._members

    def __iter__(self) -> Iterator[MemberId]:
        return iter(sorted(self._members))

    def __len__(self) -> int:
        return len(self._members)

    def add(self, stumbled: Stumbled, member_count: int) -> str:
        """Keep the sender away, or forgive everybody; return what people should be told."""
        self.pause_s = 0
        if stumbled.sender not in self._members and len(self._members) < max(1, fault_bound(member_count)):
            self._members.add(MemberId(stumbled.sender))
            return f"{stumbled}; it is kept away until the next start, please report it"
        self._members.clear()
        self.pause_s = min(MAX_PAUSE_S, 2**self._rounds)
        self._rounds += 1
        return f"{stumbled}; more members than can be at fault sent such things, so none is kept away; please report"
