"""The full mesh of links between members: implements `Network` on top of a host that can dial. No libp2p here."""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import trio

from fednode.ids import PeerId
from fednode.p2p import peers, wire_limits
from fednode.p2p.blobs import PartialBlobs
from fednode.p2p.framing import Hello
from fednode.p2p.link import Connection, Link
from fednode.p2p.network import (
    AcceptBlob,
    Announced,
    BlobReceived,
    Channel,
    NetworkEvent,
    PeerDown,
    PeerGone,
    PeerUp,
    Received,
    Refused,
)
from fednode.p2p.queues import Blob, BlobOutbox, Inbox, Outbox
from fednode.p2p.records import Traffic
from fednode.p2p.stream import Stream

if TYPE_CHECKING:
    from trio_typing import TaskStatus


class Host(Protocol):
    """What the mesh needs from the machinery below it."""

    async def dial(self, peer: PeerId, address: str) -> None:
        """Try one address; a connection that results is reported through `Mesh.on_connection`. Never raises for
        anything the peer or the network did."""

    async def publish(self, data: bytes) -> None:
        """Gossip a message."""

    async def listen(self) -> None:
        """Open the ports; raises `errors.PortInUse` or `errors.Unavailable`."""

    async def serve(self, task_status: TaskStatus[None]) -> None:
        """Accept connections until cancelled; closes the ports."""


class _Pair:
    """Everything about one peer that outlives a single connection."""

    __slots__ = ("blobs", "frames", "links")

    def __init__(self) -> None:
        self.frames = Outbox()
        self.blobs = BlobOutbox()
        self.links: list[Link] = []

    def active(self) -> Link | None:
        for link in self.links:
            if link.is_active:
                return link
        return None


