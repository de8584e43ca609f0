"""Every fault of py-libp2p 0.8.1 that was reproduced, and that it does not reach this node. Named after the faults."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from libp2p.network.stream.exceptions import StreamError
from libp2p.pubsub.pb import rpc_pb2
from libp2p.stream_muxer.exceptions import MuxedStreamError

from fednode.errors import PortInUse
from fednode.p2p import peers, wire_limits
from fednode.p2p.framing import Hello
from fednode.p2p.mesh import Mesh
from fednode.p2p.network import Announced, BlobReceived, PeerDown, PeerUp, Received

pytestmark = pytest.mark.slow

CONSENSUS, BULK, GOSSIP = "/fednode/consensus/1", "/fednode/bulk/2", "/meshsub/1.1.0"
TOPIC = f"/fednode/{bytes(range(32)).hex()}/announcements"
HELLO = Hello(1, bytes(range(32))).to_bytes()


@pytest.fixture(autouse=True)
def no_handshake_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "HANDSHAKES_BURST", 1e6)


@pytest.fixture
def attacked(loopback, rogue):
    """Two honest nodes and a rogue that is a member of both; afterwards the honest ones must still work."""

    @asynccontextmanager
    async def attack() -> AsyncIterator[tuple[Mesh, object]]:
        a, b = loopback.create(), loopback.create()
        async with loopback.running(a, b, introduce=False), rogue() as mallory:
            members = {a.me: a.listening, b.me: b.listening, mallory.peer: ()}
            a.set_members(members)
            b.set_members(members)
            await loopback.meshed(a, b)
            await mallory.connect(a)
            yield a, mallory
            for left, right in ((a, b), (b, a)):
                assert left.send(right.me, b"still here")
                assert (await loopback.next(right, Received)).data == b"still here"

    return attack


async def ended(stream) -> None:
    """Wait until the other side has ended a stream."""
    with trio.fail_after(10):
        try:
            while await stream.read(1000):
                pass
        except Exception:  # noqa: BLE001  reset, closed, connection gone: all of them are the end
            return


# 1. An exception in a stream handler ends the host.


@pytest.mark.parametrize(
    "junk",
    [
        b"\xff\xfe\xfd",
        b"\x00",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x05\x80abc\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_1_junk_instead_of_a_protocol_name_does_not_end_the_host(attacked, junk: bytes) -> None:
    async with attacked() as (_, mallory):
        stream = await mallory.open_raw(_)
        await stream.write(junk)
        await stream.close_write()
        await ended(stream)


@pytest.mark.parametrize("protocol", [CONSENSUS, BULK])
@pytest.mark.parametrize(
    "junk",
    [
        struct.pack(">I", 2**32 - 1),
        struct.pack(">I", 40) + bytes(40),
        HELLO + struct.pack(">I", wire_limits.MAX_FRAME_BYTES + 1) + bytes(8),
    ],
    ids=["huge", "no mark", "huge after hello"],
)
async def test_1_a_broken_frame_costs_its_sender_the_connection(attacked, protocol: str, junk: bytes) -> None:
    async with attacked() as (node, mallory):
        if protocol == BULK:  # blobs are read from a peer that is up
            await (await mallory.open(node, CONSENSUS)).write(HELLO)
        stream = await mallory.open(node, protocol)
        await stream.write(junk)
        await ended(stream)
        assert node.counters()["misbehaviour"] == 1
        assert mallory.peer not in node.connected()


async def test_1_a_stream_that_is_reset_in_the_middle_of_a_frame_does_not_end_the_host(attacked) -> None:
    async with attacked() as (node, mallory):
        stream = await mallory.open(node, CONSENSUS)
        await stream.write(HELLO + struct.pack(">I", 100) + b"half")
        await stream.reset()


# 2. An undecodable pubsub message, a junk key in a message, or a raising validator kills the process.


def with_junk_key() -> bytes:
    message = rpc_pb2.Message(data=b"x", topicIDs=[TOPIC], from_id=b"\x00", seqno=b"1")
    message.key = b"\xde\xad"
    message.signature = b"\xbe\xef"
    return rpc_pb2.RPC(publish=[message]).SerializeToString()


def with_junk_ids() -> bytes:
    rpc = rpc_pb2.RPC()
    rpc.control.iwant.add(messageIDs=[b"not hex"] * 3)
    rpc.control.ihave.add(topicID=TOPIC, messageIDs=[b"zz"])
    rpc.control.graft.add(topicID=TOPIC)
    rpc.control.prune.add(topicID=TOPIC, backoff=2**63)
    return rpc.SerializeToString()


def with_too_many_entries() -> bytes:
    rpc = rpc_pb2.RPC()
    for _ in range(wire_limits.MAX_GOSSIP_ENTRIES + 1):
        rpc.control.graft.add(topicID=TOPIC)
    return rpc.SerializeToString()


def with_too_many_ids() -> bytes:
    rpc = rpc_pb2.RPC()
    rpc.control.ihave.add(topicID=TOPIC, messageIDs=[b"aa"] * 200_000)
    return rpc.SerializeToString()


def about_another_topic(kind: str) -> bytes:
    rpc = rpc_pb2.RPC()
    if kind == "message":
        rpc.publish.add(data=b"x", topicIDs=[TOPIC, "another"], from_id=b"\x00", seqno=b"1")
    else:
        getattr(rpc.control, kind).add(topicID="another")
    return rpc.SerializeToString()


@pytest.mark.parametrize(
    ("rpc", "is_dropped"),
    [
        (b"\xff" * 50, True),
        (with_junk_key(), True),
        (with_junk_ids(), False),
        (about_another_topic("message"), True),
        (about_another_topic("graft"), True),
        (about_another_topic("prune"), True),
        (about_another_topic("ihave"), True),
        (with_too_many_entries(), True),
        (with_too_many_ids(), True),
        (rpc_pb2.RPC(senderRecord=b"junk").SerializeToString(), False),
    ],
    ids=[
        "undecodable",
        "junk key",
        "junk ids",
        "message",
        "graft",
        "prune",
        "ihave",
        "too many entries",
        "too many ids",
        "junk record",
    ],
)
async def test_2_junk_in_gossip_does_not_end_the_process(attacked, rpc: bytes, is_dropped: bool) -> None:
    async with attacked() as (node, mallory):
        stream = await mallory.open(node, GOSSIP)
        size, prefix = len(rpc), b""
        while size > 0x7F:
            prefix += bytes([size & 0x7F | 0x80])
            size >>= 7
        await stream.write(prefix + bytes([size]) + rpc)
        if is_dropped:
            await ended(stream)
        else:
            await trio.testing.wait_all_tasks_blocked(0.05)
        assert (node.counters().get("dropped_peers", 0) == 1) == is_dropped


async def test_2_a_gossip_frame_without_an_end_of_its_length_is_refused(attacked) -> None:
    async with attacked() as (node, mallory):
        stream = await mallory.open(node, GOSSIP)
        await stream.write(b"\xff" * 9)
        await ended(stream)


async def test_2_a_raising_validator_does_not_end_the_process(loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    async with loopback.met() as (a, b):
        calls = []

        def fail(origin: object, size_bytes: int) -> bool:
            calls.append(origin)
            raise ZeroDivisionError

        monkeypatch.setattr(b, "is_announcement_allowed", fail)
        while not calls:
            a.announce(os.urandom(8))
            await trio.sleep(0.05)
        monkeypatch.undo()
        await loopback.next(b, PeerDown)


# 3. A reset pubsub stream leaves a one-way black hole while connected.


@pytest.mark.parametrize("resetting", ["author", "reader"])
def test_3_a_reset_gossip_stream_ends_the_connection_and_gossip_comes_back(loopback, resetting: str) -> None:
    async def main() -> None:
        author, reader = loopback.create(), loopback.create()
        async with loopback.met(author, reader):
            await announced(loopback, author, reader)
            node = author if resetting == "author" else reader
            (stream,) = node._host._pubsub.peers.values()
            await stream.reset()
            await announced_after_reconnection(loopback, author, reader)

    async def announced_after_reconnection(loopback, author: Mesh, reader: Mesh) -> None:
        await loopback.next(reader, PeerDown)
        await loopback.next(reader, PeerUp)
        await loopback.until(lambda: reader.me in author.connected())
        await announced(loopback, author, reader)
        await announced(loopback, reader, author)

    trio.run(main)


async def announced(loopback, author: Mesh, reader: Mesh) -> None:
    """Wait until gossip gets from one to the other."""
    with trio.fail_after(loopback.patience_s):
        while True:
            assert author.announce(os.urandom(8))
            with trio.move_on_after(0.1):
                assert (await loopback.next(reader, Announced)).peer == author.me
                return


# 4. Inbound slots are never returned; all inbound connections are refused after 250.


async def test_4_nothing_is_left_of_a_closed_inbound_connection(loopback, rogue) -> None:
    node = loopback.create()
    async with loopback.running(node, introduce=False):

        async def visit() -> None:
            async with rogue(b"r" * 32) as guest:
                node.set_members({guest.peer: ()})
                await guest.connect(node)
                await loopback.until(lambda: bool(node._links))
            await loopback.until(lambda: not node._links and not node._host._connections)

        await visit()
        await trio.sleep(0.3)
        tasks = trio.lowlevel.current_statistics().tasks_living
        for _ in range(10):
            await visit()
        await loopback.until(lambda: trio.lowlevel.current_statistics().tasks_living <= tasks)
        assert node._host.swarm._inbound_limiter.borrowed_tokens == 0


async def test_4_sockets_that_only_hold_on_do_not_lock_members_out(loopback, rogue) -> None:
    node = loopback.create()
    async with loopback.running(node, introduce=False), rogue() as guest:
        node.set_members({guest.peer: ()})
        port = int(node.listening[0].rsplit("/", 1)[1])
        holders = [
            await trio.open_tcp_stream("127.0.0.1", port) for _ in range(3 * wire_limits.MAX_PENDING_HANDSHAKES)
        ]
        with trio.fail_after(wire_limits.HANDSHAKE_TIMEOUT_S):
            await guest.connect(node)
        for holder in holders:
            await holder.aclose()


# 5. A writer without window for 5 s is reset: both sides writing first, or a slow reader.


async def test_5_a_node_that_takes_nothing_does_not_stop_its_peers(loopback) -> None:
    data = os.urandom(12 * 1024 * 1024)
    async with loopback.met() as (a, b):
        for node, other in ((a, b), (b, a)):
            assert node.send_blob(other.me, b"", data)
        sent = 0
        while sent < 2 * wire_limits.MAX_INBOX_EVENTS:
            sent += a.send(b.me, b"flood")
            if not sent % 100:
                await trio.lowlevel.checkpoint()
        await loopback.until(lambda: b.counters().get("inbox_full", 0) > 0)
        await loopback.until(lambda: not a._pairs[b.me].frames and not a._pairs[b.me].blobs)
        for node in (a, b):
            assert (await loopback.next(node, BlobReceived)).data == data


async def test_5_what_nobody_reads_ends_the_stream_or_the_connection(attacked, loopback) -> None:
    """Whichever bound is met first: the purse of a stream without a protocol, or its window."""
    async with attacked() as (node, mallory):
        stream = await mallory.open_raw(node)
        await stream.write(b"\x13/multistream/1.0.0\n")
        stream.muxed_stream.send_window = 1 << 40  # the muxer under attack does not check it
        with pytest.raises(StreamError):
            while True:
                await stream.write(b"\x03ls\n" * 15_000)
        counts = node.counters
        await loopback.until(lambda: counts().get("muxer_faults", 0) + counts().get("streams_failed", 0) >= 1)


async def test_5_more_streams_than_anybody_needs_end_the_connection(attacked, loopback) -> None:
    async with attacked() as (node, mallory):
        with pytest.raises((MuxedStreamError, KeyError)):
            while True:
                await mallory.open_raw(node)
        await loopback.until(lambda: node.counters().get("muxer_faults", 0) == 1)


# 6. A half-open peer stays listed.


class Wire:
    """A TCP relay that can go silent without closing anything, like a pulled cable."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.connected = trio.Event()
        self.connected.set()

    async def run(self, task_status=trio.TASK_STATUS_IGNORED) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._relay, listeners)

    async def _relay(self, client: trio.SocketStream) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", self.target_port) as server, trio.open_nursery() as nursery:
            nursery.start_soon(self._copy, client, server)
            nursery.start_soon(self._copy, server, client)

    async def _copy(self, source: trio.SocketStream, target: trio.SocketStream) -> None:
        try:
            while data := await source.receive_some():
                await self.connected.wait()
                await target.send_all(data)
            await target.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            return


