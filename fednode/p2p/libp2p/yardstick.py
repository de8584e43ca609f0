"""One end of a measured transfer: raw TCP, py-libp2p as it is shipped, or this network. Imports libp2p.

Run as a process of its own by the benchmark, which says on standard input what to do and reads one JSON object a line.
The keys are thrown away with the process. `stock` is the library's own host, Noise and yamux, written and read in the
large pieces that suit it; `ours` is the network of a daemon sending one blob, checksums at both ends included.
"""

from __future__ import annotations

from fednode.documents import read_json
from fednode.p2p.libp2p import network as libp2p_network

# isort: split
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

import trio
from libp2p import new_host
from libp2p.abc import INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_PROTOCOL_ID
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_PROTOCOL_ID
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

from fednode.crypto import Secret
from fednode.ids import PeerId
from fednode.p2p.mesh import Mesh
from fednode.p2p.network import BlobReceived, NetworkEvent, PeerUp, Received

PIECE_BYTES = 1024 * 1024
LOOPBACK = "127.0.0.1"
_PROTOCOL = TProtocol("/fednode/yardstick/1")

Transfer = Callable[[], Awaitable[None]]
"""Moves everything once: the sender returns when the receiver has confirmed it."""


def _say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def _hear() -> dict[str, str]:
    line = await trio.wrap_file(sys.stdin).readline()
    return cast("dict[str, str]", read_json(line or "{}"))


# --- raw TCP


@asynccontextmanager
async def _raw_receiver(size_bytes: int) -> AsyncIterator[Transfer]:
    (listener,) = await trio.open_tcp_listeners(0, host=LOOPBACK)
    _say(port=str(listener.socket.getsockname()[1]))
    async with await listener.accept() as stream, listener:

        async def transfer() -> None:
            left = size_bytes
            while left:
                left -= len(await stream.receive_some(PIECE_BYTES))
            await stream.send_all(b"k")

        yield transfer


@asynccontextmanager
async def _raw_sender(size_bytes: int) -> AsyncIterator[Transfer]:
    data = memoryview(os.urandom(size_bytes))
    _say()
    async with await trio.open_tcp_stream(LOOPBACK, int((await _hear())["port"])) as stream:

        async def transfer() -> None:
            await stream.send_all(data)
            await stream.receive_some(1)

        yield transfer


# --- py-libp2p as shipped


def _stock_host() -> BasicHost:
    keys = create_new_key_pair(os.urandom(32))
    noise = NoiseTransport(keys, noise_privkey=create_x25519_key_pair().private_key)
    return cast(
        BasicHost,
        new_host(key_pair=keys, sec_opt={NOISE_PROTOCOL_ID: noise}, muxer_opt={TProtocol(YAMUX_PROTOCOL_ID): Yamux}),
    )


@asynccontextmanager
async def _stock_receiver(size_bytes: int) -> AsyncIterator[Transfer]:
    host = _stock_host()
    done, confirmed = trio.open_memory_channel[None](0)

    async def drain(stream: INetStream) -> None:
        left = size_bytes
        while left:
            left -= len(await stream.read(PIECE_BYTES))
        await stream.write(b"k")
        await stream.close()
        await done.send(None)

    host.set_stream_handler(_PROTOCOL, drain)
    async with host.run(listen_addrs=[Multiaddr(f"/ip4/{LOOPBACK}/tcp/0")]):
        _say(peer=str(host.get_id()), address=str(host.get_addrs()[0]).split("/p2p/", maxsplit=1)[0])
        yield confirmed.receive
        await host.close()


@asynccontextmanager
async def _stock_sender(size_bytes: int) -> AsyncIterator[Transfer]:
    data = os.urandom(size_bytes)
    host = _stock_host()
    async with host.run(listen_addrs=[]):
        _say()
        other = await _hear()
        peer = ID.from_base58(other["peer"])
        await host.connect(PeerInfo(peer, [Multiaddr(other["address"])]))

        async def transfer() -> None:
            stream = await host.new_stream(peer, [_PROTOCOL])
            await stream.write(data)
            await stream.read(1)
            await stream.close()

        yield transfer
        await host.close()


# --- this network


@asynccontextmanager
async def _our_end() -> AsyncIterator[tuple[PeerId, Callable[[type[NetworkEvent]], Awaitable[None]], Mesh]]:
    settings = libp2p_network.NetworkSettings(Secret(os.urandom(32)), (f"/ip4/{LOOPBACK}/tcp/0",), 1, bytes(32))
    network = libp2p_network.create_network(settings, lambda peer, header, size_bytes: True)

    async def wait_for(kind: type[NetworkEvent]) -> None:
        while not isinstance(await network.receive(), kind):
            pass

    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        _say(peer=network.me, address=network.listening[0])
        other = await _hear()
        peer = PeerId(other["peer"])
        network.set_members({peer: (other["address"],)})
        await wait_for(PeerUp)
        yield peer, wait_for, network
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _our_receiver(size_bytes: int) -> AsyncIterator[Transfer]:
    async with _our_end() as (peer, wait_for, network):

        async def transfer() -> None:
            await wait_for(BlobReceived)
            network.send(peer, b"k")

        yield transfer


@asynccontextmanager
async def _our_sender(size_bytes: int) -> AsyncIterator[Transfer]:
    data = memoryview(os.urandom(size_bytes))
    async with _our_end() as (peer, wait_for, network):

        async def transfer() -> None:
            network.send_blob(peer, b"", data)
            await wait_for(Received)

        yield transfer


ENDS = {
    ("raw", "receive"): _raw_receiver,
    ("raw", "send"): _raw_sender,
    ("stock", "receive"): _stock_receiver,
    ("stock", "send"): _stock_sender,
    ("ours", "receive"): _our_receiver,
    ("ours", "send"): _our_sender,
}


async def main(kind: str, role: str, size_bytes: int) -> None:
    """Serve one end: each line heard is one transfer, answered with its seconds and processor seconds here."""
    async with ENDS[kind, role](size_bytes) as transfer:
        _say(ready=True)
        while await _hear():
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            _say(begun=True)
            await transfer()
            _say(wall_s=time.perf_counter() - wall_s, cpu_s=time.process_time() - cpu_s)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
