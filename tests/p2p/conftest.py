"""Networks on loopback with ports chosen by the kernel, and raw libp2p pieces to misbehave with."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest
import trio

from fednode.crypto import Secret
from fednode.p2p.libp2p_network import NetworkSettings, create_network
from fednode.p2p.mesh import Mesh
from fednode.p2p.network import NetworkEvent, PeerId, PeerUp

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

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition that no event announces."""
        with trio.fail_after(self.patience_s):
            while not condition():
                await trio.sleep(0.01)


@pytest.fixture
def loopback() -> Loopback:
    return Loopback()
