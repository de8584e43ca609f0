"""How much a member may send before it is cut off for a while, whatever it sends.

Security assumption: the connection proves who sent it. Reading a frame costs about a fifth of a millisecond even if
nothing in it is believed, so a flood of frames that are well formed is a cost like any other, and bounded here.

The bounds lie well above what honest members send: two or three frames for each block, own transactions gathered into
at most two hundred frames a second, and what piled up while this process stood still for five seconds. Answers to a
node that fetches the chain are exempt from the bound on bytes while it does.
"""

from __future__ import annotations

from dataclasses import dataclass

from fednode.p2p.peers import TokenBucket

FRAMES_PER_S, FRAMES_BURST = 500.0, 2_000.0
BYTES_PER_S, BYTES_BURST = 6e6, 24e6
BLOB_BYTES_PER_S, BLOB_BYTES_BURST = 6e6, 512e6
"""Blobs that were refused. A round that ended early leaves an honest member with some large pieces on their way; they
are read past without a look, at a hundredth of what a frame costs.
"""
SIGNATURES_PER_S, SIGNATURES_BURST = 2_000.0, 20_000.0
"""Signatures that had to be checked, at 50 microseconds each: a tenth of a processor. An honest member costs three for
each of sixty blocks a second and one for each of its own transactions; the reserve holds a whole pool of the largest
federation, which a member gives to one that has just started, and three bundles of votes.
"""
CLAIMS_PER_S, CLAIMS_BURST = 5.0, 200.0
"""Announcements: an honest member makes one every ten seconds, and offers what was missed."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a member may send of the classes of frames that have these bounds, together: a rate and a reserve, in
    frames and in bytes. `name` is for people, and two bounds of one name are the same.
    """

    name: str
    frames_per_s: float
    frames_burst: float
    bytes_per_s: float
    bytes_burst: float


ORDINARY = Bounds("messages", FRAMES_PER_S, FRAMES_BURST, BYTES_PER_S, BYTES_BURST)
"""Of every class that has no bounds of its own."""


PENALTY = 4
PENALTY_NS = 3600 * 10**9
"""Who was cut off has a fourth of the reserves for an hour: it is cut off sooner if it goes on where it ended."""


class Quota:
    """What one member may still send."""

    __slots__ = ("_blob_bytes", "_claims", "_forgiven_ns", "_frames", "_share", "_signatures")

    def __init__(self) -> None:
        self._forgiven_ns = 0
        self._fill(1)

    def _fill(self, share: int) -> None:
        self._share = share
        self._frames: dict[str, tuple[TokenBucket, TokenBucket]] = {}
        self._blob_bytes = TokenBucket(BLOB_BYTES_PER_S, BLOB_BYTES_BURST / share)
        self._claims = TokenBucket(CLAIMS_PER_S, CLAIMS_BURST / share)
        self._signatures = TokenBucket(SIGNATURES_PER_S, SIGNATURES_BURST / share)

    def cut_off(self, now_ns: int) -> None:
        """Its sender was cut off."""
        self._forgiven_ns = now_ns + PENALTY_NS
        self._fill(PENALTY)

    def connected(self, now_ns: int) -> None:
        """Its sender is back."""
        if self._forgiven_ns and now_ns > self._forgiven_ns:
            self._forgiven_ns = 0
            self._fill(1)

    def take_frame(
        self, size_bytes: int, is_asked_for: bool, now_ns: int, bounds: Bounds = ORDINARY
    ) -> str | None:
        """Count a frame; return why its sender is to be cut off, None while it keeps to its bounds."""
        frames, volume = self._frames.get(bounds.name) or self._open(bounds)
        if not frames.take(1, now_ns):
            return f"it sends more than {bounds.frames_per_s:g} {bounds.name} a second"
        if is_asked_for or volume.take(size_bytes, now_ns):
            return None
        return f"it sends more than {bounds.bytes_per_s / 1e6:g} MB of {bounds.name} a second that nobody asked for"

    def _open(self, bounds: Bounds) -> tuple[TokenBucket, TokenBucket]:
        """Begin to count what has these bounds, with a full reserve."""
        self._frames[bounds.name] = found = (
            TokenBucket(bounds.frames_per_s, bounds.frames_burst / self._share),
            TokenBucket(bounds.bytes_per_s, bounds.bytes_burst / self._share),
        )
        return found

    def take_refused_blob(self, size_bytes: int, now_ns: int) -> str | None:
        """Count a blob that nobody asked for; a single one, however large, is no flood."""
        if self._blob_bytes.take(min(size_bytes, BLOB_BYTES_BURST / PENALTY), now_ns):
            return None
        return f"it sends more than {BLOB_BYTES_PER_S / 1e6:g} MB a second of blobs that nobody asked for"

    def take_signatures(self, count: int, now_ns: int) -> str | None:
        """Count the signatures that one event of this member made this node check."""
        if self._signatures.take(count, now_ns):
            return None
        return f"it has more than {SIGNATURES_PER_S:g} signatures a second checked"

    def take_claim(self, now_ns: int) -> str | None:
        """Count an announcement."""
        if not self._claims.take(1, now_ns):
            return f"it announces something more than {CLAIMS_PER_S:g} times a second"
        return None
