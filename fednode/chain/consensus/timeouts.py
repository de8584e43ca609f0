"""How long each step of a view waits.

Linear in the view: a node cut off from a quorum cannot leave its view, so an outage does not inflate its timers; the
price is that healing rests on sending one's votes again every `resend_ms`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Delays in milliseconds; every member of a network uses the same."""

    propose_ms: int = 3_000
    vote_ms: int = 1_000
    growth_ms: int = 500
    limit_ms: int = 60_000

    def get_propose_ms(self, view: int) -> int:
        """Wait this long for the leader's block."""
        return min(self.propose_ms + self.growth_ms * view, self.limit_ms)

    def get_vote_ms(self, view: int) -> int:
        """Wait this long for more prevotes, or more precommits, once there are q."""
        return min(self.vote_ms + self.growth_ms * view, self.limit_ms)

    def get_resend_ms(self, view: int) -> int:
        """Send one's own votes again after this long without a decision."""
        return self.get_propose_ms(view) + 2 * self.get_vote_ms(view)
