"""Protocol names, the lines in which two sides agree on what they speak: bounded before they are read. Imports libp2p.

Security assumption: none about who sends them. The library reads a line of whatever length its first bytes promise; so
every reader it is given here has a purse, and a line that does not fit ends the connection or the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from libp2p.abc import IMuxedConn, ISecureConn
from libp2p.custom_types import TMuxerClass, TProtocol
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.peer.id import ID
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_PROTOCOL_ID

from fednode.p2p import wire_limits
from fednode.p2p.libp2p.muxer import PROTOCOL_ID, MemberYamux
from fednode.p2p.stream import Purse


class Pipe(Protocol):
    """What lines are read from and written to."""

    async def read(self, n: int, /) -> bytes | memoryview:
        """Return up to `n` bytes."""
        ...

    async def write(self, data: bytes, /) -> object:
        """Send."""
        ...


class Lines:
    """What the library's negotiation reads from: bytes, never views, and never more than the purse holds."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._purse = Purse(wire_limits.MAX_NEGOTIATION_BYTES)

    async def read(self, n: int | None = None) -> bytes:
        """Return up to `n` bytes; raises `ConnectionClosedError` past the bound."""
        if n == 0:
            return b""
        allowed = self._purse.allow(n)
        if not allowed:
            raise ConnectionClosedError("it says too much before it says what for")
        data = bytes(await self._pipe.read(allowed))
        self._purse.spend(len(data))
        return data

    async def write(self, data: bytes) -> None:
        """Send a line; raises `ConnectionClosedError` past the bound."""
        if not self._purse.answer():
            raise ConnectionClosedError("it asks too much before it says what for")
        await self._pipe.write(data)


def communicator(pipe: Pipe) -> MultiselectCommunicator:
    """Return what the library negotiates with."""
    return MultiselectCommunicator(cast(ReadWriteCloser, Lines(pipe)))


class MemberMuxers(MuxerMultistream):
    """Agrees on a name for the muxer; both names mean our own, whose windows hold.

    The library builds its own yamux for the second name, whatever it is told: that one enforces neither its windows
    nor the number of streams.
    """

    def __init__(self, make: Callable[[ISecureConn, ID], MemberYamux]) -> None:
        super().__init__(
            {PROTOCOL_ID: cast(TMuxerClass, make), TProtocol(YAMUX_PROTOCOL_ID): cast(TMuxerClass, make)},
            int(wire_limits.HANDSHAKE_TIMEOUT_S),
        )
        self._make = make

    async def new_conn(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        """Return the muxed connection."""
        lines = cast(ReadWriteCloser, Lines(cast(Pipe, conn)))
        name, _ = await self._selector.select(lines, conn.is_initiator, self.negotiate_timeout)
        return self._annotate_connection(self._make(conn, peer_id), conn, name)
