"""The streams of the muxer between members (`muxer`): windows, waiting and waking. Imports libp2p.

Security assumption: as the muxer's. The muxer has checked every frame before it arrives here.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol, cast

import trio
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamError, MuxedStreamReset
from libp2p.stream_muxer.yamux import yamux
from libp2p.stream_muxer.yamux.yamux import Yamux, YamuxStream

from fednode.errors import Rejected
from fednode.p2p import wire_limits
from fednode.p2p.queues import Unread
from fednode.p2p.stream import Target

DEADLINE_STEPS = 64
"""A writer's deadline is moved by such a part of its patience or not at all: for every piece it would cost too much."""

GAVE_UP = "the peer takes too little of what it is sent"


class Fault(Enum):
    """Why a link was dropped here; the values are names of counters."""

    PROTOCOL = "muxer_faults"
    """It sent what no honest peer sends."""
    STALL = "writes_stalled"
    """It does not take what it is sent: slow, stuck or hostile."""
    RECORD = "records_broken"
    """A record did not decrypt: somebody on the wire, or a defect."""


class Session(Protocol):
    """What carries the frames: the encrypted connection below the muxer."""

    @property
    def is_congested(self) -> bool:
        """Whether a writer has to wait."""

    async def wait_writable(self) -> None:
        """Wait until it is not."""


class Link(Protocol):
    """What a stream asks of the muxer that it belongs to."""

    is_over: bool
    fault: str | None

    @property
    def session(self) -> Session:
        """The connection below."""

    def queue_frame(self, kind: int, flags: int, stream_id: int, length: int) -> None:
        """Send a frame, or queue it."""

    async def send_frame(self, stream_id: int, body: memoryview) -> None:
        """Send a frame of data and wait until the socket has most of it."""

    async def give_up(self, fault: Fault, reason: str) -> None:
        """End the link."""


