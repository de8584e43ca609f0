"""Noise transport records: their sizes, their cipher, who takes what is in them, and their sum. No libp2p here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

MAX_RECORD_BYTES = 65_535
TAG_BYTES = 16
MAX_PLAIN_BYTES = MAX_RECORD_BYTES - TAG_BYTES


@dataclass(slots=True)
class Traffic:
    """Bytes that went through sockets, encrypted and framed, on all connections together."""

    sent_bytes: int = 0
    received_bytes: int = 0


class RecordSink(Protocol):
    """Takes plaintext in order, as it is decrypted."""

    def find_place(self, count: int) -> memoryview | None:
        """Return where the next `count` bytes are to lie if that is known already."""

    def on_placed(self, count: int) -> None:
        """They lie there."""

    def on_record(self, plain: bytes) -> None:
        """The next bytes, if no place was named."""


class RecordCipher:
    """One direction's key and its 64-bit little-endian counter, as in the Noise specification, section 5.1."""

    __slots__ = ("_aead", "_counter")

    def __init__(self, key: bytes) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._counter = 0

    def _nonce(self) -> bytes:
        nonce = bytes(4) + self._counter.to_bytes(8, "little")
        self._counter += 1
        return nonce

    def seal(self, plain: bytes | memoryview) -> bytes:
        """Encrypt the next record."""
        return self._aead.encrypt(self._nonce(), plain, b"")

    def open(self, record: memoryview) -> bytes:
        """Decrypt the next record; raises `InvalidTag` on any change."""
        return self._aead.decrypt(self._nonce(), record, b"")

    def open_into(self, record: memoryview, place: memoryview) -> None:
        """The same into memory of the plaintext's length, whose content is undefined if this raises."""
        self._aead.decrypt_into(self._nonce(), record, b"", place)
