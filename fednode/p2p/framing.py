"""Bytes on the two streams. Pure: bytes in, frames out.

Consensus stream:  hello frame, then frames;  frame = u32 length, payload; an empty frame keeps the link alive.
Bulk stream:       hello frame, then blobs;   blob  = u32 header length, u64 size, header, data, BLAKE3 of data;
                   a large blob waits behind its header for the receiver's answer on the same stream (u8 wanted,
                   u64 bytes it has, BLAKE3 of those) and goes on with u64 start, data from there, BLAKE3 of all data.
All integers are big-endian. The hello never changes its first 40 bytes, so that any two versions can name each other.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fednode.errors import Rejected
from fednode.p2p import wire_limits

_LENGTH = struct.Struct(">I")
_HELLO = struct.Struct(">4sI32s")
_HELLO_MAGIC = b"FEDN"
_BLOB = struct.Struct(">IQ")

_START = struct.Struct(">Q")
_ANSWER = struct.Struct(">BQ32s")

BLOB_PREFIX_BYTES = _BLOB.size
BLOB_START_BYTES = _START.size
ANSWER_BYTES = _ANSWER.size
BLOB_HASH_BYTES = 32
KEEPALIVE = _LENGTH.pack(0)


def frame(data: bytes) -> bytes:
    """Return `data` behind its length."""
    return _LENGTH.pack(len(data)) + data


@dataclass(frozen=True, slots=True)
class Hello:
    """Who we are on the wire: protocol version and 32-byte chain id."""

    protocol_version: int
    chain_id: bytes

    def to_bytes(self) -> bytes:
        """Return the framed hello."""
        return frame(_HELLO.pack(_HELLO_MAGIC, self.protocol_version, self.chain_id))

    @classmethod
    def from_frame(cls, payload: bytes) -> Hello:
        """Parse a hello's payload; a longer one of a later version is read as far as it is known."""
        if not _HELLO.size <= len(payload) <= wire_limits.MAX_HELLO_BYTES:
            raise Rejected(f"hello of {len(payload)} bytes")
        magic, version, chain_id = _HELLO.unpack_from(payload)
        if magic != _HELLO_MAGIC:
            raise Rejected("hello without the fednode mark")
        return cls(version, chain_id)

    def mismatch(self, theirs: Hello) -> str | None:
        """Return why `theirs` cannot talk to us, naming both sides; None when it can."""
        if theirs.protocol_version != self.protocol_version:
            return f"it speaks protocol version {theirs.protocol_version}, this node speaks {self.protocol_version}"
        if theirs.chain_id != self.chain_id:
            return f"it follows chain {theirs.chain_id.hex()[:16]}, this node follows {self.chain_id.hex()[:16]}"
        return None


class FrameSplitter:
    """Cuts a byte stream into frames, never holding more than one frame and one read."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> list[bytes]:
        """Return the frames that `data` completes, empty ones included; raises `Rejected` on an oversized one."""
        buffer = self._buffer
        if buffer:
            buffer += data
            source: bytes | bytearray | memoryview = buffer
        else:
            source = data
        frames: list[bytes] = []
        position, end = 0, len(source)
        while end - position >= 4:
            (length,) = _LENGTH.unpack_from(source, position)
            if length > wire_limits.MAX_FRAME_BYTES:
                raise Rejected(f"frame of {length} bytes")
            stop = position + 4 + length
            if stop > end:
                break
            frames.append(bytes(source[position + 4 : stop]))
            position = stop
        if source is buffer:
            del buffer[:position]
        elif position < end:
            buffer += memoryview(data)[position:]
        return frames


def blob_prefix(header: bytes, size_bytes: int) -> bytes:
    """Return what precedes a blob's data."""
    return _BLOB.pack(len(header), size_bytes) + header


def parse_blob_prefix(prefix: bytes) -> tuple[int, int]:
    """Return (header length, data length) in bytes; raises `Rejected` beyond the limits."""
    header_bytes, size_bytes = _BLOB.unpack(prefix)
    if header_bytes > wire_limits.MAX_BLOB_HEADER_BYTES:
        raise Rejected(f"blob header of {header_bytes} bytes")
    if size_bytes > wire_limits.MAX_BLOB_BYTES:
        raise Rejected(f"blob of {size_bytes} bytes")
    return header_bytes, size_bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver says to the offer of a large blob: `digest` is the BLAKE3 of the `have_bytes` it holds."""

    is_wanted: bool
    have_bytes: int
    digest: bytes

    def to_bytes(self) -> bytes:
        """Return the answer's bytes."""
        return _ANSWER.pack(self.is_wanted, self.have_bytes, self.digest)

    @classmethod
    def from_bytes(cls, data: bytes, size_bytes: int) -> Answer:
        """Parse the answer to an offer of `size_bytes`; raises `Rejected` when it makes no sense."""
        verdict, have_bytes, digest = _ANSWER.unpack(data)
        if verdict > 1 or have_bytes > size_bytes:
            raise Rejected("answer to a blob that makes no sense")
        return cls(bool(verdict), have_bytes, digest)


def blob_start(position: int) -> bytes:
    """Return what says where the data of an offered blob begin."""
    return _START.pack(position)


def parse_blob_start(data: bytes) -> int:
    """Return where the data of an offered blob begin."""
    (position,) = _START.unpack(data)
    return int(position)
