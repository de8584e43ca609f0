"""Whether this machine's clock agrees with the other members', told from the blocks they make.

Security assumption: none; it only tells people. A block carries its leader's time, and honest members vote for it if
that is at most `MAX_FUTURE_MS` ahead of their own clocks: a machine that is further behind votes against every block of
the others, one that is ahead has its own blocks voted down.
"""

from __future__ import annotations

from fednode.ledger.consensus.facts import MAX_FUTURE_MS

AHEAD_MS = 90_000
"""A block is voted for up to a minute after its time was taken, and later in later views."""

AGREEING_BLOCKS = 3
"""Blocks in a row that say the same, before people are told: one may have waited for an absent member."""


class ClockCheck:
    """Looks at blocks as they become final; a node that fetches old ones does not ask."""

    def __init__(self) -> None:
        self._seen = ""
        self._count = 0

    def look(self, block_time_ms: int, now_ms: int) -> str | None:
        """Return a sentence for people when block after block says that this clock is wrong."""
        seen = ""
        if block_time_ms > now_ms + MAX_FUTURE_MS:
            seen = "behind"
        elif now_ms - block_time_ms > AHEAD_MS:
            seen = "ahead of"
        self._count = self._count + 1 if seen == self._seen else 1
        self._seen = seen
        if not seen or self._count != AGREEING_BLOCKS:
            return None
        apart_s = abs(now_ms - block_time_ms) // 1000
        return (
            f"this machine's clock is {seen} the other members' by some {apart_s} s; set it, best by an NTP service: "
            "until then this hospital's votes and the others' blocks do not fit together"
        )