async def test_6_a_silent_peer_is_noticed_and_a_healed_partition_is_dialled(loopback, monkeypatch) -> None:
    monkeypatch.setattr(wire_limits, "SILENCE_LIMIT_S", 1.0)
    monkeypatch.setattr(wire_limits, "KEEPALIVE_S", 0.3)
    monkeypatch.setattr(wire_limits, "WATCH_INTERVAL_S", 0.1)
    monkeypatch.setattr(wire_limits, "DIAL_TIMEOUT_S", 1.0)
    monkeypatch.setattr(wire_limits, "HANDSHAKE_TIMEOUT_S", 1.0)
    a, b = loopback.create(), loopback.create()
    async with loopback.running(a, b, introduce=False) as nursery:
        wire = Wire(int(b.listening[0].rsplit("/", 1)[1]))
        await nursery.start(wire.run)
        a.set_members({b.me: (f"/ip4/127.0.0.1/tcp/{wire.port}",)})
        b.set_members({a.me: ()})
        await loopback.meshed(a, b)
        for node, other in ((a, b), (b, a)):
            assert node.send_blob(other.me, b"", b"all streams are open")
            await loopback.next(other, BlobReceived)
        wire.connected = trio.Event()
        for node, other in ((a, b), (b, a)):
            down = await loopback.next(node, PeerDown)
            assert down == PeerDown(other.me, "silent for 1 s")
        wire.connected.set()
        await loopback.meshed(a, b)
        nursery.cancel_scope.cancel()