class Mesh:
    """Keeps one working link to every member that can be reached."""

    def __init__(self, me: PeerId, hello: Hello, accept_blob: AcceptBlob, host: Host) -> None:
        self._me = me
        self._hello = hello
        self._accept_blob = accept_blob
        self._host = host
        self.book = peers.PeerBook(me, random.random)
        self._pairs: dict[PeerId, _Pair] = {}
        self._links: dict[int, Link] = {}
        self._inbox = Inbox()
        self._partials = PartialBlobs()
        self._arrived = trio.Event()
        self._plans_changed = trio.Event()
        self._announcements: deque[bytes] = deque()
        self._announced = trio.Event()
        self._counters: Counter[str] = Counter()
        self.traffic = Traffic()
        self._nursery: trio.Nursery | None = None
        self._listening: tuple[str, ...] = ()

    # --- Network, called by the node

    @property
    def me(self) -> PeerId:
        """Return this node's own peer id."""
        return self._me

    @property
    def listening(self) -> tuple[str, ...]:
        """Return the multiaddrs of the open ports, with the port chosen where 0 was asked for."""
        return self._listening

    def send(self, peer: PeerId, data: bytes) -> bool:
        """Queue one consensus frame; see `Network.send`."""
        pair = self._pairs.get(peer)
        link = pair.active() if pair is not None else None
        if pair is None or link is None or not data or len(data) > wire_limits.MAX_FRAME_BYTES:
            self._counters["send_refused"] += 1
            return False
        if not pair.frames.put(data):
            self._counters["outbox_full"] += 1
            return False
        link.wake_frames()
        return True

    def send_everywhere(self, peer: PeerId, data: bytes) -> bool:
        """Queue one short frame on each connection; see `Network.send_everywhere`."""
        pair = self._pairs.get(peer)
        return sum([link.put_short(data) for link in (pair.links if pair is not None else ()) if link.is_up]) > 0

    def send_blob(self, peer: PeerId, header: bytes, data: bytes | memoryview) -> bool:
        """Queue one blob; see `Network.send_blob`."""
        view = memoryview(data).cast("B")
        pair = self._pairs.get(peer)
        link = pair.active() if pair is not None else None
        is_too_large = view.nbytes > wire_limits.MAX_BLOB_BYTES or len(header) > wire_limits.MAX_BLOB_HEADER_BYTES
        if pair is None or link is None or is_too_large:
            self._counters["send_refused"] += 1
            return False
        if not pair.blobs.put(Blob(bytes(header), view)):
            self._counters["blob_outbox_full"] += 1
            return False
        link.wake_blobs()
        return True

    def announce(self, data: bytes) -> bool:
        """Gossip a message; see `Network.announce`."""
        if len(data) > wire_limits.MAX_ANNOUNCEMENT_BYTES:
            self._counters["send_refused"] += 1
            return False
        if len(self._announcements) >= wire_limits.MAX_ANNOUNCEMENTS_WAITING:
            self._counters["announcements_full"] += 1
            return False
        self._announcements.append(data)
        self._announced.set()
        return True

    def connected(self) -> frozenset[PeerId]:
        """Return the peers that can be sent to."""
        return frozenset(peer for peer, pair in self._pairs.items() if pair.active() is not None)

    def set_members(self, members: Mapping[PeerId, tuple[str, ...]]) -> None:
        """Take over the member list; see `Network.set_members`."""
        for peer in self.book.set_members(members, time.monotonic_ns()):
            self._fail_links(peer, "no longer a member")
            self._partials.forget(peer)
        self._plans_changed.set()

    def drop(self, peer: PeerId, reason: str) -> None:
        """Disconnect a peer and keep it away for a while."""
        self.book.ban(peer, time.monotonic_ns())
        self._counters["dropped_peers"] += 1
        self._fail_links(peer, reason)
        self._plans_changed.set()

    def counters(self) -> Mapping[str, int]:
        """Return what was dropped and why, and how much went over the line."""
        traffic = self.traffic
        return dict(self._counters, bytes_sent=traffic.sent_bytes, bytes_received=traffic.received_bytes)

    async def receive(self) -> NetworkEvent:
        """Return the next event, taking the peers in turn."""
        await trio.lowlevel.checkpoint()
        while True:
            event = self._inbox.take()
            if event is not None:
                return event
            self._arrived = trio.Event()
            await self._arrived.wait()

    async def run(self, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; see `Network.run`."""
        await self._host.listen()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self._host.serve)
            nursery.start_soon(self._dial_when_due)
            nursery.start_soon(self._watch_silence)
            nursery.start_soon(self._publish)
            task_status.started()

    # --- called by the host

    def why_refused(self, peer: PeerId) -> str | None:
        """Decide on a proven peer id at the end of the handshake."""
        reason = self.book.why_refused(peer, time.monotonic_ns())
        if reason is not None:
            self._counters["connections_refused"] += 1
        return reason

    def on_connection(self, connection: Connection) -> Link:
        """Return the link of a connection, starting it on the first call."""
        link = self._links.get(id(connection))
        if link is None:
            pair = self._pairs.setdefault(connection.peer, _Pair())
            link = Link(self, connection, self._hello, pair.frames, pair.blobs, self._partials)
            self._links[id(connection)] = link
            pair.links.append(link)
            alive = [other for other in pair.links if other.reason is None]
            if len(alive) > wire_limits.MAX_LINKS_PER_PEER:
                alive[0].fail("replaced by a newer connection")
            assert self._nursery is not None, "connections exist only while running"
            self._nursery.start_soon(self._run_link, link)
        return link

    def on_listening(self, addresses: tuple[str, ...]) -> None:
        """The ports are open."""
        self._listening = addresses

    def on_disconnected(self, connection: Connection, reason: str = "connection closed") -> None:
        """The host noticed the end of a connection, or wants it."""
        link = self._links.get(id(connection))
        if link is not None:
            link.fail(reason)

    def start_stream(self, connection: Connection, channel: Channel, stream: Stream) -> trio.Event:
        """Serve an incoming stream; the event is set when it is done with."""
        link = self.on_connection(connection)
        done = trio.Event()
        assert self._nursery is not None, "streams exist only while running"
        self._nursery.start_soon(self._serve_stream, link, channel, stream, done)
        return done

    def gossip_wait_s(self, peer: PeerId, size_bytes: int, work_us: int) -> float:
        """Charge a connection for gossip, whoever wrote it; return how long to wait before going on."""
        return self.book.gossip_wait_s(peer, size_bytes, work_us, time.monotonic_ns())

    def is_announcement_allowed(self, origin: PeerId, size_bytes: int) -> bool:
        """Decide on a gossiped message of `origin` before it is delivered or forwarded."""
        is_too_large = size_bytes > wire_limits.MAX_ANNOUNCEMENT_BYTES + wire_limits.MAX_ENVELOPE_BYTES
        if is_too_large or not self.book.may_announce(origin, size_bytes, time.monotonic_ns()):
            self._counters["announcements_refused"] += 1
            return False
        return True

    def on_announcement(self, origin: PeerId, data: bytes) -> None:
        """A gossiped message came in."""
        self._put(origin, Announced(origin, data), len(data))

    def count(self, name: str) -> None:
        """Count something the host dropped."""
        self._counters[name] += 1

    # --- called by links

    def on_hello(self, link: Link) -> None:
        """A link is up; the first one of a peer makes the peer reachable."""
        pair = self._pairs[link.peer]
        self.book.on_up(link.peer, link.connection.address)
        if pair.active() is None:
            link.activate()
            self._put_state(link.peer, PeerUp(link.peer, link.connection.address))

    def on_mismatch(self, link: Link, reason: str) -> None:
        """The peer is a member but runs something else."""
        self.book.on_refused(link.peer, time.monotonic_ns())
        self._put_state(link.peer, Refused(link.peer, reason))

    def on_frame(self, link: Link, data: bytes) -> None:
        """A frame came in."""
        if not self.book.may_send_frame(link.peer, len(data), time.monotonic_ns()):
            self._counters["frames_over_quota"] += 1
        else:
            self._put(link.peer, Received(link.peer, data), len(data))

    def on_misbehaviour(self, link: Link, reason: str) -> None:
        """The peer broke the framing: it is faulty or hostile."""
        self._counters["misbehaviour"] += 1
        self.book.ban(link.peer, time.monotonic_ns())

    def wants_blob(self, link: Link, header: bytes, size_bytes: int) -> bool:
        """Ask the node and our own bound."""
        is_wanted = self._inbox.has_room_for_blob(link.peer, size_bytes) and self._accept_blob(
            link.peer, header, size_bytes
        )
        if not is_wanted:
            self._counters["blobs_refused"] += 1
        return is_wanted

    def on_blob(self, link: Link, header: bytes, data: memoryview) -> None:
        """A blob came in."""
        self._inbox.put_blob(link.peer, BlobReceived(link.peer, header, data.toreadonly()), len(data))
        self._arrived.set()

    def on_broken_blob(self, link: Link) -> None:
        """A blob's hash did not fit."""
        self._counters["blobs_broken"] += 1

    # --- inside

    def _put(self, peer: PeerId, event: NetworkEvent, size_bytes: int) -> None:
        if self._inbox.put_data(peer, event, size_bytes):
            self._arrived.set()
        else:
            self._counters["inbox_full"] += 1

    def _put_state(self, peer: PeerId, event: NetworkEvent) -> None:
        self._inbox.put_state(peer, event)
        self._arrived.set()

    def _fail_links(self, peer: PeerId, reason: str) -> None:
        pair = self._pairs.get(peer)
        for link in tuple(pair.links) if pair is not None else ():
            link.fail(reason)

    async def _serve_stream(self, link: Link, channel: Channel, stream: Stream, done: trio.Event) -> None:
        try:
            await link.serve(channel, stream)
        finally:
            done.set()

    async def _run_link(self, link: Link) -> None:
        reason = "closed"
        try:
            reason = await link.run()
        finally:
            self._end_link(link, reason)

    def _end_link(self, link: Link, reason: str) -> None:
        del self._links[id(link.connection)]
        pair = self._pairs[link.peer]
        pair.links.remove(link)
        if link.is_active:
            heir = next((other for other in pair.links if other.is_up and other.reason is None), None)
            if heir is not None:
                heir.activate()
            else:
                self._counters["frames_lost_on_disconnect"] += pair.frames.clear()
                self._counters["blobs_lost_on_disconnect"] += pair.blobs.clear()
                self.book.on_down(link.peer, time.monotonic_ns())
                self._put_state(link.peer, PeerDown(link.peer, reason))
        if not pair.links:
            del self._pairs[link.peer]
        self._plans_changed.set()

    # --- tasks

    async def _dial_when_due(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                self._plans_changed = trio.Event()
                now_ns = time.monotonic_ns()
                for peer in self.book.due(now_ns):
                    nursery.start_soon(self._dial, peer)
                next_ns = self.book.next_due_ns()
                wait_s = float("inf") if next_ns is None else max(0.0, (next_ns - now_ns) / peers.SECOND_NS)
                with trio.move_on_after(wait_s):
                    await self._plans_changed.wait()

    async def _dial(self, peer: PeerId) -> None:
        for address in self.book.addresses(peer):
            if peer in self._pairs:
                break
            with trio.move_on_after(wire_limits.DIAL_TIMEOUT_S):
                await self._host.dial(peer, address)
        if self.book.on_dial_ended(peer, time.monotonic_ns()):
            self._put_state(peer, PeerGone(peer))
        self._plans_changed.set()

    async def _watch_silence(self) -> None:
        last = trio.current_time()
        while True:
            await trio.sleep(wire_limits.WATCH_INTERVAL_S)
            now = trio.current_time()
            if now - last > 3 * wire_limits.WATCH_INTERVAL_S:
                # This process itself stood still; what the peers sent meanwhile is in the sockets, unread.
                for link in self._links.values():
                    link.heard_at = now
            last = now
            self._partials.expire(now)
            for link in tuple(self._links.values()):
                if now - link.heard_at > wire_limits.SILENCE_LIMIT_S:
                    link.fail(f"silent for {wire_limits.SILENCE_LIMIT_S:.0f} s")

    async def _publish(self) -> None:
        while True:
            self._announced = trio.Event()
            while self._announcements:
                await self._host.publish(self._announcements.popleft())
            await self._announced.wait()
