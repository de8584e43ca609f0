"""Noise for members only: the standard `/noise` handshake and records, a membership check, and buffered records.

Security assumption: a peer id is the network key of a member; Noise XX proves possession of it and gives fresh keys
per connection (ChaCha20-Poly1305, 2^64 records before a nonce repeats). Whoever is not admitted is closed right after
the handshake, before a muxer or a stream exists. A record that does not decrypt closes the connection for good.

The records are those of the Noise specification as used by libp2p (two length bytes, at most 65 535 bytes), so a stock
py-libp2p or go-libp2p peer interoperates. What differs is the cost: many records are parsed out of one socket read
without copying them first, and what is written leaves in one system call without being joined, so that no writer ever
waits while it holds the muxer's lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from itertools import islice
from math import inf
from typing import Protocol, cast

import trio
from cryptography.exceptions import InvalidTag
from libp2p.abc import IRawConnection, ISecureConn
from libp2p.connection_types import ConnectionType
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.exceptions import RawConnError
from libp2p.peer.id import ID
from libp2p.security.base_session import BaseSession
from libp2p.security.exceptions import HandshakeFailure
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.security.secure_session import SecureSession
from multiaddr import Multiaddr

from fednode.ids import PeerId
from fednode.p2p import wire_limits
from fednode.p2p.libp2p.socket import SocketConnection
from fednode.p2p.records import (
    MAX_PLAIN_BYTES,
    MAX_SEALED_BYTES,
    TAG_BYTES,
    Plaintext,
    RecordCipher,
    RecordSink,
    Scratch,
    Traffic,
)

MAX_PARTS = 64
"""Pieces handed to the kernel in one call; it takes 1024 at most."""

_scratch = Scratch()

WhyRefused = Callable[[PeerId], str | None]
Spawn = Callable[[Callable[[], Coroutine[object, object, None]]], None]


class MemberRefused(HandshakeFailure):
    """The other side proved its peer id, and this node does not admit it."""


class _Cipher(Protocol):
    k: bytes


class _NoiseKeys(Protocol):
    cipher_state_encrypt: _Cipher
    cipher_state_decrypt: _Cipher


class _NoiseState(Protocol):
    noise_protocol: _NoiseKeys


class _FinishedHandshake(Protocol):
    """What `NoiseTransportReadWriter` holds after the handshake; py-libp2p does not type it."""

    noise_state: _NoiseState


class BrokenRecord(ConnectionClosedError):
    """A record is not what the peer encrypted."""


class PeerDoesNotRead(ConnectionClosedError):
    """Too much waits for the peer."""


class NoiseSession(BaseSession):
    """An encrypted connection whose reads and writes are buffered."""

    def __init__(self, inner: SecureSession, raw: IRawConnection, spawn: Spawn, traffic: Traffic) -> None:
        super().__init__(
            local_peer=inner.local_peer,
            local_private_key=inner.local_private_key,
            remote_peer=inner.remote_peer,
            remote_permanent_pubkey=inner.remote_permanent_pubkey,
            is_initiator=inner.is_initiator,
        )
        keys = cast(_FinishedHandshake, inner.conn).noise_state.noise_protocol
        self._raw = raw
        self._socket = raw if isinstance(raw, SocketConnection) else None
        self._spawn = spawn
        self._traffic = traffic
        self._sealer = RecordCipher(keys.cipher_state_encrypt.k)
        self._opener = RecordCipher(keys.cipher_state_decrypt.k)
        self._part = b""
        self._plain = Plaintext()
        self._sink: RecordSink = self._plain
        self._unwritten: deque[bytes | memoryview] = deque()
        self._unwritten_bytes = 0
        self._queued_bytes = 0
        self._is_flushing = False
        self._room = trio.Event()
        self._closed = False

    # --- reading

    def _parse(self, text: memoryview) -> None:
        """Decrypt the whole records in `text` and keep the part of one behind them."""
        position, end = 0, len(text)
        sink, filled = self._sink, 0
        room = sink.find_room()
        try:
            while end - position >= 2:
                stop = position + 2 + (text[position] << 8 | text[position + 1])
                if stop > end:
                    break
                count = stop - position - 2 - TAG_BYTES
                if count < 0:
                    raise BrokenRecord("record too short")
                if room is not None and filled + count <= len(room):
                    self._opener.open_into(text[position + 2 : stop], room[filled : filled + count])
                    filled += count
                else:
                    if filled:
                        placed, filled = filled, 0
                        sink.on_placed(placed)
                    sink.on_record(self._opener.open(text[position + 2 : stop]))
                    room = sink.find_room()
                position = stop
        except InvalidTag:
            raise BrokenRecord("record does not decrypt") from None
        finally:
            if filled:
                sink.on_placed(filled)
        self._part = bytes(text[position:])

    async def _read_socket(self) -> memoryview | None:
        """Return what came in behind the part of a record that was there; None at the end of the connection."""
        if self._socket is None:
            data = await self._raw.read(len(_scratch.view))
            self._traffic.received_bytes += len(data)
            return memoryview(self._part + data) if data else None
        count = None
        while count is None:
            await self._socket.wait_readable()
            start = len(self._part)
            scratch = _scratch.view
            scratch[:start] = self._part
            count = self._socket.read_into(scratch[start:])
        self._traffic.received_bytes += count
        return scratch[: start + count] if count else None

    async def _pump(self) -> bool:
        """Read from the socket once; False at the end of the connection."""
        if self._closed:
            await self.abort()
            return False
        text = await self._read_socket()
        if text is None:
            return False
        try:
            self._parse(text)
        except ConnectionClosedError:
            await self.abort()
            raise
        return True

    async def pump_into(self, sink: RecordSink) -> None:
        """Hand everything to `sink` until the connection ends; what it raises ends this too."""
        self._sink = sink
        if self._plain.size_bytes:
            sink.on_record(self._plain.take(self._plain.size_bytes))
        while await self._pump():
            pass

    async def read(self, n: int | None = None) -> bytes:
        """Return exactly `n` bytes, fewer only at the end of the connection; without `n` the next record's rest."""
        plain = self._plain
        while plain.size_bytes < (1 if n is None else n):
            if not await self._pump():
                if plain.size_bytes:
                    return plain.take(plain.size_bytes)
                raise ConnectionClosedError("connection closed")
        return plain.take(plain.next_bytes if n is None else n)

    # --- writing

    def queue(self, data: bytes, body: bytes | memoryview = b"") -> None:
        """Encrypt `data` and the `body` behind it and send them, or keep what the kernel does not take for a task.

        A body that does not fit into one record with `data` is encrypted where it is, in records of its own.
        Raises when the connection is closed, or when its peer has not been reading for too long.
        """
        self._put(data, body)
        if self._unwritten and not self._is_flushing:
            self._is_flushing = True
            self._spawn(self._flush)

    async def send(self, data: bytes, body: bytes | memoryview = b"") -> None:
        """The same, and wait until the kernel has most of it: the caller flushes itself instead of a new task.

        It flushes no further than what it sent, so that it does not work for others while it is waited for.
        """
        self._put(data, body)
        if not self._unwritten:
            await trio.lowlevel.checkpoint()
        elif self._is_flushing:
            await self.wait_writable()
        else:
            self._is_flushing = True
            await self._flush(self._queued_bytes)

    def _put(self, data: bytes, body: bytes | memoryview) -> None:
        if self._closed:
            raise ConnectionClosedError("connection closed")
        if body and len(data) + len(body) <= MAX_PLAIN_BYTES:
            data, body = b"".join((data, body)), b""
        sealed, used = _scratch.sealed, 0
        for view in (memoryview(data), memoryview(body)):
            for start in range(0, len(view), MAX_PLAIN_BYTES):
                if len(sealed) - used < MAX_SEALED_BYTES:
                    self._hand_over(sealed[:used])
                    used = 0
                used += self._sealer.seal_into(view[start : start + MAX_PLAIN_BYTES], sealed[used:])
        self._hand_over(sealed[:used])
        if self._unwritten_bytes > wire_limits.MAX_UNWRITTEN_BYTES_PER_LINK:
            self._closed = True
            self._spawn(self.abort)
            raise PeerDoesNotRead("the peer does not read")

    def _hand_over(self, text: memoryview) -> None:
        """Write records at once, if none wait before them; keep a copy of what the kernel does not take."""
        self._queued_bytes += len(text)
        if self._socket is not None and not self._unwritten and not self._is_flushing:
            sent = self._socket.try_write((text,))
            self._traffic.sent_bytes += sent
            text = text[sent:]
        if text:
            self._unwritten.append(bytes(text))
            self._unwritten_bytes += len(text)

    def _write_some(self) -> None:
        """Hand the kernel what it takes at once."""
        if self._socket is None:
            return
        waiting = self._unwritten
        while waiting:
            sent = self._socket.try_write(list(islice(waiting, MAX_PARTS)))
            if not sent:
                return
            self._unwritten_bytes -= sent
            self._traffic.sent_bytes += sent
            while sent:
                part = waiting[0]
                if sent < len(part):
                    waiting[0] = memoryview(part)[sent:]
                    return
                sent -= len(waiting.popleft())

    async def write(self, data: bytes) -> None:
        """Queue `data`; never waits, so that nobody holds the muxer's lock for long."""
        self.queue(data)

    async def _flush(self, goal_bytes: float = inf) -> None:
        """Write until `goal_bytes` of all that was ever queued are written; nobody else does meanwhile."""
        try:
            while self._unwritten and not self._closed and self._queued_bytes - self._unwritten_bytes < goal_bytes:
                if self._socket is not None:
                    await self._socket.wait_writable()
                    self._write_some()
                else:
                    batch = b"".join(self._unwritten)
                    self._unwritten.clear()
                    await self._raw.write(batch)
                    self._unwritten_bytes -= len(batch)
                    self._traffic.sent_bytes += len(batch)
                if self._unwritten_bytes < wire_limits.WRITE_MARK_BYTES:
                    self._wake_writers()
        except (ConnectionClosedError, RawConnError):
            await self.abort()
        finally:
            self._is_flushing = False
            self._wake_writers()
            if self._unwritten and not self._closed:  # what is encrypted must leave, in order, also when cancelled
                self._is_flushing = True
                self._spawn(self._flush)

    def _wake_writers(self) -> None:
        self._room.set()
        self._room = trio.Event()

    @property
    def is_congested(self) -> bool:
        """Return whether writers should wait."""
        return self._unwritten_bytes >= wire_limits.WRITE_MARK_BYTES and not self._closed

    async def wait_writable(self) -> None:
        """Wait until data may be written; call it before taking the muxer's lock, never while holding it."""
        while self.is_congested:
            await self._room.wait()

    # --- the rest of a secured connection

    async def abort(self) -> None:
        """Close the socket at once, whatever is still queued; wakes everybody who waits on it."""
        self._closed = True
        self._wake_writers()
        await self._raw.close()

    async def close(self) -> None:
        """Send what is queued, for a moment at most, then close the socket."""
        with trio.move_on_after(0.2):
            while self._is_flushing and not self._closed:
                await self._room.wait()
        await self.abort()

    def get_remote_address(self) -> tuple[str, int] | None:
        """Return the remote end of the socket."""
        return self._raw.get_remote_address()

    def get_transport_addresses(self) -> list[Multiaddr]:
        """Return the remote end as multiaddrs."""
        return self._raw.get_transport_addresses()

    def get_connection_type(self) -> ConnectionType:
        """Return how the peer is reached: always directly."""
        return self._raw.get_connection_type()


