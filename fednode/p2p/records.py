"""Noise transport records: their sizes, their cipher, the memory they pass through, and their sum. No libp2p here."""

from __future__ import annotations

import struct
import threading
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

MAX_RECORD_BYTES = 65_535
TAG_BYTES = 16
LENGTH_BYTES = 2
MAX_PLAIN_BYTES = MAX_RECORD_BYTES - TAG_BYTES
MAX_SEALED_BYTES = LENGTH_BYTES + MAX_RECORD_BYTES

_NONCE = struct.Struct("<4xQ")
_LENGTH = struct.Struct(">H")

SOCKET_READ_BYTES = 512 * 1024
RECORDS_AT_ONCE = 5
"""Encrypted before they are written: a muxer's header and the largest piece behind it."""


class Scratch(threading.local):
    """Where all connections of an event loop receive and encrypt: used up without a turn of the loop between.

    It stays in the processor's cache, which a new piece of memory for every record does not.
    """

    def __init__(self) -> None:
        self.view = memoryview(bytearray(SOCKET_READ_BYTES))
        self.sealed = memoryview(bytearray(RECORDS_AT_ONCE * MAX_SEALED_BYTES))


@dataclass(slots=True)
class Traffic:
    """Bytes that went through sockets, encrypted and framed, on all connections together."""

    sent_bytes: int = 0
    received_bytes: int = 0


class RecordSink(Protocol):
    """Takes plaintext in order, as it is decrypted."""

    def find_room(self) -> memoryview | None:
        """Return where what comes next is to lie, and no further than that is known; it may be more than one record."""

    def on_placed(self, count: int) -> None:
        """So many bytes lie there now. Called before anything else is."""

    def on_record(self, plain: bytes) -> None:
        """The next bytes, if they had no room."""


class Plaintext:
    """A sink for those who read exact amounts: the names of muxers, before there is one."""

    __slots__ = ("_offset", "_records", "size_bytes")

    def __init__(self) -> None:
        self._records: deque[bytes] = deque()
        self._offset = 0
        self.size_bytes = 0

    def find_room(self) -> memoryview | None:
        """Return None: who will read how much is not known yet."""
        return None

    def on_placed(self, count: int) -> None:
        """Never called."""

    def on_record(self, plain: bytes) -> None:
        """Keep it."""
        if plain:
            self._records.append(plain)
            self.size_bytes += len(plain)

    @property
    def next_bytes(self) -> int:
        """Return how much of the first record is left; there must be one."""
        return len(self._records[0]) - self._offset

    def take(self, count: int) -> bytes:
        """Remove and return the next `count` bytes, which must be there."""
        self.size_bytes -= count
        parts: list[bytes] = []
        while count:
            first, start = self._records[0], self._offset
            if count < len(first) - start:
                self._offset = start + count
                parts.append(first[start : self._offset])
                break
            parts.append(first[start:] if start else first)
            count -= len(first) - start
            self._offset = 0
            self._records.popleft()
        return parts[0] if len(parts) == 1 else b"".join(parts)


class RecordCipher:
    """One direction's key and its 64-bit little-endian counter, as in the Noise specification, section 5.1."""

    __slots__ = ("_aead", "_counter")

    def __init__(self, key: bytes) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._counter = 0

    def _nonce(self) -> bytes:
        counter = self._counter
        self._counter = counter + 1
        return _NONCE.pack(counter)

    def seal_into(self, plain: bytes | memoryview, place: memoryview) -> int:
        """Encrypt the next record and put it behind its two length bytes; return how many bytes that were."""
        stop = LENGTH_BYTES + len(plain) + TAG_BYTES
        self._aead.encrypt_into(self._nonce(), plain, b"", place[LENGTH_BYTES:stop])
        _LENGTH.pack_into(place, 0, stop - LENGTH_BYTES)
        return stop

    def open(self, record: memoryview) -> bytes:
        """Decrypt the next record; raises `InvalidTag` on any change."""
        return self._aead.decrypt(self._nonce(), record, b"")

    def open_into(self, record: memoryview, place: memoryview) -> None:
        """The same into memory of the plaintext's length, whose content is undefined if this raises."""
        self._aead.decrypt_into(self._nonce(), record, b"", place)
