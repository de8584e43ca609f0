"""What every `Network` promises: the same tests for the real one over sockets and for the one in memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

import pytest
import trio
import trio.testing

from fednode.crypto import Secret
from fednode.ids import PeerId
from fednode.p2p import wire_limits
from fednode.p2p.framing import Hello
from fednode.p2p.libp2p.network import NetworkSettings, create_network
from fednode.p2p.network import (
    AcceptBlob,
    Announced,
    BlobReceived,
    Network,
    NetworkEvent,
    PeerDown,
    PeerUp,
    Received,
    Refused,
)
from fednode.p2p.queues import Inbox

CHAIN_ID = bytes(range(32))
HELLO = Hello(1, CHAIN_ID)
PATIENCE_S = 20.0
Event = TypeVar("Event", bound=NetworkEvent)


class MemoryNetwork:
    """A `Network` without sockets: everything arrives at once, unless it is not allowed to."""

    def __init__(self, hub: dict[PeerId, MemoryNetwork], me: PeerId, hello: Hello, accept_blob: AcceptBlob) -> None:
        self.me = me
        self._hub = hub
        self._hello = hello
        self._accept_blob = accept_blob
        self._members: frozenset[PeerId] = frozenset()
        self._dropped: set[PeerId] = set()
        self._up: set[PeerId] = set()
        self._refused: set[PeerId] = set()
        self._inbox = Inbox()
        self._arrived = trio.Event()
        self._counters: Counter[str] = Counter()

    def send(self, peer: PeerId, data: bytes) -> bool:
        if peer not in self._up or not 0 < len(data) <= wire_limits.MAX_FRAME_BYTES:
            self._counters["send_refused"] += 1
            return False
        self._hub[peer]._put(self.me, Received(self.me, bytes(data)), len(data))
        return True

    def send_everywhere(self, peer: PeerId, data: bytes) -> bool:
        return self.send(peer, data)

    def send_blob(self, peer: PeerId, header: bytes, data: bytes | memoryview) -> bool:
        size_bytes = memoryview(data).nbytes
        if (
            peer not in self._up
            or size_bytes > wire_limits.MAX_BLOB_BYTES
            or len(header) > wire_limits.MAX_BLOB_HEADER_BYTES
        ):
            self._counters["send_refused"] += 1
            return False
        other = self._hub[peer]
        if not other._inbox.has_room_for_blob(self.me, size_bytes) or not other._accept_blob(
            self.me, header, size_bytes
        ):
            other._counters["blobs_refused"] += 1
            return True
        copy = memoryview(bytes(memoryview(data).cast("B")))
        other._inbox.put_blob(self.me, BlobReceived(self.me, bytes(header), copy), size_bytes)
        other._arrived.set()
        return True

    def announce(self, data: bytes) -> bool:
        if len(data) > wire_limits.MAX_ANNOUNCEMENT_BYTES:
            self._counters["send_refused"] += 1
            return False
        for peer in self._up:
            self._hub[peer]._put(self.me, Announced(self.me, bytes(data)), len(data))
        return True

    def connected(self) -> frozenset[PeerId]:
        return frozenset(self._up)

    def set_members(self, members: Mapping[PeerId, tuple[str, ...]]) -> None:
        self._members = frozenset(members) - {self.me}
        for peer in tuple(self._up - self._members):
            self._disconnect(peer, "no longer a member")
        for peer in self._members:
            self._connect(peer)

    def drop(self, peer: PeerId, reason: str) -> None:
        self._dropped.add(peer)
        self._disconnect(peer, reason)

    def counters(self) -> Mapping[str, int]:
        return dict(self._counters)

    async def receive(self) -> NetworkEvent:
        await trio.lowlevel.checkpoint()
        while (event := self._inbox.take()) is None:
            self._arrived = trio.Event()
            await self._arrived.wait()
        return event

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._hub[self.me] = self
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            del self._hub[self.me]
            for peer in tuple(self._up):
                self._disconnect(peer, "connection lost")

    def _put(self, peer: PeerId, event: NetworkEvent, size_bytes: int) -> None:
        if self._inbox.put_data(peer, event, size_bytes):
            self._arrived.set()
        else:
            self._counters["inbox_full"] += 1

    def _put_state(self, peer: PeerId, event: NetworkEvent) -> None:
        self._inbox.put_state(peer, event)
        self._arrived.set()

    def _admits(self, peer: PeerId) -> bool:
        return peer in self._members and peer not in self._dropped and peer not in self._up | self._refused

    def _connect(self, peer: PeerId) -> None:
        other = self._hub.get(peer)
        if other is None or self.me not in self._hub or not (self._admits(peer) and other._admits(self.me)):
            return
        for here, there in ((self, other), (other, self)):
            reason = here._hello.mismatch(there._hello)
            if reason is not None:
                here._refused.add(there.me)
                here._put_state(there.me, Refused(there.me, reason))
            else:
                here._up.add(there.me)
                here._put_state(there.me, PeerUp(there.me, "memory"))

    def _disconnect(self, peer: PeerId, reason: str) -> None:
        if peer in self._up:
            self._up.discard(peer)
            self._put_state(peer, PeerDown(peer, reason))
            if peer in self._hub:
                self._hub[peer]._disconnect(self.me, "connection lost")


class World(Protocol):
    """Makes nodes of one implementation and introduces them to each other."""

    def create(self, *, seed: bytes | None = None, hello: Hello = ..., accept_blob: AcceptBlob = ...) -> Network: ...

    def addresses(self, node: Network) -> tuple[str, ...]: ...


class MemoryWorld:
    def __init__(self) -> None:
        self.hub: dict[PeerId, MemoryNetwork] = {}

    def create(
        self,
        *,
        seed: bytes | None = None,
        hello: Hello = HELLO,
        accept_blob: AcceptBlob = lambda peer, header, size_bytes: True,
    ) -> Network:
        return MemoryNetwork(self.hub, PeerId((seed or os.urandom(16)).hex()), hello, accept_blob)

    def addresses(self, node: Network) -> tuple[str, ...]:
        return ("memory",)


class SocketWorld:
    def create(
        self,
        *,
        seed: bytes | None = None,
        hello: Hello = HELLO,
        accept_blob: AcceptBlob = lambda peer, header, size_bytes: True,
    ) -> Network:
        settings = NetworkSettings(
            Secret(seed or os.urandom(32)), ("/ip4/127.0.0.1/tcp/0",), hello.protocol_version, hello.chain_id
        )
        return create_network(settings, accept_blob)

    def addresses(self, node: Network) -> tuple[str, ...]:
        return node.listening


@pytest.fixture(params=[MemoryWorld, SocketWorld], ids=["memory", "sockets"])
def world(request: pytest.FixtureRequest) -> World:
    return request.param()


def introduce(world: World, *nodes: Network) -> None:
    members = {node.me: world.addresses(node) for node in nodes}
    for node in nodes:
        node.set_members(members)


@asynccontextmanager
async def running(world: World, *nodes: Network) -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        for node in nodes:
            await nursery.start(node.run)
        introduce(world, *nodes)
        yield nursery
        nursery.cancel_scope.cancel()


async def next_of(node: Network, *kinds: type[Event]) -> Event:
    with trio.fail_after(PATIENCE_S):
        while True:
            event = await node.receive()
            if isinstance(event, kinds):
                return event


async def meshed(*nodes: Network) -> None:
    for node in nodes:
        missing = {other.me for other in nodes} - {node.me}
        while missing:
            event = await next_of(node, PeerUp)
            missing.discard(event.peer)


@asynccontextmanager
async def met(world: World, *given: Network) -> AsyncIterator[tuple[Network, ...]]:
    """Run networks, two new ones unless some are given, that have seen each other come up."""
    nodes = given or (world.create(), world.create())
    async with running(world, *nodes):
        await meshed(*nodes)
        yield nodes


async def test_members_come_up_once_on_each_side(world: World) -> None:
    nodes = [world.create() for _ in range(3)]
    async with met(world, *nodes):
        for node in nodes:
            assert node.connected() == {other.me for other in nodes} - {node.me}


async def test_frames_arrive_in_order_from_their_sender(world: World) -> None:
    async with met(world) as (a, b):
        frames = [b"%d" % number for number in range(500)] + [os.urandom(wire_limits.MAX_FRAME_BYTES)]
        assert all(a.send(b.me, frame) for frame in frames)
        assert [await next_of(b, Received) for _ in frames] == [Received(a.me, frame) for frame in frames]


async def test_a_peer_is_up_before_anything_of_it_is_received(world: World) -> None:
    nodes = [world.create() for _ in range(4)]
    events: dict[PeerId, list[NetworkEvent]] = {node.me: [] for node in nodes}

    async def greet_and_listen(node: Network) -> None:
        while sum(isinstance(event, Received) for event in events[node.me]) < len(nodes) - 1:
            events[node.me].append(await next_of(node, PeerUp, Received))
            if isinstance(event := events[node.me][-1], PeerUp):
                assert node.send(event.peer, b"hello")

    async with running(world, *nodes), trio.open_nursery() as listeners:
        for node in nodes:
            listeners.start_soon(greet_and_listen, node)
    for seen in events.values():
        for event in seen:
            if isinstance(event, Received):
                ups = [other.peer for other in seen[: seen.index(event)] if isinstance(other, PeerUp)]
                assert event.peer in ups


async def test_what_cannot_be_sent_is_refused_and_counted(world: World) -> None:
    a, b = world.create(), world.create()
    assert not a.send(b.me, b"before it runs")
    async with met(world, a, b):
        assert not a.send(PeerId("nobody"), b"x")
        assert not a.send(a.me, b"x")
        assert not a.send(b.me, b"")
        assert not a.send(b.me, bytes(wire_limits.MAX_FRAME_BYTES + 1))
        assert not a.send_blob(PeerId("nobody"), b"", b"x")
        assert not a.send_blob(b.me, bytes(wire_limits.MAX_BLOB_HEADER_BYTES + 1), b"x")
        assert not a.announce(bytes(wire_limits.MAX_ANNOUNCEMENT_BYTES + 1))
        assert a.counters()["send_refused"] == 8


async def test_blobs_arrive_whole_and_read_only(world: World) -> None:
    data = os.urandom(5_000_000)
    async with met(world) as (a, b):
        assert a.send_blob(b.me, b"chunk 7", memoryview(data).cast("I"))
        event = await next_of(b, BlobReceived)
        assert (event.peer, event.header, bytes(event.data)) == (a.me, b"chunk 7", data)
        assert event.data.readonly
        assert event.data.format == "B"


async def test_the_receiver_decides_on_a_blob_by_header_and_size(world: World) -> None:
    asked: list[tuple[PeerId, bytes, int]] = []

    def only_small(peer: PeerId, header: bytes, size_bytes: int) -> bool:
        asked.append((peer, header, size_bytes))
        return size_bytes < 100

    a, b = world.create(), world.create(accept_blob=only_small)
    async with met(world, a, b):
        assert a.send_blob(b.me, b"large", bytes(3_000_000))
        assert a.send_blob(b.me, b"small", b"x")
        assert (await next_of(b, BlobReceived)).header == b"small"
        assert asked == [(a.me, b"large", 3_000_000), (a.me, b"small", 1)]
        assert b.counters()["blobs_refused"] == 1


async def test_an_announcement_names_its_author(world: World) -> None:
    nodes = [world.create() for _ in range(3)]
    async with met(world, *nodes):
        author, *readers = nodes
        for reader in readers:
            event = None
            while event is None:  # lossy by contract: said again until heard
                assert author.announce(b"block 5")
                with trio.move_on_after(0.2):
                    event = await next_of(reader, Announced)
            assert event == Announced(author.me, b"block 5")


async def test_a_removed_member_goes_down_on_both_sides_and_may_come_back(world: World) -> None:
    async with met(world) as (a, b):
        a.set_members({})
        assert await next_of(a, PeerDown) == PeerDown(b.me, "no longer a member")
        assert (await next_of(b, PeerDown)).peer == a.me
        assert not a.send(b.me, b"x")
        introduce(world, a, b)
        await meshed(a, b)


async def test_a_dropped_peer_goes_down_with_the_reason_and_stays_away(world: World) -> None:
    async with met(world) as (a, b):
        a.drop(b.me, "two votes for one height")
        assert await next_of(a, PeerDown) == PeerDown(b.me, "two votes for one height")
        await next_of(b, PeerDown)
        introduce(world, a, b)
        with trio.move_on_after(0.5):
            await next_of(a, PeerUp)
            pytest.fail("a dropped peer came back at once")


async def test_a_stopped_peer_goes_down_and_comes_up_again_after_its_restart(world: World) -> None:
    seed = os.urandom(32)
    a = world.create()
    async with running(world, a) as nursery:
        for _ in range(2):
            b = world.create(seed=seed)
            async with running(world, b):
                introduce(world, a, b)
                await meshed(a, b)
                assert a.send(b.me, b"hello")
                await next_of(b, Received)
            assert (await next_of(a, PeerDown)).peer == b.me
            assert a.connected() == frozenset()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("other", [Hello(2, CHAIN_ID), Hello(1, bytes(32))], ids=["version", "chain"])
async def test_another_version_or_chain_is_refused_on_both_sides(world: World, other: Hello) -> None:
    a, b = world.create(), world.create(hello=other)
    async with running(world, a, b):
        for node, peer in ((a, b), (b, a)):
            event = await next_of(node, Refused, PeerUp)
            assert isinstance(event, Refused)
            assert event.peer == peer.me
            assert not node.send(peer.me, b"x")


async def test_a_flood_of_one_peer_leaves_the_others_their_place(world: World) -> None:
    flooding, quiet, node = (world.create() for _ in range(3))
    async with met(world, flooding, quiet, node):
        with trio.fail_after(PATIENCE_S):
            while not node.counters().get("inbox_full"):
                flooding.send(node.me, bytes(2_000))
                await trio.lowlevel.checkpoint()
        assert quiet.send(node.me, b"a vote")
        with trio.fail_after(PATIENCE_S):
            while not node.counters().get("inbox_full", 0) > 1:
                flooding.send(node.me, bytes(2_000))
                await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked(0.05)
        first = [await next_of(node, Received) for _ in range(2)]
        assert quiet.me in {event.peer for event in first}
