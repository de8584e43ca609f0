"""A member gone bad that keeps to its quotas, and strangers beside it: each of its frames as dear as it can be.

    python -m tests.e2e.besieger siege HOME SECONDS SOCKETS    one kind after the other, and so many sockets throughout
    python -m tests.e2e.besieger burn CPU_S SECONDS            the same processor time, and not a single connection

Its last line tells what it sent of each kind, how often it was cut off, and the processor time it took.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import trio
from libp2p.abc import INetStream
from libp2p.pubsub.pb import rpc_pb2
from libp2p.stream_muxer.yamux import yamux
from libp2p.utils import encode_varint_prefixed

from fednode.bench.chain import memo_text
from fednode.chain.consensus.messages import BlockRequest, ViewCertificate, VoteSummary, bundle_bound
from fednode.chain.sync import BlockRangeRequest, encode_sync
from fednode.chain.vote import NIL, NO_VIEW, PREVOTE, Vote, domain_of, sign_bytes
from fednode.codec import encode
from fednode.core import traffic
from fednode.core.quota import BLOB_BYTES_PER_S, BYTES_PER_S, FRAMES_PER_S, SIGNATURES_PER_S
from fednode.home.files import Home
from fednode.home.keystore import Keys
from fednode.ids import Height, MemberId, View
from fednode.ledger.bodies import Memo
from fednode.ledger.genesis import Genesis
from fednode.ledger.transactions import sign_transaction
from fednode.p2p import wire_limits
from fednode.p2p.addresses import parse_multiaddr
from fednode.p2p.mesh import Mesh
from tests.e2e.flooder import Flooder, enter

TICKS_PER_S = 50
SHARE = 0.8
"""Of each quota, so that nobody cuts it off."""

HEADER = b"\x13/multistream/1.0.0\n"
STRANGERS = (
    b"", b"\x13", HEADER, HEADER + b"\x07/noise\n", HEADER + b"\x07/noise\n\x00\x20" + bytes(32),
    HEADER + b"\x07/noise\n\xff\xff" + bytes(8000), b"\x80\x80\x80\x1d" + bytes(8000), HEADER + b"\x03ls\n" * 900,
)
"""What a stranger says first, before it waits until it is thrown out."""


class Besieger(Flooder):
    """Makes the dearest frame of each kind, fresh where it matters."""

    def __init__(self, keys: Keys, member: MemberId, genesis: Genesis) -> None:
        super().__init__(keys, member, genesis)
        self.view = 0
        self.counts: Counter[str] = Counter()
        self.begins: dict[str, float] = {}
        self.network: Mesh | None = None

    # --- frames of the consensus stream, with how many of them a second the quotas allow

    def frames(self) -> dict[str, tuple[Callable[[], bytes], float]]:
        """Makers by name, and their rates."""
        votes = bundle_bound(len(self.genesis.members))
        size = len(self._repeated())
        return {
            "bundles": (lambda: self._bundle(votes), min(FRAMES_PER_S, SIGNATURES_PER_S / votes)),
            "transactions again": (self._repeated, min(FRAMES_PER_S, BYTES_PER_S / size)),
            "stale votes": (lambda: self._vote(max(1, self.height - 20)), FRAMES_PER_S),
            "claims": (lambda: traffic.SYNC.frame(self._claim()), FRAMES_PER_S),
            "ranges": (lambda: traffic.SYNC.frame(BlockRangeRequest(Height(1), Height(16))), FRAMES_PER_S),
            "summaries": (self._summary, FRAMES_PER_S),
            "blocks": (lambda: traffic.CONSENSUS.frame(BlockRequest(Height(self.height), bytes(32))), FRAMES_PER_S),
            "models": (lambda: traffic.WANT.frame(traffic.WantModel(bytes(32))), FRAMES_PER_S),
            "spam": (self._transaction, FRAMES_PER_S),
        }

    def _bundle(self, count: int) -> bytes:
        """Votes that nobody has seen, each with a signature that holds."""
        height, chain_id = Height(self.height + 1), self.genesis.chain_id

        def vote(view: int) -> Vote:
            text = sign_bytes(chain_id, PREVOTE, height, view, NO_VIEW, NIL)
            signature = self.keys.sign.sign(domain_of(PREVOTE), text)
            return Vote(PREVOTE, height, View(view), NO_VIEW, NIL, self.member, signature)

        self.view += count
        return traffic.CONSENSUS.frame(ViewCertificate(tuple(vote(self.view + at) for at in range(count))))

    def _repeated(self) -> bytes:
        until, body = Height(self.height + 50), Memo(memo_text("again"))
        made = sign_transaction(self.keys.sign, self.genesis.chain_id, self.member, 1, until, body)
        return traffic.TRANSACTIONS.frame(traffic.Transactions((made.data,) * traffic.MAX_TRANSACTIONS_IN_FRAME))

    def _summary(self) -> bytes:
        return traffic.CONSENSUS.frame(VoteSummary(Height(self.height), View(0), False, b"\0", b"\0"))

    # --- everything else

    async def _gossip(self, rpc: rpc_pb2.RPC) -> None:
        data = encode_varint_prefixed(rpc.SerializeToString())
        async with trio.open_nursery() as nursery:
            for stream in tuple(self.network._host._pubsub.peers.values()):
                nursery.start_soon(self._write, stream, data)

    async def _write(self, stream: INetStream, data: bytes) -> None:
        """A whole frame, however long it is made to wait."""
        with suppress(Exception):
            await stream.write(data)

    async def iwant(self) -> None:
        """A message of half a megabyte, wanted a thousand times."""
        pubsub = self.network._host._pubsub
        if not any(len(held.data) > 100_000 for held in pubsub.router.mcache.msgs.values()):
            self.network.announce(self.random.randbytes(500_000))
        rpc = rpc_pb2.RPC()
        rpc.control.iwant.add(messageIDs=[*pubsub.router.mcache.msgs] * 100)
        await self._gossip(rpc)

    async def prune(self) -> None:
        """Peers in a PRUNE, and names of messages that nobody has."""
        topic, rpc = self.network._host._topic, rpc_pb2.RPC()
        for _ in range(60):
            rpc.control.prune.add(topicID=topic).peers.add(peerID=bytes(38), signedPeerRecord=bytes(200))
            rpc.control.graft.add(topicID=topic)
        rpc.control.ihave.add(topicID=topic, messageIDs=[self.random.randbytes(46) for _ in range(1000)])
        await self._gossip(rpc)

    async def forged(self) -> None:
        """Messages whose signatures do not hold."""
        topic, rpc = self.network._host._topic, rpc_pb2.RPC()
        own = bytes.fromhex("002408011220") + self.keys.public.network
        for _ in range(100):
            rpc.publish.add(from_id=own, seqno=self.random.randbytes(8), topicIDs=[topic], data=b"x" * 1000,
                            signature=self.random.randbytes(64))
        await self._gossip(rpc)

    async def announcements(self) -> None:
        """Claims, at what the node takes."""
        self.network.announce(encode_sync(self._claim()))

    def _muxers(self) -> list[object]:
        return [connection._muxer for connection in tuple(self.network._host._connections.values())]

    async def pings(self) -> None:
        """Small frames of the muxer, as many as a link may."""
        for muxer in self._muxers():
            for _ in range(int(SHARE * wire_limits.SMALL_FRAMES_PER_S / TICKS_PER_S)):
                with suppress(Exception):
                    muxer.queue_frame(yamux.TYPE_PING, yamux.FLAG_SYN, 0, 1)

    async def unread(self) -> None:
        """Streams that never name a protocol, each filled up to its window."""
        for muxer in self._muxers():
            if len(muxer.streams) < wire_limits.MAX_STREAMS_PER_LINK - 4:
                with suppress(Exception), trio.move_on_after(0.05):
                    stream = await muxer.open_stream()
                    await stream.write(b"\x80\x80\x80\x1d" + self.large[: wire_limits.INITIAL_WINDOW_BYTES - 4])

    async def blobs(self) -> None:
        """Pieces that nobody asked for."""
        header = encode(traffic.ModelHeader(bytes(32)), traffic.BlobHeader)
        for peer in self.network.connected():
            self.network.send_blob(peer, header, self.large[: int(SHARE * BLOB_BYTES_PER_S / TICKS_PER_S)])

    # --- the siege

    async def besiege(self, network: Mesh, seconds: float, sockets: int) -> None:
        """One kind after the other; strangers all the time."""
        self.network = network
        acts = {act.__name__: act for act in (
            self.announcements, self.pings, self.unread, self.blobs, self.iwant, self.prune, self.forged,
        )}
        rates = {"announcements": 4.0}
        makers = self.frames()
        names = [*makers, *acts]
        book = network.book
        ports = [parse_multiaddr(address).port for peer in sorted(book.members()) for address in book.addresses(peer)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(network.run)
            nursery.start_soon(self._listen, network)
            for number in range(sockets):
                nursery.start_soon(self._stranger, ports[number % len(ports)], number)
            with trio.move_on_after(10):
                while len(network.connected()) < len(book.members()):
                    await trio.sleep(0.05)
            for name in names:
                self.begins[name] = time.monotonic()
                until = self.begins[name] + seconds / len(names)
                if name in acts:
                    await self._act(acts[name], name, rates.get(name, TICKS_PER_S), until)
                else:
                    await self._send_frames(network, name, *makers[name], until)
            nursery.cancel_scope.cancel()

    async def _act(self, act: Callable[[], object], name: str, rate: float, until: float) -> None:
        while time.monotonic() < until:
            await act()  # type: ignore[misc]
            self.counts[name] += 1
            await trio.sleep(1 / rate)

    async def _send_frames(
        self, network: Mesh, name: str, make: Callable[[], bytes], rate: float, until: float
    ) -> None:
        begin, due = time.monotonic(), 0
        while (now := time.monotonic()) < until:
            while due < (now - begin) * rate * SHARE:
                due += 1
                data = make()
                for peer in network.connected():
                    self.counts[name] += network.send(peer, data)
            await trio.sleep(1 / TICKS_PER_S)

    async def _stranger(self, port: int, number: int) -> None:
        while True:
            with suppress(OSError, trio.BrokenResourceError):
                async with await trio.open_tcp_stream("127.0.0.1", port) as socket:
                    await socket.send_all(STRANGERS[number % len(STRANGERS)])
                    while await socket.receive_some(1000):
                        pass
            number += 1
            self.counts["sockets"] += 1
            await trio.sleep(0.05)


def besiege(home: Home, seconds: float, sockets: int) -> None:
    """Attack, then tell."""
    besieger, network = enter(home, Besieger)
    trio.run(besieger.besiege, network, seconds, sockets)
    told = {
        "sent": dict(besieger.counts), "cut_off": besieger.downs, "begins": besieger.begins,
        "cpu_s": time.process_time(),
    }
    sys.stdout.write(json.dumps(told) + "\n")


def burn(cpu_s: float, seconds: float) -> None:
    """Use up processor time evenly over so long."""
    begin = time.monotonic()
    while (now := time.monotonic() - begin) < seconds:
        if time.process_time() < cpu_s * now / seconds:
            sum(range(10_000))
        else:
            time.sleep(0.002)
    sys.stdout.write(json.dumps({"cpu_s": time.process_time()}) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "siege":
        besiege(Home(Path(sys.argv[2])), float(sys.argv[3]), int(sys.argv[4]))
    else:
        burn(float(sys.argv[2]), float(sys.argv[3]))
