"""Yamux between members under a protocol id of its own: the standard frames, larger and checked. Imports libp2p.

Security assumption: the peer is authenticated and may send anything. A frame that an honest peer of this protocol
cannot send (past its window, for a stream that never was, wrong flags, a flood) ends the link with a reason; windows
bound what waits unread; a write that the peer does not take ends the link too.

Peers that know only the stock name get this one, too. What differs from the stock one: windows are enforced, frames
go up to four Noise records, data is parsed out of whole records without a task or a copy per frame, writers and readers
are woken by events instead of polling, and nobody waits without a limit.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import cast

import trio
from libp2p.abc import ISecureConn
from libp2p.custom_types import TProtocol
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.exceptions import RawConnError
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.stream_muxer.yamux import yamux
from libp2p.stream_muxer.yamux.yamux import Yamux

from fednode.errors import Rejected
from fednode.fence import foreign
from fednode.p2p import wire_limits
from fednode.p2p.libp2p.muxed import GAVE_UP, Fault, MemberStream
from fednode.p2p.libp2p.secure_transport import BrokenRecord, NoiseSession, PeerDoesNotRead
from fednode.p2p.peers import SECOND_NS, TokenBucket

PROTOCOL_ID = TProtocol("/fednode/yamux/1")

_HEADER = struct.Struct(yamux.YAMUX_HEADER_FORMAT)
_SYN, _ACK, _FIN, _RST = yamux.FLAG_SYN, yamux.FLAG_ACK, yamux.FLAG_FIN, yamux.FLAG_RST
OnFault = Callable[["MemberYamux", Fault, str], None]
"""`on_fault(muxer, fault, reason)`: the link is over."""


class MemberYamux(Yamux):
    """A connection of such streams."""

    def __init__(self, secured_conn: ISecureConn, peer_id: ID, on_fault: OnFault) -> None:
        super().__init__(secured_conn, peer_id, is_initiator=secured_conn.is_initiator)
        self.session = cast(NoiseSession, secured_conn)
        self.is_over = False
        self.fault: str | None = None
        self._on_fault = on_fault
        self._header = b""
        self._body_bytes = 0
        self._body_of: MemberStream | None = None
        self._last_id_of_peer = 0
        self._openings = TokenBucket(wire_limits.STREAMS_PER_S, wire_limits.STREAMS_BURST)
        self._small_frames = TokenBucket(wire_limits.SMALL_FRAMES_PER_S, wire_limits.SMALL_FRAMES_BURST)
        self._stray_bytes = TokenBucket(wire_limits.STRAY_BYTES_PER_S, wire_limits.STRAY_BYTES_BURST)

    def _stream(self, stream_id: int) -> MemberStream | None:
        return cast("MemberStream | None", self.streams.get(stream_id))

    # --- sending

    def queue_frame(self, kind: int, flags: int, stream_id: int, length: int, body: bytes | memoryview = b"") -> None:
        """Send a frame, or queue it; raises `MuxedStreamError` when the connection is over."""
        try:
            self.session.queue(_HEADER.pack(0, kind, flags, stream_id, length), body)
        except (ConnectionClosedError, RawConnError) as error:
            raise MuxedStreamError(self.fault or str(error)) from error

    async def send_frame(self, stream_id: int, body: memoryview) -> None:
        """Send a frame of data and wait until the socket has most of it; raises as `queue_frame` does."""
        try:
            await self.session.send(_HEADER.pack(0, yamux.TYPE_DATA, 0, stream_id, len(body)), body)
        except (ConnectionClosedError, RawConnError) as error:
            raise MuxedStreamError(self.fault or str(error)) from error

    async def _write_frame(self, data: bytes) -> None:
        """Send what the library composes: pings, ends of streams, goodbyes."""
        self.session.queue(data)
        await trio.lowlevel.checkpoint()

    async def open_stream(self) -> MemberStream:
        """Open a stream."""
        await self.stream_backlog_semaphore.acquire()
        if self.is_over or self.event_shutting_down.is_set():
            self.stream_backlog_semaphore.release()
            raise MuxedStreamError(self.fault or "connection closed")
        stream = MemberStream(self.next_stream_id, self, True)
        stream._owns_backlog_slot = True
        self.next_stream_id += 2
        self.streams[stream.stream_id] = stream
        self.queue_frame(yamux.TYPE_WINDOW_UPDATE, _SYN, stream.stream_id, 0)
        return stream

    # --- receiving

    async def handle_incoming(self) -> None:
        """Read until the connection ends; nothing that the peer sends raises out of here."""
        try:
            with foreign("a frame of the muxer", ConnectionClosedError, RawConnError, MuxedStreamError):
                await self.session.pump_into(self)
        except Rejected as rejected:
            await self.give_up(Fault.PROTOCOL, rejected.reason)
        except BrokenRecord as broken:
            await self.give_up(Fault.RECORD, str(broken))
        except PeerDoesNotRead:
            await self.give_up(Fault.STALL, GAVE_UP)
        except (ConnectionClosedError, RawConnError, MuxedStreamError):
            pass  # the connection is gone, which is said below
        finally:
            self._end()
        await self._cleanup_on_error()

    def find_room(self) -> memoryview | None:
        """Return where the rest of a frame goes: what comes next is known to be nothing but data of one stream."""
        if not self._body_bytes or self._body_of is None or self._body_of.recv_closed:
            return None
        return self._body_of.find_room(self._body_bytes)

    def on_placed(self, count: int) -> None:
        """A part of it went there."""
        assert self._body_of is not None, "there was room in it"
        self._body_bytes -= count
        self._body_of.on_placed(count)

    def on_record(self, plain: bytes) -> None:
        """Take a record apart; frames may begin and end anywhere in it."""
        view = memoryview(plain)
        position, end = 0, len(view)
        while position < end:
            if self._body_bytes:
                stop = min(end, position + self._body_bytes)
                if self._body_of is not None and not self._body_of.recv_closed:
                    self._body_of.on_data(view[position:stop], end)
                self._body_bytes -= stop - position
            else:
                stop = min(end, position + yamux.HEADER_SIZE - len(self._header))
                self._header += view[position:stop]
                if len(self._header) == yamux.HEADER_SIZE:
                    header, self._header = self._header, b""
                    self._on_header(header)
            position = stop

    def _on_header(self, header: bytes) -> None:
        version, kind, flags, stream_id, length = _HEADER.unpack(header)
        if version != 0 or flags & ~(_SYN | _ACK | _FIN | _RST):
            raise Rejected("it sends frames of another muxer")
        if (kind != yamux.TYPE_DATA or length < wire_limits.SMALL_FRAME_BYTES) and not self._may(self._small_frames):
            raise Rejected("it floods the link with small frames")
        if kind in (yamux.TYPE_DATA, yamux.TYPE_WINDOW_UPDATE):
            self._on_stream_frame(kind, flags, stream_id, length)
        elif kind == yamux.TYPE_PING:
            self._on_ping(flags, length)
        elif kind == yamux.TYPE_GO_AWAY:
            raise ConnectionClosedError("the peer says goodbye")
        else:
            raise Rejected(f"it sends frames of kind {kind}")

    def _may(self, bucket: TokenBucket, amount: float = 1.0) -> bool:
        return bucket.take(amount, 1 + int(trio.current_time() * SECOND_NS))

    def _on_ping(self, flags: int, number: int) -> None:
        if flags & _SYN:
            self.session.queue(_HEADER.pack(0, yamux.TYPE_PING, _ACK, 0, number))
        elif flags & _ACK:
            self._rtt = trio.current_time() - self._ping_sent_time
            self._ping_event.set()

    def _on_stream_frame(self, kind: int, flags: int, stream_id: int, length: int) -> None:
        if flags & _SYN:
            self._on_opening(stream_id)
        stream = self._stream(stream_id)
        if stream is None:
            self._on_stray(stream_id, length if kind == yamux.TYPE_DATA else 0)
        if kind == yamux.TYPE_DATA:
            if stream is not None and length > stream.recv_window:
                raise Rejected("it sends past its window")
            if stream is not None:
                stream.recv_window -= length
            self._body_of, self._body_bytes = stream, length
        elif stream is not None:
            stream.on_window(length)
        if stream is not None and flags & (_FIN | _RST):
            self._on_end(stream, flags, self._body_bytes)

    def _on_end(self, stream: MemberStream, flags: int, body_bytes: int) -> None:
        if body_bytes:
            raise Rejected("it ends a stream in a frame with data")  # allowed by yamux, sent by nobody
        stream.on_flags(flags)
        if stream.closed:
            self._finalize_stream_locked(stream, fully_closed=True)

    def _on_opening(self, stream_id: int) -> None:
        is_of_peer = stream_id % 2 == (0 if self.is_initiator_value else 1)
        if not is_of_peer or stream_id <= self._last_id_of_peer:
            raise Rejected("it opens a stream under a number that is taken")
        if not self._may(self._openings) or len(self.streams) >= wire_limits.MAX_STREAMS_PER_LINK:
            raise Rejected("it opens too many streams")
        self._last_id_of_peer = stream_id
        stream = MemberStream(stream_id, self, False)
        try:
            self.new_stream_send_channel.send_nowait(stream)
        except trio.WouldBlock:
            self.queue_frame(yamux.TYPE_WINDOW_UPDATE, _RST, stream_id, 0)
            return
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            raise ConnectionClosedError("closing") from None
        self.streams[stream_id] = stream
        self.queue_frame(yamux.TYPE_WINDOW_UPDATE, _ACK, stream_id, 0)

    def _on_stray(self, stream_id: int, length: int) -> None:
        """A frame for a stream that is not there: closed here while it was on its way, or never opened."""
        is_of_peer = stream_id % 2 == (0 if self.is_initiator_value else 1)
        if stream_id == 0 or stream_id > (self._last_id_of_peer if is_of_peer else self.next_stream_id - 2):
            raise Rejected("it writes to a stream that was never opened")
        if length > wire_limits.BULK_WINDOW_BYTES or not self._may(self._stray_bytes, length):
            raise Rejected("it goes on writing to closed streams")

    # --- the end

    def _end(self) -> None:
        self.is_over = True
        for stream in tuple(self.streams.values()):
            cast(MemberStream, stream).wake()

    async def give_up(self, fault: Fault, reason: str) -> None:
        """Drop the link for a reason."""
        if self.fault is None and not self.is_over:
            self.fault = reason
            self._on_fault(self, fault, reason)
        self._end()
        with trio.CancelScope(shield=True):
            await self.session.abort()

    async def close(self, error_code: int = yamux.GO_AWAY_NORMAL) -> None:
        """Say goodbye and close."""
        self._end()
        await super().close(error_code)
