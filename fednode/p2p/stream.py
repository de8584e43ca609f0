"""One direction of a stream between two members, and exact reads from it. No libp2p here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from fednode.p2p import wire_limits


class StreamEnded(Exception):
    """The stream or its connection is gone; the text is one short phrase."""


class Target:
    """Memory for a stream to fill; `filled_bytes` is right also when the stream ends on the way."""

    __slots__ = ("filled_bytes", "on_progress", "view")

    def __init__(self, view: memoryview) -> None:
        self.view = view
        self.filled_bytes = 0
        self.on_progress: Callable[[], None] = lambda: None
        """Called for every piece: on a slow line the memory is not full for minutes, and the peer is not silent."""

    @property
    def room_bytes(self) -> int:
        """Return how much is missing."""
        return len(self.view) - self.filled_bytes

    def put(self, piece: bytes | memoryview) -> None:
        """Copy a piece behind what is there; it must fit."""
        self.view[self.filled_bytes : self.filled_bytes + len(piece)] = piece
        self.advance(len(piece))

    def advance(self, count: int) -> None:
        """The next `count` bytes are there."""
        self.filled_bytes += count
        self.on_progress()


class Stream(Protocol):
    """One direction of a long-lived stream. All calls raise only `StreamEnded`."""

    async def read(self, max_bytes: int) -> bytes | memoryview:
        """Return at least one byte."""
        ...

    async def fill(self, target: Target) -> None:
        """Fill all the memory; returns at once if it is full."""
        ...

    async def write(self, data: bytes | memoryview) -> None:
        """Hand data to the connection, waiting while it is congested."""
        ...


class StreamReader:
    """Reads exact amounts from a stream."""

    __slots__ = ("_chunk", "_on_read", "_stream")

    def __init__(self, stream: Stream, on_read: Callable[[], None] = lambda: None) -> None:
        self._stream = stream
        self._on_read = on_read
        self._chunk = memoryview(b"")

    async def some(self, max_bytes: int) -> memoryview:
        """Return between 1 and `max_bytes` bytes."""
        if not self._chunk:
            self._chunk = memoryview(await self._stream.read(wire_limits.READ_BYTES))
            self._on_read()
        part, self._chunk = self._chunk[:max_bytes], self._chunk[max_bytes:]
        return part

    async def exactly(self, count: int) -> bytes:
        """Return `count` bytes."""
        parts = []
        while count:
            part = await self.some(count)
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    async def fill(self, target: Target) -> None:
        """Fill memory, as far as possible without a copy of our own."""
        if self._chunk:
            target.put(await self.some(target.room_bytes))
        target.on_progress = self._on_read
        await self._stream.fill(target)


class Purse:
    """How much may still be read, and answered, before it is known what it is for."""

    __slots__ = ("_answers", "_left_bytes")

    def __init__(self, size_bytes: int) -> None:
        self._left_bytes = size_bytes
        self._answers = wire_limits.MAX_ANSWERS

    def answer(self) -> bool:
        """Whether to say one more thing."""
        self._answers -= 1
        return self._answers >= 0

    def allow(self, wanted: int | None) -> int:
        """Return how many bytes may be read at once when `wanted` are asked for; 0: it is empty."""
        return self._left_bytes if wanted is None else min(wanted, self._left_bytes)

    def spend(self, count: int) -> None:
        """So many were read."""
        self._left_bytes -= count