class MemberStream(YamuxStream):
    """One stream of a muxer, which is a `Link`. One task reads; writers take turns."""

    def __init__(self, stream_id: int, conn: Yamux, is_initiator: bool) -> None:
        super().__init__(stream_id, conn, is_initiator)
        self.link = cast(Link, conn)
        self.send_window = self.recv_window = wire_limits.INITIAL_WINDOW_BYTES
        self.unread = Unread()
        self.target: Target | None = None
        self._window_bytes = wire_limits.INITIAL_WINDOW_BYTES
        self._ungranted_bytes = 0
        self._bytes_of_turn = 0
        self._readable = trio.Event()
        self._granted = trio.Event()
        self._turn = trio.Lock()

    def wake(self) -> None:
        """Something changed for readers and writers."""
        self._readable.set()
        self._granted.set()

    # --- reading

    def widen(self, window_bytes: int) -> None:
        """Let the peer send so much ahead of the reader."""
        more = window_bytes - self._window_bytes
        self._window_bytes = window_bytes
        if more > 0:
            self._grant(more)

    def _grant(self, count: int) -> None:
        self.recv_window += count
        self.link.queue_frame(yamux.TYPE_WINDOW_UPDATE, 0, self.stream_id, count)

    async def receive(self, max_bytes: int) -> bytes | memoryview:
        """Return 1 to `max_bytes` bytes; raises at the end of the stream or of the connection."""
        if self._bytes_of_turn >= wire_limits.READ_BYTES:
            self._bytes_of_turn = 0
            await trio.lowlevel.checkpoint()
        while not self.unread:
            await self._wait_readable()
        data = self.unread.take(max_bytes)
        self._on_read(len(data))
        return data

    async def fill(self, target: Target) -> None:
        """Fill memory: data that comes in while this waits is decrypted right into it."""
        while target.room_bytes:
            if self.unread:
                target.put(await self.receive(target.room_bytes))
                continue
            self.target = target
            try:
                await self._wait_readable()
            finally:
                self.target = None

    async def _wait_readable(self) -> None:
        if self.reset_received or self.link.is_over:
            raise MuxedStreamReset(self.link.fault or "connection closed")
        if self.recv_closed or self.closed:
            raise MuxedStreamEOF("the peer closed the stream")
        self._readable = trio.Event()
        self._bytes_of_turn = 0
        await self._readable.wait()

    def _on_read(self, count: int) -> None:
        self._bytes_of_turn += count
        self._ungranted_bytes += count
        if self._ungranted_bytes >= self._window_bytes // 2 and not (self.recv_closed or self.closed):
            count, self._ungranted_bytes = self._ungranted_bytes, 0
            self._grant(count)

    async def read(self, n: int | None = None) -> bytes:
        """Return what is there, up to `n` bytes: the call of the library's own protocols."""
        return bytes(await self.receive(wire_limits.READ_BYTES if n is None or n < 0 else n)) if n != 0 else b""

    # --- writing

    async def write(self, data: bytes | memoryview) -> None:
        """Send all of `data`, waiting while the window is empty or the socket full, for `WRITE_STALL_S` at most."""
        view = memoryview(data)
        with trio.CancelScope() as patience:
            async with self._turn:
                while view:
                    latest = trio.current_time() + wire_limits.WRITE_STALL_S
                    if abs(latest - patience.deadline) > wire_limits.WRITE_STALL_S / DEADLINE_STEPS:
                        patience.deadline = latest
                    await self._wait_for_window()
                    count = min(len(view), self.send_window, wire_limits.LARGE_PIECE_BYTES)
                    self.send_window -= count
                    await self.link.send_frame(self.stream_id, view[:count])
                    view = view[count:]
        if patience.cancelled_caught:
            await self.link.give_up(Fault.STALL, GAVE_UP)
            raise MuxedStreamError(GAVE_UP)

    async def _wait_for_window(self) -> None:
        session = self.link.session
        while True:
            if self.link.is_over or self.closed or self.send_closed:
                raise MuxedStreamError(self.link.fault or "the stream is closed for writing")
            if session.is_congested:
                await session.wait_writable()
            elif not self.send_window:
                self._granted = trio.Event()
                await self._granted.wait()
            else:
                return

    # --- what the muxer tells

    def on_data(self, piece: memoryview, buffer_bytes: int) -> None:
        """Data within the window came in: for the reader's memory if it waits with some, else to wait for a reader."""
        target = self.target
        if target is not None and not self.unread and target.room_bytes:
            fitting = piece[: target.room_bytes]
            target.put(fitting)
            self._on_read(len(fitting))
            piece = piece[len(fitting) :]
            if target.room_bytes:
                return
        if piece:
            self.unread.put(piece, buffer_bytes)
        self._readable.set()

    def find_room(self, max_bytes: int) -> memoryview | None:
        """Return where the next data go, if a reader waits with room for them."""
        target = self.target
        if target is None or self.unread:
            return None
        return target.view[target.filled_bytes : target.filled_bytes + max_bytes]

    def on_placed(self, count: int) -> None:
        """They went there."""
        assert self.target is not None, "there was room in it"
        self.target.advance(count)
        self._on_read(count)
        if not self.target.room_bytes:
            self._readable.set()

    def on_window(self, increment: int) -> None:
        """The reader at the other end grants more."""
        self.send_window += increment
        if self.send_window > wire_limits.MAX_SEND_WINDOW_BYTES:
            raise Rejected("it grants more than a window holds")
        self._granted.set()

    def on_flags(self, flags: int) -> None:
        """The peer closes its direction, or resets."""
        if flags & yamux.FLAG_FIN:
            self.recv_closed = True
            self.closed = self.send_closed
        if flags & yamux.FLAG_RST:
            self.closed = self.send_closed = self.recv_closed = self.reset_received = True
            self.unread.clear()
        self.wake()

    async def reset(self) -> None:
        """End both directions at once and forget what is unread."""
        await super().reset()
        self.unread.clear()
        self.wake()
