"""One connection to one peer: the four stream loops, keep-alives and the hello. No libp2p here.

Life of a link: opened -> both hellos exchanged and equal -> up -> ended (once, with one reason). Whatever ends it, the
whole connection is closed and the mesh dials again; a half-working connection is never kept.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import trio

from fednode.errors import Rejected
from fednode.fence import foreign
from fednode.ids import PeerId
from fednode.p2p import framing, wire_limits
from fednode.p2p.blobs import BlobReceiver, BlobSender, PartialBlobs
from fednode.p2p.framing import Hello
from fednode.p2p.network import Channel
from fednode.p2p.queues import BlobOutbox, Outbox
from fednode.p2p.stream import Stream, StreamEnded, StreamReader

MAX_SHORT_FRAMES = 16
"""Frames that wait for one connection by itself: a few every five seconds."""


class Connection(Protocol):
    """An authenticated, multiplexed connection to a member."""

    @property
    def peer(self) -> PeerId:
        """Return the authenticated peer."""
        ...

    @property
    def address(self) -> str:
        """Return the remote end of the socket."""
        ...

    async def open_stream(self, channel: Channel) -> Stream:
        """Open our direction of a channel; raises `StreamEnded`."""
        ...

    async def abort(self) -> None:
        """Close at once, never waiting for the peer."""
        ...


class LinkOwner(Protocol):
    """What a link tells the mesh."""

    def on_hello(self, link: Link) -> None:
        """Both hellos are exchanged and equal."""

    def on_mismatch(self, link: Link, reason: str) -> None:
        """The peer runs something else."""

    def on_frame(self, link: Link, data: bytes) -> None:
        """A frame came in."""

    def on_misbehaviour(self, link: Link, reason: str) -> None:
        """The peer broke the framing."""

    def wants_blob(self, link: Link, header: bytes, size_bytes: int) -> bool:
        """Decide on a blob before anything is reserved for it."""
        ...

    def on_blob(self, link: Link, header: bytes, data: memoryview) -> None:
        """A whole blob came in and its hash fits."""

    def on_broken_blob(self, link: Link) -> None:
        """A blob came in whose hash does not fit."""


class _Signal:
    """Wakes one waiting task; a set signal stays set until it is waited for."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = trio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event = trio.Event()