class MemberNoise(NoiseTransport):
    """Noise that admits only whom `why_refused` lets through, inbound and outbound."""

    def __init__(
        self, key_pair: KeyPair, why_refused: WhyRefused, spawn: Spawn, traffic: Traffic | None = None
    ) -> None:
        super().__init__(key_pair, noise_privkey=create_x25519_key_pair().private_key)
        self._why_refused = why_refused
        self._spawn = spawn
        self._traffic = Traffic() if traffic is None else traffic

    async def _admit(self, secured: ISecureConn, raw: IRawConnection) -> ISecureConn:
        inner = cast(SecureSession, secured)
        if isinstance(raw, SocketConnection):
            raw.is_held = False  # it has proven who it is: it learns at once where it stands
        reason = self._why_refused(PeerId(inner.get_remote_peer().to_base58()))
        if reason is not None:
            await raw.close()
            raise MemberRefused(reason)
        if isinstance(raw, SocketConnection):
            raw.on_admitted()
        return NoiseSession(inner, raw, self._spawn, self._traffic)

    async def secure_inbound(self, conn: IRawConnection) -> ISecureConn:
        """Answer a handshake, then admit or refuse its peer."""
        return await self._admit(await super().secure_inbound(conn), conn)

    async def secure_outbound(self, conn: IRawConnection, peer_id: ID) -> ISecureConn:
        """Start a handshake with exactly `peer_id`, then admit or refuse it."""
        return await self._admit(await super().secure_outbound(conn, peer_id), conn)
