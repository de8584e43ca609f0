"""A TCP socket as libp2p's raw connection, without its locks and with writes that do not wait. Imports libp2p."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress

import trio
from libp2p.abc import IRawConnection
from libp2p.connection_types import ConnectionType
from libp2p.io.exceptions import ConnectionClosedError
from multiaddr import Multiaddr

from fednode.p2p import wire_limits
from fednode.p2p.addresses import format_multiaddr
from fednode.p2p.stream import Purse


class SocketConnection(IRawConnection):
    """One reader and one writer at a time, which the handshake and then `NoiseSession` guarantee.

    `trio` has switched Nagle's algorithm off on the socket.
    """

    def __init__(self, stream: trio.SocketStream, is_initiator: bool) -> None:
        self.is_initiator = is_initiator
        self._stream = stream
        self._stranger = Purse(wire_limits.STRANGER_BYTES)
        self._remote: tuple[str, int] | None = None
        self.is_held = False
        """Whether the library may not close it: a stranger that failed is let go late, so that it comes back late."""
        self.on_step: Callable[[], None] = lambda: None
        """Called with every answer of ours in the handshake."""
        self.on_admitted: Callable[[], None] = lambda: None
        """Called when the peer has proven to be a member."""
        with suppress(OSError):  # the other side may be gone already; the first read will say so
            stream.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NOTSENT_LOWAT, wire_limits.UNSENT_BYTES)
            host, port = stream.socket.getpeername()[:2]
            self._remote = (str(host), int(port))

    async def read(self, n: int | None = None) -> bytes:
        """Return up to `n` bytes of a handshake, none at the end; raises past what a stranger may send.

        `NoiseSession` reads past this, with `read_into`, once the peer has proven who it is.
        """
        allowed = self._stranger.allow(n)
        if not allowed:
            raise ConnectionClosedError("it sends too much before it has proven who it is")
        try:
            data = bytes(await self._stream.receive_some(allowed))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionClosedError("connection closed") from error
        self._stranger.spend(len(data))
        return data

    async def write(self, data: bytes) -> None:
        """Send all of `data`, a part of a handshake; raises past what a stranger is told."""
        if not self._stranger.answer():
            raise ConnectionClosedError("it asks too much before it has proven who it is")
        self.on_step()
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionClosedError("connection closed") from error

    async def wait_readable(self) -> None:
        """Wait for data or the end of the connection."""
        try:
            await trio.lowlevel.wait_readable(self._stream.socket.fileno())
        except (trio.ClosedResourceError, OSError) as error:
            raise ConnectionClosedError("connection closed") from error

    def read_into(self, buffer: memoryview) -> int | None:
        """Receive what is there: how many bytes, 0 at the end of the connection, None if there is nothing yet."""
        try:
            return os.readv(self._stream.socket.fileno(), [buffer])
        except BlockingIOError:
            return None
        except OSError as error:
            raise ConnectionClosedError("connection closed") from error

    async def wait_writable(self) -> None:
        """Wait until the kernel takes more."""
        try:
            await trio.lowlevel.wait_writable(self._stream.socket.fileno())
        except (trio.ClosedResourceError, OSError) as error:
            raise ConnectionClosedError("connection closed") from error

    def try_write(self, parts: Sequence[bytes | memoryview]) -> int:
        """Send what the kernel takes at once; returns how many bytes that were. Never while `write` is running."""
        try:
            return os.writev(self._stream.socket.fileno(), parts)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise ConnectionClosedError("connection closed") from error

    async def close(self) -> None:
        """Close the socket, unless it is held; wakes whoever reads or writes."""
        if not self.is_held:
            await self._stream.aclose()

    def get_remote_address(self) -> tuple[str, int] | None:
        """Return the remote end of the socket."""
        return self._remote

    def get_transport_addresses(self) -> list[Multiaddr]:
        """Return the remote end as a multiaddr."""
        return [Multiaddr(format_multiaddr(*self._remote))] if self._remote is not None else []

    def get_connection_type(self) -> ConnectionType:
        """Return how the peer is reached: always directly."""
        return ConnectionType.DIRECT
