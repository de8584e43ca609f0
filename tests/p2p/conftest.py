"""Networks on loopback with ports chosen by the kernel, and raw libp2p pieces to misbehave with."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

import pytest
import trio
from libp2p import new_host
from libp2p.abc import INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_PROTOCOL_ID
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_PROTOCOL_ID
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

from fednode.crypto import Secret
from fednode.ids import PeerId
from fednode.p2p.libp2p.network import NetworkSettings, create_network
from fednode.p2p.mesh import Mesh
from fednode.p2p.network import NetworkEvent, PeerUp

CHAIN_ID = bytes(range(32))
Event = TypeVar("Event", bound=NetworkEvent)


class Loopback:
    """Makes networks and waits for what happens on them; nothing waits longer than `patience_s`."""

    patience_s = 20.0

    def create(
        self,
        *,
        seed: bytes | None = None,
        version: int = 1,
        chain_id: bytes = CHAIN_ID,
        listen: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/0",),
        accept_blob: Callable[[PeerId, bytes, int], bool] = lambda peer, header, size_bytes: True,
    ) -> Mesh:
        return create_network(NetworkSettings(Secret(seed or os.urandom(32)), listen, version, chain_id), accept_blob)

    @asynccontextmanager
    async def running(self, *networks: Mesh, introduce: bool = True) -> AsyncIterator[trio.Nursery]:
        """Run networks, make all of them members of each other, and stop them at the end."""
        async with trio.open_nursery() as nursery:
            for network in networks:
                await nursery.start(network.run)
            if introduce:
                self.introduce(*networks)
            with trio.fail_after(self.patience_s * 2):
                yield nursery
            nursery.cancel_scope.cancel()

    def introduce(self, *networks: Mesh) -> None:
        members = {network.me: network.listening for network in networks}
        for network in networks:
            network.set_members(members)

    async def next(self, network: Mesh, kind: type[Event]) -> Event:
        """Return the next event of this kind, passing over the others."""
        with trio.fail_after(self.patience_s):
            while True:
                event = await network.receive()
                if isinstance(event, kind):
                    return event

    async def meshed(self, *networks: Mesh) -> None:
        """Wait until each of them has seen all the others come up."""
        for network in networks:
            missing = {other.me for other in networks} - {network.me} - network.connected()
            while missing:
                missing.discard((await self.next(network, PeerUp)).peer)

    @asynccontextmanager
    async def met(self, *given: Mesh) -> AsyncIterator[tuple[Mesh, ...]]:
        """Run networks, two new ones unless some are given, that have seen each other come up."""
        networks = given or (self.create(), self.create())
        async with self.running(*networks):
            await self.meshed(*networks)
            yield networks

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition that no event announces."""
        with trio.fail_after(self.patience_s):
            while not condition():
                await trio.sleep(0.01)


@pytest.fixture
def loopback() -> Loopback:
    return Loopback()


class Rogue:
    """A stock libp2p host with a key of its own: everything a member's machine could do on the wire."""

    def __init__(self, seed: bytes) -> None:
        keys = create_new_key_pair(seed)
        self.id = ID.from_pubkey(keys.public_key)
        self.peer = PeerId(self.id.to_base58())
        noise = NoiseTransport(keys, noise_privkey=create_x25519_key_pair().private_key)
        self.host = new_host(
            key_pair=keys,
            sec_opt={NOISE_PROTOCOL_ID: noise},
            muxer_opt={TProtocol(YAMUX_PROTOCOL_ID): Yamux},
            negotiate_timeout=5,
        )
        for protocol in ("/fednode/consensus/1", "/fednode/bulk/2", "/meshsub/1.1.0"):
            self.host.set_stream_handler(TProtocol(protocol), self._swallow)

    async def _swallow(self, stream: INetStream) -> None:
        try:
            while await stream.read(65_536):
                pass
        except Exception:  # noqa: BLE001  the end of a stream has many names here
            return

    async def connect(self, target: Mesh) -> None:
        """Dial a node; raises when it does not let us in."""
        info = PeerInfo(ID.from_base58(target.me), [Multiaddr(address) for address in target.listening])
        await self.host.connect(info)

    async def connect_again(self, target: Mesh) -> None:
        """Open one more connection to a node."""
        await self.host.get_network().dial_addr(Multiaddr(target.listening[0]), ID.from_base58(target.me))

    async def open(self, target: Mesh, protocol: str) -> INetStream:
        """Open a stream of any protocol."""
        return await self.host.new_stream(ID.from_base58(target.me), [TProtocol(protocol)])

    async def open_raw(self, target: Mesh) -> INetStream:
        """Open a stream without choosing a protocol."""
        return await self.host.get_network().connections[ID.from_base58(target.me)][0].new_stream()


@asynccontextmanager
async def rogue_host(seed: bytes | None = None) -> AsyncIterator[Rogue]:
    rogue = Rogue(seed or os.urandom(32))
    async with rogue.host.run(listen_addrs=[]):
        yield rogue
        await rogue.host.close()


@pytest.fixture
def rogue() -> Callable[..., AbstractAsyncContextManager[Rogue]]:
    return rogue_host