# 7. Automatic redial took 67 s.


async def test_7_a_lost_connection_is_dialled_again_at_once(loopback) -> None:
    async with loopback.met() as (a, b):
        (link,) = a._links.values()
        started = trio.current_time()
        await link.connection.abort()
        for node in (a, b):
            await loopback.next(node, PeerDown)
            await loopback.next(node, PeerUp)
        assert trio.current_time() - started < 2


# 8. After a fast restart message sequence numbers repeat and are dropped.


async def test_8_announcements_after_a_fast_restart_are_not_taken_for_old_ones(loopback) -> None:
    seed = os.urandom(32)
    b = loopback.create()
    async with loopback.running(b, introduce=False) as nursery:
        for _ in range(2):
            a = loopback.create(seed=seed)
            with trio.CancelScope() as life:
                async with trio.open_nursery() as inner:
                    await inner.start(a.run)
                    loopback.introduce(a, b)
                    await loopback.next(b, PeerUp)
                    await announced(loopback, a, b)
                    life.cancel()
            await loopback.next(b, PeerDown)
        nursery.cancel_scope.cancel()


# 9. No gating by peer id, only by IP address.


async def test_9_a_stranger_gets_no_stream(loopback, rogue) -> None:
    node, friend = loopback.create(), loopback.create()
    async with loopback.running(node, friend), rogue() as stranger:
        await loopback.meshed(node, friend)
        with pytest.raises(Exception, match=r".*"):
            await stranger.connect(node)
            await stranger.open(node, CONSENSUS)
        assert node.counters()["connections_refused"] >= 1
        assert len(node._links) == 1


