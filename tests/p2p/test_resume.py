"""Between real networks: a cut transfer resumes, and a member that misuses our own muxer is dropped with a reason."""

from __future__ import annotations

import os
import struct

import pytest
import trio

from fednode.p2p import wire_limits
from fednode.p2p.libp2p.muxed import MemberStream
from fednode.p2p.mesh import Mesh
from fednode.p2p.network import BlobReceived, PeerDown, PeerUp, Received

pytestmark = pytest.mark.slow
SIZE = 40 * 1024 * 1024


def received_bytes(node: Mesh) -> int:
    return node._partials.size_bytes


def link_of(node: Mesh, other: Mesh):
    return node._pairs[other.me].active()


async def test_a_large_blob_cut_at_60_percent_resumes_after_the_reconnection(loopback, monkeypatch) -> None:
    data = os.urandom(SIZE)
    written = []
    async with loopback.met() as (a, b):
        send = MemberStream.write

        async def counting(self: MemberStream, piece: bytes | memoryview) -> None:
            written.append(len(piece))
            if self.conn in cut_at and sum(written) >= cut_at[self.conn]:
                await self.conn.session.abort()
            await send(self, piece)

        cut_at = {link_of(a, b).connection._muxer: SIZE * 6 // 10}
        monkeypatch.setattr(MemberStream, "write", counting)
        assert a.send_blob(b.me, b"chunk", data)
        await loopback.next(b, PeerDown)
        await loopback.next(b, PeerUp)
        await loopback.until(lambda: b.me in a.connected())
        kept = received_bytes(b)
        assert SIZE // 2 < kept <= SIZE * 6 // 10
        written.clear()
        assert a.send_blob(b.me, b"chunk", data)
        event = await loopback.next(b, BlobReceived)
        assert event.data == data
        assert SIZE - kept <= sum(written) < SIZE - kept + 100_000
        assert received_bytes(b) == 0
        assert a.counters()["blobs_lost_on_disconnect"] == 0


def test_what_a_removed_member_left_is_forgotten(loopback) -> None:
    async def main() -> None:
        async with loopback.met() as (a, b):
            assert a.send_blob(b.me, b"chunk", bytes(SIZE))
            await loopback.until(lambda: _progress(b, a) > 1_000_000)
            await link_of(a, b).connection.abort()
            await loopback.next(b, PeerDown)
            assert received_bytes(b) > 0
            b.set_members({})
            assert received_bytes(b) == 0

    def _progress(node: Mesh, other: Mesh) -> int:
        muxer = link_of(node, other).connection._muxer
        return max((s.target.filled_bytes for s in muxer.streams.values() if s.target is not None), default=0)

    trio.run(main)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [  # the number of a stream is filled in
        (struct.pack("!BBHII", 0, 0, 0, 1, 2**32 - 1), "it sends past its window"),
        (struct.pack("!BBHII", 0, 1, 0, 1, 2**32 - 1), "it grants more than a window holds"),
        (struct.pack("!BBHII", 9, 0, 0, 1, 0), "it sends frames of another muxer"),
    ],
    ids=["window", "grant", "version"],
)
async def test_a_member_that_breaks_the_muxer_is_dropped_with_a_reason_and_kept_away(
    loopback, sent: bytes, reason: str
) -> None:
    a, b, c = (loopback.create() for _ in range(3))
    async with loopback.met(a, b, c):
        link = link_of(a, b)
        own = [
            s for s in link.connection._muxer.streams if s % 2 == (1 if link.connection._muxer.is_initiator else 0)
        ]
        link.connection._session.queue(sent[:4] + struct.pack("!I", own[0]) + sent[8:])
        event = await loopback.next(b, PeerDown)
        assert (event.peer, event.reason) == (a.me, reason)
        assert b.counters()["muxer_faults"] == 1
        assert b.counters()["dropped_peers"] == 1
        assert c.send(b.me, b"the others go on")
        assert (await loopback.next(b, Received)).data == b"the others go on"


def test_a_member_that_stops_reading_blobs_is_dropped_while_votes_still_flow(loopback, monkeypatch) -> None:
    """The peer's consensus stream is alive, so it is not silent; only its bulk stream grants nothing any more."""
    monkeypatch.setattr(wire_limits, "WRITE_STALL_S", 1.0)

    async def main() -> None:
        async with loopback.met() as (a, b):
            link_of(b, a)._owner = _Deaf(link_of(b, a)._owner)
            assert a.send_blob(b.me, b"", bytes(SIZE))
            event = await loopback.next(a, PeerDown)
            assert event.reason == "the peer takes too little of what it is sent"
            assert a.counters()["writes_stalled"] == 1

    class _Deaf:
        """Wants every blob and never grants a window for it."""

        def __init__(self, owner: Mesh) -> None:
            self.owner = owner

        def __getattr__(self, name: str) -> object:
            return getattr(self.owner, name)

        def wants_blob(self, link, header: bytes, size_bytes: int) -> bool:
            for stream in link.connection._muxer.streams.values():
                stream._window_bytes = 1 << 60
            return True

    trio.run(main)
