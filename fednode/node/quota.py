"""How much a member may send before it is cut off for a while, whatever it sends.

Security assumption: the connection proves who sent it. Reading a frame costs about a fifth of a millisecond even if
nothing in it is believed, so a flood of frames that are well formed is a cost like any other, and bounded here.

The bounds lie well above what honest members send: two or three frames for each block, own transactions gathered into
at most two hundred frames a second, and what piled up while this process stood still for five seconds. Answers to a
node that fetches the chain are exempt from the bound on bytes while it does.
"""

from __future__ import annotations

from fednode.p2p.peers import TokenBucket

FRAMES_PER_S, FRAMES_BURST = 500.0, 2_000.0
BYTES_PER_S, BYTES_BURST = 6e6, 24e6
CLAIMS_PER_S, CLAIMS_BURST = 5.0, 200.0
"""Announcements: an honest member makes one every ten seconds, and offers what was missed."""


PENALTY = 4
PENALTY_NS = 3600 * 10**9
"""Who was cut off has a fourth of the reserves for an hour: it is cut off sooner if it goes on where it ended."""


class Quota:
    """What one member may still send."""

    __slots__ = ("_bytes", "_claims", "_forgiven_ns", "_frames")

    def __init__(self) -> None:
        self._forgiven_ns = 0
        self._fill(1)

    def _fill(self, share: int) -> None:
        self._frames = TokenBucket(FRAMES_PER_S, FRAMES_BURST / share)
        self._bytes = TokenBucket(BYTES_PER_S, BYTES_BURST / share)
        self._claims = TokenBucket(CLAIMS_PER_S, CLAIMS_BURST / share)

    def cut_off(self, now_ns: int) -> None:
        """Its sender was cut off."""
        self._forgiven_ns = now_ns + PENALTY_NS
        self._fill(PENALTY)

    def connected(self, now_ns: int) -> None:
        """Its sender is back."""
        if self._forgiven_ns and now_ns > self._forgiven_ns:
            self._forgiven_ns = 0
            self._fill(1)

    def take_frame(self, size_bytes: int, is_asked_for: bool, now_ns: int) -> str | None:
        """Count a frame; return why its sender is to be cut off, None while it keeps to its bounds."""
        if not self._frames.take(1, now_ns):
            return f"it sends more than {FRAMES_PER_S:g} messages a second"
        return None if is_asked_for else self.take_bytes(size_bytes, now_ns)

    def take_bytes(self, size_bytes: int, now_ns: int) -> str | None:
        """Count what nobody asked for."""
        if not self._bytes.take(min(size_bytes, BYTES_BURST / PENALTY), now_ns):
            return f"it sends more than {BYTES_PER_S / 1e6:g} MB a second that nobody asked for"
        return None

    def take_claim(self, now_ns: int) -> str | None:
        """Count an announcement."""
        if not self._claims.take(1, now_ns):
            return f"it announces something more than {CLAIMS_PER_S:g} times a second"
        return None
