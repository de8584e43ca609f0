"""Pairs of this network and stock py-libp2p, dialling both ways: what one side does not know is negotiated away."""

from __future__ import annotations

import os

import pytest
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from multiaddr import Multiaddr

from fednode.p2p.blobs import BlobReceiver, BlobSender, PartialBlobs
from fednode.p2p.framing import FrameSplitter, Hello, frame
from fednode.p2p.libp2p.muxer import MemberYamux
from fednode.p2p.mesh import Mesh
from fednode.p2p.network import BlobReceived, PeerUp, Received
from fednode.p2p.queues import Blob
from fednode.p2p.stream import StreamEnded, StreamReader, Target

CONSENSUS, BULK = "/fednode/consensus/1", "/fednode/bulk/2"
HELLO = Hello(1, bytes(range(32)))
LARGE = os.urandom(5_000_000)


class Plain:
    """A stock stream as our blob code sees it."""

    def __init__(self, stream: INetStream) -> None:
        self.stream = stream

    async def read(self, max_bytes: int) -> bytes:
        try:
            return await self.stream.read(max_bytes)
        except Exception as error:
            raise StreamEnded("over") from error

    async def fill(self, target: Target) -> None:
        while target.room_bytes:
            target.put(await self.read(target.room_bytes))

    async def write(self, data: bytes | memoryview) -> None:
        await self.stream.write(bytes(data))


class StockMember:
    """A member that runs on the stock host: it keeps what it gets."""

    def __init__(self, rogue) -> None:
        self.rogue = rogue
        self.frames: list[bytes] = []
        self.blobs: list[tuple[bytes, bytes]] = []
        rogue.host.set_stream_handler(TProtocol(CONSENSUS), self._read_frames)
        rogue.host.set_stream_handler(TProtocol(BULK), self._read_blobs)

    async def _read_frames(self, stream: INetStream) -> None:
        splitter, is_first = FrameSplitter(), True
        try:
            while True:
                for data in splitter.feed(await stream.read(100_000)):
                    if not is_first and data:
                        self.frames.append(data)
                    is_first = False
        except Exception:  # noqa: BLE001  the end of a stream has many names here
            return

    async def _read_blobs(self, stream: INetStream) -> None:
        pipe = Plain(stream)
        reader = StreamReader(pipe)
        try:
            await reader.exactly(len(HELLO.to_bytes()))
            receiver = BlobReceiver(self.rogue.peer, pipe, reader, PartialBlobs(), lambda *what: True)
            while (blob := await receiver.receive()) is not None:
                header, data = blob
                assert data is not None
                self.blobs.append((header, bytes(data)))
        except StreamEnded:
            return


def muxer_of(node: Mesh) -> object:
    (connection,) = node._host._connections.values()
    return connection._muxer


async def test_nodes_of_this_network_agree_on_their_own_muxer(loopback) -> None:
    async with loopback.met() as (a, b):
        assert type(muxer_of(a)) is type(muxer_of(b)) is MemberYamux


@pytest.mark.slow
@pytest.mark.parametrize("dialling", ["stock", "ours"])
async def test_a_stock_peer_meets_our_muxer_under_the_stock_name(loopback, rogue, dialling: str) -> None:
    node = loopback.create()
    async with loopback.running(node, introduce=False), rogue() as host:
        stock = StockMember(host)
        if dialling == "stock":
            node.set_members({host.peer: ()})
            await host.connect(node)
        else:
            await host.host.get_network().listen(Multiaddr("/ip4/127.0.0.1/tcp/0"))
            (address,) = {str(addr).split("/p2p/")[0] for addr in host.host.get_addrs()}
            node.set_members({host.peer: (address,)})
            await loopback.until(lambda: bool(node._host._connections))
        assert type(muxer_of(node)) is MemberYamux
        consensus = await host.open(node, CONSENSUS)
        await consensus.write(HELLO.to_bytes() + frame(b"a vote"))
        await loopback.next(node, PeerUp)
        assert (await loopback.next(node, Received)).data == b"a vote"
        bulk = await host.open(node, BULK)
        await bulk.write(HELLO.to_bytes())
        sender = BlobSender(Plain(bulk))
        for name, data in ((b"small", LARGE[:1000]), (b"large", LARGE)):
            await sender.send(Blob(name, memoryview(data)))
            event = await loopback.next(node, BlobReceived)
            assert (event.header, event.data) == (name, data)
            assert node.send_blob(host.peer, name, data)
        assert node.send(host.peer, b"another vote")
        await loopback.until(lambda: stock.frames == [b"another vote"])
        await loopback.until(lambda: len(stock.blobs) == 2)
        assert stock.blobs == [(b"small", LARGE[:1000]), (b"large", LARGE)]
