"""Yamux streams as the links see them, and a host that chooses protocols on them. Imports libp2p."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import cast

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.io.abc import ReadWriteCloser
from libp2p.network.exceptions import SwarmException
from libp2p.network.stream.net_stream import NetStream
from libp2p.peer.id import ID
from libp2p.protocol_muxer.exceptions import MultiselectError
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.stream_muxer.yamux.yamux import DEFAULT_WINDOW_SIZE, TYPE_DATA, YAMUX_HEADER_FORMAT, YamuxStream

from fednode.p2p import wire_limits
from fednode.p2p.libp2p_muxed import MemberStream
from fednode.p2p.secure_transport import NoiseSession
from fednode.p2p.stream import StreamEnded, Target

_HEADER = struct.Struct(YAMUX_HEADER_FORMAT)


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
            raise StreamEnded(self._muxed.conn.fault or "connection lost") from error

    async def fill(self, target: Target) -> None:
        """Fill memory."""
        try:
            if not self._is_widened:
                self._is_widened = True
                self._muxed.widen(self._window_bytes)
            await self._muxed.fill(target)
        except Exception as error:  # the libp2p border, as above
            raise StreamEnded(self._muxed.conn.fault or "connection lost") from error

    async def write(self, data: bytes | memoryview) -> None:
        """Hand over data, waiting for room and for the peer, with a limit."""
        try:
            await self._muxed.write(data)
        except Exception as error:  # the libp2p border, as above
            raise StreamEnded(self._muxed.conn.fault or "connection lost") from error


class StockStream:
    """The same on the stock muxer, for peers that know only that one."""

    def __init__(self, stream: INetStream, window_bytes: int = DEFAULT_WINDOW_SIZE) -> None:
        """`window_bytes` is how much the peer may send ahead of our reading; it matters only for reading."""
        self._muxed = cast(YamuxStream, cast(NetStream, stream).muxed_stream)
        self._muxer = self._muxed.conn
        self._session = cast(NoiseSession, self._muxer.secured_conn)
        self._window_bytes = window_bytes
        self._grant_bytes = window_bytes - DEFAULT_WINDOW_SIZE

    async def read(self, max_bytes: int) -> bytes:
        """Return at least one byte.

        The stock read grants the sender new window after every read, one more frame per message, and grows it by
        guesses; a sender without window polls every 10 ms. Here half of a fixed window is granted at a time.
        """
        try:
            if self._grant_bytes >= self._window_bytes // 2:
                await self._grant()
            data = await self._muxer.read_stream(self._muxed.stream_id, max_bytes)
        except Exception as error:  # the libp2p border: whatever it raises, this stream is over
            raise StreamEnded("connection lost") from error
        self._grant_bytes += len(data)
        return data

    async def fill(self, target: Target) -> None:
        """Fill memory."""
        while target.room_bytes:
            target.put(await self.read(min(target.room_bytes, wire_limits.READ_BYTES)))

    async def _grant(self) -> None:
        count, self._grant_bytes = self._grant_bytes, 0
        self._muxed.recv_window += count
        await self._muxed.send_window_update(count)

    async def write(self, data: bytes | memoryview) -> None:
        """Hand over data in pieces of one record, waiting for room before the muxer's lock is taken.

        With enough window the frame goes straight to the session, which the stock write would do after five turns of
        the event loop; nobody can come between, because a stream has one writer and `queue` does not wait.
        """
        view = memoryview(data)
        try:
            for start in range(0, len(view), wire_limits.PIECE_BYTES):
                with trio.fail_after(wire_limits.WRITE_STALL_S):
                    await self._write_piece(view[start : start + wire_limits.PIECE_BYTES])
        except Exception as error:  # the libp2p border, as above
            raise StreamEnded("connection lost") from error

    async def _write_piece(self, piece: memoryview) -> None:
        await self._session.wait_writable()
        muxed = self._muxed
        if len(piece) <= muxed.send_window and not (muxed.send_closed or muxed.closed):
            muxed.send_window -= len(piece)
            self._session.queue(_HEADER.pack(0, TYPE_DATA, 0, muxed.stream_id, len(piece)), piece)
        else:
            await muxed.write(bytes(piece))
        await trio.lowlevel.checkpoint()


def link_stream(stream: INetStream, window_bytes: int = DEFAULT_WINDOW_SIZE) -> MuxedStream | StockStream:
    """Return a stream as links use it, whichever muxer it is on."""
    muxed = cast(NetStream, stream).muxed_stream
    if isinstance(muxed, MemberStream):
        return MuxedStream(muxed, window_bytes)
    return StockStream(stream, window_bytes)


async def reset(stream: INetStream) -> None:
    """End a stream at once, also while being cancelled; a stream left open is leaked for good."""
    with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
        try:
            await stream.reset()
        except Exception:  # noqa: BLE001  the libp2p border: it is over already
            return


class MemberHost(BasicHost):
    """Chooses protocols without the stock reads, which answer every byte of a name with a frame."""

    async def new_stream(self, peer_id: ID, protocol_ids: Sequence[TProtocol]) -> INetStream:
        """Open a stream on any connection; every failure is the one that gossip tries again after."""
        stream = await self._network.new_stream(peer_id)
        try:
            await self.choose(stream, protocol_ids)
        except StreamEnded as ended:
            raise SwarmException(str(ended)) from ended
        return stream

    async def choose(self, stream: INetStream, protocol_ids: Sequence[TProtocol]) -> MuxedStream | StockStream:
        """Agree on a protocol for a stream we opened; raises `StreamEnded`."""
        muxed = link_stream(stream)
        try:
            chosen = await self.multiselect_client.select_one_of(
                protocol_ids, _communicator(muxed), int(wire_limits.HANDSHAKE_TIMEOUT_S)
            )
        except Exception as error:  # the libp2p border, as above
            await reset(stream)
            raise StreamEnded("the stream was not accepted") from error
        stream.set_protocol(chosen)
        return muxed

    async def _swarm_stream_handler(self, net_stream: INetStream) -> None:
        protocol, handler = await self.multiselect.negotiate(
            _communicator(link_stream(net_stream)), int(wire_limits.HANDSHAKE_TIMEOUT_S)
        )
        if protocol is None or handler is None:
            raise MultiselectError("no protocol")
        net_stream.set_protocol(protocol)
        await handler(net_stream)


class _Bytes:
    """What the library's negotiation reads from: bytes, never views."""

    def __init__(self, stream: MuxedStream | StockStream) -> None:
        self._stream = stream

    async def read(self, n: int | None = None) -> bytes:
        return bytes(await self._stream.read(wire_limits.READ_BYTES if n is None else n)) if n != 0 else b""

    async def write(self, data: bytes) -> None:
        await self._stream.write(data)


def _communicator(stream: MuxedStream | StockStream) -> MultiselectCommunicator:
    return MultiselectCommunicator(cast(ReadWriteCloser, _Bytes(stream)))