async def test_9_a_stranger_at_a_members_address_is_not_spoken_to(loopback) -> None:
    node, member, stranger = loopback.create(), loopback.create(), loopback.create()
    async with loopback.running(node, stranger, introduce=False):
        node.set_members({member.me: stranger.listening})
        stranger.set_members({node.me: ()})
        await loopback.until(lambda: node.counters().get("dials_failed", 0) >= 2)
        assert not node._links
        assert not stranger._links


async def test_9_plaintext_is_never_offered(loopback) -> None:
    node = loopback.create()
    async with loopback.running(node, introduce=False):
        for protocol in ("/plaintext/2.0.0", "/secio/1.0.0", "/tls/1.0.0"):
            async with await trio.open_tcp_stream("127.0.0.1", int(node.listening[0].rsplit("/", 1)[1])) as wire:
                for text in ("/multistream/1.0.0\n", f"{protocol}\n"):
                    await wire.send_all(bytes([len(text)]) + text.encode())
                answer = b""
                with trio.fail_after(10):
                    while len(answer) < 24:
                        answer += await wire.receive_some()
                assert answer == b"\x13/multistream/1.0.0\n" + b"\x03na\n"


# 10. Two daemons bind one port silently, and the listener outlives the host.


async def test_10_two_nodes_cannot_share_a_port_and_a_stopped_one_gives_it_back(loopback) -> None:
    first = loopback.create()
    async with loopback.running(first, introduce=False):
        with pytest.raises(PortInUse):
            await loopback.create(listen=first.listening).run()
        with socket.socket() as sharing:
            sharing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            with pytest.raises(OSError, match="in use"):
                sharing.bind(("127.0.0.1", int(first.listening[0].rsplit("/", 1)[1])))
    async with loopback.running(loopback.create(listen=first.listening), introduce=False):
        pass


