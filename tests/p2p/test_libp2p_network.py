"""The real network: sockets, Noise, yamux and gossip, several nodes in one process on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from itertools import count

import pytest
import trio

from fednode.errors import ConfigError, PortInUse, Unavailable
from fednode.p2p import wire_limits
from fednode.p2p.mesh import Mesh
from fednode.p2p.network import Announced, BlobReceived, PeerDown, PeerUp, Received, Refused


def test_the_seam_imports_no_network_library() -> None:
    code = "import sys, fednode.p2p.network; print([m for m in ('libp2p', 'trio', 'multiaddr') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_transports_that_are_not_used_are_not_loaded_and_stay_available_to_others() -> None:
    code = """
import sys
import fednode.p2p.libp2p.network
from fednode.p2p.libp2p.light import UNUSED_PACKAGES, UNUSED_PARTS
print([name for name in sys.modules if name in UNUSED_PARTS])
print(sorted(UNUSED_PACKAGES & {name.partition(".")[0] for name in sys.modules}))
import httpx
print(httpx.Client)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["[]", "[]", "<class 'httpx.Client'>"]
    assert result.stderr == ""


async def test_four_nodes_form_a_full_mesh_and_talk(loopback) -> None:
    nodes = [loopback.create() for _ in range(4)]
    async with loopback.met(*nodes):
        everybody = {node.me for node in nodes}
        for node in nodes:
            assert node.connected() == everybody - {node.me}
            for peer in node.connected():
                assert node.send(peer, b"from " + node.me.encode())
        for node in nodes:
            events = [await loopback.next(node, Received) for _ in range(3)]
            assert {(event.peer, event.data) for event in events} == {
                (peer, b"from " + peer.encode()) for peer in everybody - {node.me}
            }


async def test_frames_of_all_sizes_arrive_whole_and_in_order(loopback) -> None:
    sizes = [1, 2, 65_503, 65_504, 65_507, 131_072, 3, wire_limits.MAX_FRAME_BYTES, *range(1, 200)]
    frames = [os.urandom(size) for size in sizes]
    async with loopback.met() as (a, b):
        assert all(a.send(b.me, frame) for frame in frames)
        assert [(await loopback.next(b, Received)).data for _ in frames] == frames
        assert not a.send(b.me, bytes(wire_limits.MAX_FRAME_BYTES + 1))
        assert not a.send(b.me, b"")


async def test_blobs_arrive_whole_both_ways_at_once(loopback) -> None:
    """Both sides write first, more than any window holds: the readers keep draining."""
    data = os.urandom(24 * 1024 * 1024)
    async with loopback.met() as (a, b):
        for node, other in ((a, b), (b, a)):
            assert node.send_blob(other.me, b"whole", memoryview(data))
            assert node.send_blob(other.me, b"empty", b"")
            assert node.send_blob(other.me, b"", memoryview(data).cast("I")[100:200])
        for node, other in ((a, b), (b, a)):
            got = [await loopback.next(node, BlobReceived) for _ in range(3)]
            assert [(event.peer, event.header) for event in got] == [
                (other.me, b"whole"),
                (other.me, b"empty"),
                (other.me, b""),
            ]
            assert got[0].data == data
            assert got[0].data.readonly
            assert bytes(got[2].data) == data[400:800]


async def test_votes_do_not_wait_behind_a_blob(loopback) -> None:
    async with loopback.met() as (a, b):
        assert a.send_blob(b.me, b"", bytes(100 * 1024 * 1024))
        for _ in range(50):  # the blob is on its way, and far from through
            await trio.lowlevel.checkpoint()
        assert a.send(b.me, b"vote")
        first = await b.receive()
        while isinstance(first, PeerUp):
            first = await b.receive()
        assert first == Received(a.me, b"vote")


async def test_announcements_reach_everybody_once_signed_by_their_author(loopback) -> None:
    small, big = b"small", bytes(wire_limits.MAX_ANNOUNCEMENT_BYTES)
    nodes = [loopback.create() for _ in range(4)]
    async with loopback.met(*nodes):
        author, *others = nodes
        for node in others:
            await probe(loopback, author, node)
        assert author.announce(small)
        assert author.announce(big)
        assert not author.announce(big + b"x")
        for node in others:
            got = []
            while len(got) < 2:
                event = await loopback.next(node, Announced)
                if not event.data.startswith(b"probe"):
                    got.append(event)
            assert sorted(got, key=lambda event: len(event.data)) == [
                Announced(author.me, small),
                Announced(author.me, big),
            ]


async def test_what_waits_for_a_slow_reader_is_not_lost_in_a_channel_of_32_slots(loopback) -> None:
    async with loopback.met() as (a, b):
        await probe(loopback, a, b)
        wanted = [b"%d" % number for number in range(100)]
        for data in wanted:
            assert a.announce(data)
            await trio.sleep(0.005)
        assert [(await loopback.next(b, Announced)).data for _ in wanted] == wanted


