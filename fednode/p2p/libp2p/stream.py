"""Yamux streams as the links see them, and a host that chooses protocols on them. Imports libp2p."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.network.exceptions import SwarmException
from libp2p.network.stream.net_stream import NetStream
from libp2p.peer.id import ID
from libp2p.protocol_muxer.exceptions import MultiselectError

from fednode.p2p import wire_limits
from fednode.p2p.libp2p.muxed import MemberStream
from fednode.p2p.libp2p.names import communicator
from fednode.p2p.stream import StreamEnded, Target


class MuxedStream:
    """Implements `link.Stream` on our own muxer; every failure below becomes `StreamEnded` with the link's reason."""

    def __init__(self, muxed: MemberStream, window_bytes: int) -> None:
        """`window_bytes` is how much the peer may send ahead of our reading; it matters only for reading."""
        self._muxed = muxed
        self._window_bytes = window_bytes
        self._is_widened = window_bytes <= wire_limits.INITIAL_WINDOW_BYTES

    async def read(self, max_bytes: int) -> bytes | memoryview:
        """Return at least one byte."""
        try:
            if not self._is_widened:
                self._is_widened = True
                self._muxed.widen(self._window_bytes)
            return await self._muxed.receive(max_bytes)
        except Exception as error:  # the libp2p border: whatever it raises, this stream is over
            raise StreamEnded(self._muxed.link.fault or "connection lost") from error

    async def fill(self, target: Target) -> None:
        """Fill memory."""
        try:
            if not self._is_widened:
                self._is_widened = True
                self._muxed.widen(self._window_bytes)
            await self._muxed.fill(target)
        except Exception as error:  # the libp2p border, as above
            raise StreamEnded(self._muxed.link.fault or "connection lost") from error

    async def write(self, data: bytes | memoryview) -> None:
        """Hand over data, waiting for room and for the peer, with a limit."""
        try:
            await self._muxed.write(data)
        except Exception as error:  # the libp2p border, as above
            raise StreamEnded(self._muxed.link.fault or "connection lost") from error


def link_stream(stream: INetStream, window_bytes: int = wire_limits.INITIAL_WINDOW_BYTES) -> MuxedStream:
    """Return a stream as links use it."""
    return MuxedStream(cast(MemberStream, cast(NetStream, stream).muxed_stream), window_bytes)


async def reset(stream: INetStream) -> None:
    """End a stream at once, also while being cancelled; a stream left open is leaked for good."""
    with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
        try:
            await stream.reset()
        except Exception:  # noqa: BLE001  the libp2p border: it is over already
            return


class MemberHost(BasicHost):
    """Chooses protocols by names that are bounded before they are read."""

    async def new_stream(self, peer_id: ID, protocol_ids: Sequence[TProtocol]) -> INetStream:
        """Open a stream on any connection; every failure is the one that gossip tries again after."""
        stream = await self._network.new_stream(peer_id)
        try:
            await self.choose(stream, protocol_ids)
        except StreamEnded as ended:
            raise SwarmException(str(ended)) from ended
        return stream

    async def choose(self, stream: INetStream, protocol_ids: Sequence[TProtocol]) -> MuxedStream:
        """Agree on a protocol for a stream we opened; raises `StreamEnded`."""
        muxed = link_stream(stream)
        try:
            chosen = await self.multiselect_client.select_one_of(
                protocol_ids, communicator(muxed), int(wire_limits.HANDSHAKE_TIMEOUT_S)
            )
        except Exception as error:  # the libp2p border, as above
            await reset(stream)
            raise StreamEnded("the stream was not accepted") from error
        stream.set_protocol(chosen)
        return muxed

    async def _swarm_stream_handler(self, net_stream: INetStream) -> None:
        protocol, handler = await self.multiselect.negotiate(
            communicator(link_stream(net_stream)), int(wire_limits.HANDSHAKE_TIMEOUT_S)
        )
        if protocol is None or handler is None:
            raise MultiselectError("no protocol")
        net_stream.set_protocol(protocol)
        await handler(net_stream)
