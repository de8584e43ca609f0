"""One direction of a stream between two members, and exact reads from it. No libp2p here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from fednode.p2p import wire_limits


class StreamEnded(Exception):
    """The stream or its connection is gone; the text is one short phrase."""


class Stream(Protocol):
    """One direction of a long-lived stream. Both calls raise only `StreamEnded`."""

    async def read(self, max_bytes: int) -> bytes | memoryview:
        """Return at least one byte."""
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