async def probe(loopback, author: Mesh, reader: Mesh) -> None:
    """Wait until announcements come through and none is under way."""
    for number in count():
        assert author.announce(b"probe %d" % number)
        with trio.move_on_after(0.2):
            while (await loopback.next(reader, Announced)).data != b"probe %d" % number:
                pass
            return


@pytest.mark.slow
async def test_a_removed_member_is_disconnected_and_stays_out_until_it_is_back(loopback) -> None:
    async with loopback.met() as (a, b):
        a.set_members({a.me: a.listening})
        assert await loopback.next(a, PeerDown) == PeerDown(b.me, "no longer a member")
        await loopback.next(b, PeerDown)
        assert not a.send(b.me, b"x")
        await loopback.until(lambda: a.counters().get("connections_refused", 0) > 0)
        assert a.connected() == frozenset()
        loopback.introduce(a, b)
        await loopback.meshed(a, b)


@pytest.mark.slow
async def test_a_dropped_peer_is_kept_away(loopback) -> None:
    async with loopback.met() as (a, b):
        a.drop(b.me, "signed two votes")
        assert await loopback.next(a, PeerDown) == PeerDown(b.me, "signed two votes")
        await loopback.next(b, PeerDown)
        await loopback.until(lambda: a.counters().get("connections_refused", 0) > 0)
        assert a.connected() == frozenset()


@pytest.mark.parametrize("what", ["version", "chain"])
async def test_another_version_or_chain_is_refused_with_both_named_on_both_sides(loopback, what: str) -> None:
    a = loopback.create()
    b = loopback.create(version=2) if what == "version" else loopback.create(chain_id=b"\xee" * 32)
    async with loopback.running(a, b):
        at_a, at_b = await loopback.next(a, Refused), await loopback.next(b, Refused)
        assert (at_a.peer, at_b.peer) == (b.me, a.me)
        if what == "version":
            assert at_a.reason == "it speaks protocol version 2, this node speaks 1"
            assert at_b.reason == "it speaks protocol version 1, this node speaks 2"
        else:
            assert at_a.reason == "it follows chain eeeeeeeeeeeeeeee, this node follows 0001020304050607"
            assert at_b.reason == "it follows chain 0001020304050607, this node follows eeeeeeeeeeeeeeee"
        assert a.connected() == b.connected() == frozenset()


async def test_the_higher_id_dials_when_the_lower_cannot(loopback) -> None:
    a, b = sorted((loopback.create(), loopback.create()), key=lambda node: node.me)
    async with loopback.running(a, b, introduce=False):
        a.set_members({b.me: ()})
        b.set_members({a.me: a.listening})
        await loopback.meshed(a, b)


async def test_a_member_at_a_wrong_first_address_is_found_at_the_second(loopback) -> None:
    a, b = loopback.create(), loopback.create()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nowhere = f"/ip4/127.0.0.1/tcp/{closed.getsockname()[1]}"
    async with loopback.running(a, b, introduce=False):
        a.set_members({b.me: (nowhere, "not an address", *b.listening)})
        b.set_members({a.me: ()})
        await loopback.meshed(a, b)


def test_a_taken_port_is_named(loopback) -> None:
    async def main(port: int) -> None:
        with pytest.raises(PortInUse, match=rf"port {port}; stop it or set another address"):
            await loopback.create(listen=(f"/ip4/127.0.0.1/tcp/{port}",)).run()

    with socket.create_server(("127.0.0.1", 0)) as other:
        trio.run(main, other.getsockname()[1])


async def test_a_foreign_address_cannot_be_listened_on(loopback) -> None:
    with pytest.raises(Unavailable, match=r"Cannot listen on 192\.0\.2\.1 port 7700"):
        await loopback.create(listen=("/ip4/192.0.2.1/tcp/7700",)).run()


def test_a_malformed_listen_address_is_a_configuration_error(loopback) -> None:
    with pytest.raises(ConfigError, match="not an address"):
        loopback.create(listen=("127.0.0.1:7700",))


async def test_a_full_queue_is_reported_and_cleared_when_the_peer_goes(loopback) -> None:
    a, b = loopback.create(), loopback.create()
    async with loopback.running(a, b) as nursery:
        await loopback.meshed(a, b)
        # Without a turn of the event loop nothing leaves.
        accepted = sum(a.send(b.me, b"x" * 1_000_000) for _ in range(100))
        assert accepted == wire_limits.MAX_OUTBOX_BYTES // 1_000_000
        assert a.counters()["outbox_full"] == 100 - accepted
        a.drop(b.me, "test")
        await loopback.next(a, PeerDown)
        assert a.counters()["frames_lost_on_disconnect"] > 0
        assert not a.send(b.me, b"x")
        nursery.cancel_scope.cancel()
