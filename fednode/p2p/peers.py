"""The peer book: who is a member, where it listens, when to dial it, how much it may send.

Pure and synchronous. Every call that depends on time takes `now_ns` of a monotonic clock; randomness is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fednode.errors import ConfigError
from fednode.ids import PeerId
from fednode.p2p import wire_limits
from fednode.p2p.addresses import parse_multiaddr, source_of

SECOND_NS = 1_000_000_000

FIRST_WAIT_S = 0.3
"""The member with the higher id leaves the first dial to the lower one for so long; after a restart it dials itself."""

LOWER_WAIT_S = 0.1
HIGHER_WAIT_S = 0.4
"""After a lost link: the lower id redials at once, the higher one steps in when that has not helped."""

RETRY_MIN_S = 0.5
RETRY_MAX_S = 5.0
"""Wait between dials, doubled on each failure, with jitter so that a federation does not knock in step."""

GONE_AFTER_S = 0.5
"""A peer is gone once two dials, so far apart at least, have failed since it was last linked: not while it restarts."""

REFUSED_RETRY_S = 30.0
"""A member of another version or chain is looked at again this often: somebody may be upgrading it."""

DROP_BAN_S = 30.0
MAX_BAN_S = 600.0
BAN_MEMORY_S = 3600.0
"""How long a dropped peer is kept away: doubled each time up to the maximum, starting anew after a quiet hour."""

FRAMES_PER_S, FRAMES_BURST = 5_000.0, 20_000.0
FRAME_BYTES_PER_S, FRAME_BYTES_BURST = 128e6, 512e6
ANNOUNCEMENTS_PER_S, ANNOUNCEMENTS_BURST = 20.0, 400.0
ANNOUNCEMENT_BYTES_PER_S, ANNOUNCEMENT_BYTES_BURST = 128e3, 2e6
"""An honest member announces 100 bytes every ten seconds. What all peers have in their queues and caches of one author
is its burst, several times over.
"""
HANDSHAKES_PER_S, HANDSHAKES_BURST = 1.0, 12.0


class TokenBucket:
    """Refills at `per_s` up to `burst`; `take` says whether there was enough."""

    __slots__ = ("_at_ns", "_burst", "_level", "_per_ns")

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_ns = per_s / SECOND_NS
        self._burst = burst
        self._level = burst
        self._at_ns = 0

    def _refill(self, now_ns: int) -> None:
        if self._at_ns:
            self._level = min(self._burst, self._level + max(0, now_ns - self._at_ns) * self._per_ns)
        self._at_ns = now_ns

    def owe(self, amount: float, now_ns: int) -> float:
        """Take `amount` in any case; return the seconds until it is paid for."""
        self._refill(now_ns)
        self._level -= amount
        return max(0.0, -self._level / self._per_ns / SECOND_NS)

    def take(self, amount: float, now_ns: int) -> bool:
        """Take `amount` if it is there."""
        self._refill(now_ns)
        if amount > self._level:
            return False
        self._level -= amount
        return True


@dataclass(slots=True)
class _Entry:
    addresses: tuple[str, ...]
    dial_at_ns: int | None
    wait_s: float = RETRY_MIN_S
    is_dialling: bool = False
    first_failed_ns: int | None = None
    """When the first dial since the last link failed."""
    is_gone: bool = False
    banned_until_ns: int = 0
    bans: int = 0
    last_ban_ns: int = 0
    sources: frozenset[str] = frozenset()
    seen_source: str = ""
    frames: TokenBucket = field(default_factory=lambda: TokenBucket(FRAMES_PER_S, FRAMES_BURST))
    frame_bytes: TokenBucket = field(default_factory=lambda: TokenBucket(FRAME_BYTES_PER_S, FRAME_BYTES_BURST))
    announcements: TokenBucket = field(default_factory=lambda: TokenBucket(ANNOUNCEMENTS_PER_S, ANNOUNCEMENTS_BURST))
    announcement_bytes: TokenBucket = field(
        default_factory=lambda: TokenBucket(ANNOUNCEMENT_BYTES_PER_S, ANNOUNCEMENT_BYTES_BURST)
    )
    gossip_bytes: TokenBucket = field(
        default_factory=lambda: TokenBucket(wire_limits.GOSSIP_BYTES_PER_S, wire_limits.GOSSIP_BYTES_BURST)
    )
    gossip_work: TokenBucket = field(
        default_factory=lambda: TokenBucket(wire_limits.GOSSIP_WORK_US_PER_S, wire_limits.GOSSIP_WORK_US_BURST)
    )
    handshakes: TokenBucket = field(default_factory=lambda: TokenBucket(HANDSHAKES_PER_S, HANDSHAKES_BURST))


def _source(address: str) -> str:
    """Return the source of a multiaddr, empty if it is none."""
    try:
        return source_of(parse_multiaddr(address).host)
    except ConfigError:
        return ""


class PeerBook:
    """Members other than ourselves, their dial state, bans and quotas. Bounded by the number of members."""

    def __init__(self, me: PeerId, jitter: Callable[[], float]) -> None:
        """`jitter` returns numbers in [0, 1)."""
        self.me = me
        self._jitter = jitter
        self._entries: dict[PeerId, _Entry] = {}
        self._sources: set[str] = set()

    # --- membership

    def set_members(self, members: Mapping[PeerId, tuple[str, ...]], now_ns: int) -> frozenset[PeerId]:
        """Take over the member list; returns who was removed. Known peers keep their state."""
        for peer, addresses in members.items():
            if peer == self.me:
                continue
            entry = self._entries.get(peer)
            if entry is None:
                wait_s = 0.0 if self.me < peer else FIRST_WAIT_S * (1 + self._jitter())
                entry = self._entries[peer] = _Entry(tuple(addresses), now_ns + int(wait_s * SECOND_NS))
            entry.addresses = tuple(addresses)
            entry.sources = frozenset(filter(None, map(_source, addresses)))
        removed = frozenset(self._entries.keys() - members.keys())
        for peer in removed:
            del self._entries[peer]
        self._note_sources()
        return removed

    def is_member(self, peer: PeerId) -> bool:
        """Return whether `peer` is another member."""
        return peer in self._entries

    def members(self) -> frozenset[PeerId]:
        """Return all members but ourselves."""
        return frozenset(self._entries)

    def addresses(self, peer: PeerId) -> tuple[str, ...]:
        """Return the multiaddrs of `peer`, empty when it is unknown."""
        entry = self._entries.get(peer)
        return entry.addresses if entry is not None else ()

    def knows_source(self, source: str) -> bool:
        """Return whether a member is listed under this address (`addresses.source_of`), or came from it last."""
        return source in self._sources

    def _note_sources(self) -> None:
        listed = {source for entry in self._entries.values() for source in entry.sources}
        self._sources = listed | {entry.seen_source for entry in self._entries.values()} - {""}

    # --- dialling

    def due(self, now_ns: int) -> tuple[PeerId, ...]:
        """Return the peers to dial now and mark them as being dialled."""
        peers = []
        for peer, entry in self._entries.items():
            if entry.dial_at_ns is None or entry.is_dialling or entry.dial_at_ns > now_ns or not entry.addresses:
                continue
            if entry.banned_until_ns > now_ns:
                entry.dial_at_ns = entry.banned_until_ns
                continue
            entry.is_dialling = True
            peers.append(peer)
        return tuple(peers)

    def next_due_ns(self) -> int | None:
        """Return when `due` next has something to say; None when nothing is planned."""
        return min(
            (
                entry.dial_at_ns
                for entry in self._entries.values()
                if entry.dial_at_ns is not None and not entry.is_dialling and entry.addresses
            ),
            default=None,
        )

    def _plan(self, entry: _Entry, wait_s: float, now_ns: int) -> None:
        entry.dial_at_ns = now_ns + int(wait_s * SECOND_NS)

    def on_dial_ended(self, peer: PeerId, now_ns: int) -> bool:
        """A dial ended without a link: try again after a growing wait. With a link `on_up` came first.

        Returns whether the peer is gone from now on: it was not before.
        """
        entry = self._entries.get(peer)
        if entry is None:
            return False
        entry.is_dialling = False
        if entry.dial_at_ns is None or entry.dial_at_ns > now_ns:
            return False
        self._plan(entry, entry.wait_s * (1 + 0.25 * self._jitter()), now_ns)
        entry.wait_s = min(RETRY_MAX_S, entry.wait_s * 2)
        if entry.first_failed_ns is None:
            entry.first_failed_ns = now_ns
        is_news = not entry.is_gone and now_ns - entry.first_failed_ns >= GONE_AFTER_S * SECOND_NS
        entry.is_gone = entry.is_gone or is_news
        return is_news

    def on_up(self, peer: PeerId, address: str = "") -> None:
        """A link is up, with the peer at `address`: stop dialling."""
        entry = self._entries.get(peer)
        if entry is not None:
            if (source := _source(address)) not in ("", entry.seen_source):
                entry.seen_source = source
                self._note_sources()
            entry.dial_at_ns = entry.first_failed_ns = None
            entry.is_gone = False
            entry.wait_s = RETRY_MIN_S

    def on_down(self, peer: PeerId, now_ns: int) -> None:
        """The last link is lost: the lower id redials almost at once, the higher one later."""
        entry = self._entries.get(peer)
        if entry is None:
            return
        wait_s = LOWER_WAIT_S if self.me < peer else HIGHER_WAIT_S
        self._plan(entry, wait_s * (0.5 + 0.5 * self._jitter()), now_ns)

    def on_refused(self, peer: PeerId, now_ns: int) -> None:
        """The peer speaks another version or follows another chain: look again later."""
        entry = self._entries.get(peer)
        if entry is not None:
            self._plan(entry, REFUSED_RETRY_S * (1 + 0.2 * self._jitter()), now_ns)

    # --- bans

    def ban(self, peer: PeerId, now_ns: int) -> None:
        """Keep a misbehaving peer away for a while, longer each time."""
        entry = self._entries.get(peer)
        if entry is None:
            return
        if now_ns - entry.last_ban_ns > BAN_MEMORY_S * SECOND_NS:
            entry.bans = 0
        ban_s = min(MAX_BAN_S, DROP_BAN_S * 2**entry.bans)
        entry.bans = min(entry.bans + 1, 16)
        entry.last_ban_ns = now_ns
        entry.banned_until_ns = now_ns + int(ban_s * SECOND_NS)
        entry.dial_at_ns = entry.banned_until_ns

    def is_banned(self, peer: PeerId, now_ns: int) -> bool:
        """Return whether `peer` is being kept away."""
        entry = self._entries.get(peer)
        return entry is not None and entry.banned_until_ns > now_ns

    def why_refused(self, peer: PeerId, now_ns: int) -> str | None:
        """Return why a connection of `peer` must not be admitted; None admits it and counts one handshake."""
        entry = self._entries.get(peer)
        if entry is None:
            return "not a member"
        if entry.banned_until_ns > now_ns:
            return "dropped a short while ago"
        if not entry.handshakes.take(1, now_ns):
            return "connects too often"
        return None

    # --- quotas

    def may_send_frame(self, peer: PeerId, size_bytes: int, now_ns: int) -> bool:
        """Count one consensus frame against the peer's quota."""
        entry = self._entries.get(peer)
        return entry is not None and entry.frames.take(1, now_ns) and entry.frame_bytes.take(size_bytes, now_ns)

    def gossip_wait_s(self, peer: PeerId, size_bytes: int, work_us: int, now_ns: int) -> float:
        """Charge a connection for gossip; return the seconds until it is paid for."""
        entry = self._entries.get(peer)
        if entry is None:
            return 0.0
        return max(entry.gossip_bytes.owe(size_bytes, now_ns), entry.gossip_work.owe(work_us, now_ns))

    def may_announce(self, peer: PeerId, size_bytes: int, now_ns: int) -> bool:
        """Count one announcement against the quota of the member that signed it."""
        entry = self._entries.get(peer)
        return (
            entry is not None
            and entry.announcements.take(1, now_ns)
            and entry.announcement_bytes.take(size_bytes, now_ns)
        )