# 11. A handler that returns without closing leaks the stream; the opener blocks at stream 256.


@pytest.mark.parametrize("protocol", ["/unknown/1", GOSSIP])
async def test_11_no_stream_is_left_behind(attacked, loopback, protocol: str) -> None:
    async with attacked() as (node, mallory):
        (connection,) = [c for c in node._host._connections.values() if c.peer == mallory.peer]
        for _ in range(20):
            try:
                stream = await mallory.open(node, protocol)
            except Exception:  # noqa: BLE001  the stock host raises one of many when the protocol is unknown
                continue
            await stream.close()
            if protocol == GOSSIP:
                break  # its end is the end of the connection
        await loopback.until(lambda: len(connection._muxer.streams) <= 3)


# 12. Two connections per pair after a simultaneous dial.


async def test_12_two_connections_are_one_peer_and_either_may_go(loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "FIRST_WAIT_S", 0.0)
    async with loopback.met() as (a, b):
        await loopback.until(lambda: len(up_links(a)) == 2 and len(up_links(b)) == 2)
        (active,) = [link for link in up_links(a) if link.is_active]
        await active.connection.abort()
        await loopback.until(lambda: len(up_links(a)) == 1 and up_links(a)[0].is_active)
        assert b.me in a.connected()
        assert a.send(b.me, b"over the other one")
        events = [await b.receive()]
        while not isinstance(events[-1], Received):
            events.append(await b.receive())
        assert [type(event) for event in events if not isinstance(event, PeerUp)] == [Received]
        await announced(loopback, a, b)
        await announced(loopback, b, a)


def up_links(node: Mesh) -> list:
    return [link for link in node._links.values() if link.is_up and link.reason is None]


async def test_12_a_third_connection_replaces_the_oldest(attacked, loopback) -> None:
    async with attacked() as (node, mallory):
        for _ in range(4):
            await mallory.connect_again(node)
        await loopback.until(lambda: links_of(node, mallory) == wire_limits.MAX_LINKS_PER_PEER)


def links_of(node: Mesh, guest) -> int:
    return sum(link.peer == guest.peer for link in node._links.values())