class Link:
    """The loops of one connection; `active` links drain the peer's queues, the others only keep alive."""

    def __init__(
        self,
        owner: LinkOwner,
        connection: Connection,
        hello: Hello,
        frames: Outbox,
        blobs: BlobOutbox,
        partials: PartialBlobs,
    ) -> None:
        self.connection = connection
        self.peer = connection.peer
        self.heard_at = trio.current_time()
        self.is_up = False
        self.is_active = False
        self.reason: str | None = None
        self._owner = owner
        self._hello = hello
        self._frames = frames
        self._short: deque[bytes] = deque(maxlen=MAX_SHORT_FRAMES)
        self._blobs = blobs
        self._partials = partials
        self._frames_waiting = _Signal()
        self._blobs_waiting = _Signal()
        self._has_said_hello = False
        self._has_heard_hello = False
        self._scope = trio.CancelScope()
        self._served: dict[Channel, trio.CancelScope] = {}
        self._up = trio.Event()

    # --- state

    def fail(self, reason: str) -> None:
        """End the link; the first reason counts."""
        if self.reason is None:
            self.reason = reason
            self._scope.cancel()
            for scope in self._served.values():
                scope.cancel()

    def activate(self) -> None:
        """Let this link drain the peer's queues."""
        self.is_active = True
        self.wake_frames()
        self.wake_blobs()

    def put_short(self, data: bytes) -> bool:
        """Queue a short frame for this very connection, active or not; the oldest makes room."""
        self._short.append(framing.frame(data))
        self.wake_frames()
        return True

    def wake_frames(self) -> None:
        """A frame was queued."""
        self._frames_waiting.set()

    def wake_blobs(self) -> None:
        """A blob was queued."""
        self._blobs_waiting.set()

    def _on_read(self) -> None:
        self.heard_at = trio.current_time()

    def _on_hello_progress(self) -> None:
        if self._has_said_hello and self._has_heard_hello and self.reason is None and not self.is_up:
            self.is_up = True
            self._owner.on_hello(self)
            self._up.set()

    # --- our direction

    async def run(self) -> str:
        """Serve our two outgoing streams until the link ends; returns the reason. Closes the connection."""
        try:
            with self._scope:
                try:
                    with trio.fail_after(wire_limits.HANDSHAKE_TIMEOUT_S):
                        stream = await self.connection.open_stream(Channel.CONSENSUS)
                        await stream.write(self._hello.to_bytes())
                    self._has_said_hello = True
                    self._on_hello_progress()
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._write_blobs)
                        nursery.start_soon(self._write_frames, stream)
                except* StreamEnded as group:
                    self.fail(str(group.exceptions[0]))
                except* Rejected as group:
                    self._reject(str(group.exceptions[0]))
                except* trio.TooSlowError:
                    self.fail("no stream could be opened in time")
        finally:
            with trio.CancelScope(shield=True):
                await self.connection.abort()
        return self.reason or "closed"

    async def _write_frames(self, stream: Stream) -> None:
        while True:
            batch = self._short.popleft() if self._short else self._frames.take() if self.is_active else b""
            if not batch:
                with trio.move_on_after(wire_limits.KEEPALIVE_S) as pause:
                    await self._frames_waiting.wait()
                if not pause.cancelled_caught:
                    continue
                batch = framing.KEEPALIVE
            if len(batch) <= wire_limits.PIECE_BYTES:
                await stream.write(batch)
            else:
                await self._write_pieces(stream, memoryview(batch))

    async def _write_pieces(self, stream: Stream, data: memoryview) -> None:
        for start in range(0, len(data), wire_limits.PIECE_BYTES):
            await stream.write(data[start : start + wire_limits.PIECE_BYTES])

    async def _write_blobs(self) -> None:
        await self._blobs_waiting.wait()
        with trio.fail_after(wire_limits.HANDSHAKE_TIMEOUT_S):
            stream = await self.connection.open_stream(Channel.BULK)
            await stream.write(self._hello.to_bytes())
        sender = BlobSender(stream)
        while True:
            blob = self._blobs.take() if self.is_active else None
            if blob is None:
                await self._blobs_waiting.wait()
            else:
                await sender.send(blob)

    # --- the peer's direction

    async def serve(self, channel: Channel, stream: Stream) -> None:
        """Read one incoming stream until it or the link ends; anything it breaks ends the link."""
        try:
            if channel in self._served:
                raise Rejected(f"a second {channel.value} stream")
            with (
                foreign(f"a {channel.value} stream", StreamEnded, trio.TooSlowError),
                trio.CancelScope() as self._served[channel],
            ):
                if channel is Channel.CONSENSUS:
                    await self._read_frames(stream)
                else:
                    await self._read_blobs(stream)
        except StreamEnded as ended:
            self.fail(str(ended))
        except Rejected as rejected:
            self._reject(rejected.reason)
        except trio.TooSlowError:
            self.fail("it did not say hello in time")

    def _reject(self, reason: str) -> None:
        self._owner.on_misbehaviour(self, reason)
        self.fail(reason)

    async def _check_hello(self, payload: bytes) -> bool:
        reason = self._hello.mismatch(Hello.from_frame(payload))
        if reason is None:
            return True
        if self.reason is None:
            self._owner.on_mismatch(self, reason)
            # The peer needs our hello to name the mismatch as well; it went out when the link was opened.
            await trio.sleep(wire_limits.REFUSED_GRACE_S)
        self.fail(reason)
        return False

    async def _read_frames(self, stream: Stream) -> None:
        splitter = framing.FrameSplitter()
        frames: list[bytes] = []
        with trio.fail_after(wire_limits.HANDSHAKE_TIMEOUT_S):
            while not frames:
                frames = splitter.feed(await stream.read(wire_limits.PIECE_BYTES))
        if not await self._check_hello(frames.pop(0)):
            return
        self._has_heard_hello = True
        self._on_hello_progress()
        await self._up.wait()
        while self.reason is None:
            self.heard_at = trio.current_time()
            for data in frames:
                if data:
                    self._owner.on_frame(self, data)
            frames = splitter.feed(await stream.read(wire_limits.READ_BYTES))

    async def _read_blobs(self, stream: Stream) -> None:
        reader = StreamReader(stream, self._on_read)
        with trio.fail_after(wire_limits.HANDSHAKE_TIMEOUT_S):
            size_bytes = int.from_bytes(await reader.exactly(4), "big")
            if size_bytes > wire_limits.MAX_HELLO_BYTES:
                raise Rejected(f"hello of {size_bytes} bytes")
            hello = await reader.exactly(size_bytes)
        if not await self._check_hello(hello):
            return
        await self._up.wait()
        receiver = BlobReceiver(
            self.peer, stream, reader, self._partials, lambda header, size: self._owner.wants_blob(self, header, size)
        )
        while self.reason is None:
            blob = await receiver.receive()
            if blob is None:
                continue
            header, data = blob
            if data is not None:
                self._owner.on_blob(self, header, data)
            else:
                self._owner.on_broken_blob(self)
            del blob, data  # or its memory would not be free for the next one
