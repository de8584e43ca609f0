"""Blobs on a bulk stream: pushed when small, offered when large and resumed where an earlier transfer was cut.

Security assumption: the peer is authenticated and may send anything. Memory is reserved for wanted blobs only and costs
nothing until it is written; what a cut transfer leaves is kept for a short while, within a bound for all peers. A
prefix is used again only if both sides hold the same one by its BLAKE3, and the whole blob is checked once more.
Blobs are hashed by threads, in blocks, while the event loop goes on sending and receiving.

    small   prefix, data, hash
    large   prefix; the receiver's answer (wanted or not, how much it has, hash of that); start, data from there, hash
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import trio
from blake3 import blake3

from fednode.errors import Rejected
from fednode.ids import PeerId
from fednode.p2p import framing, wire_limits
from fednode.p2p.framing import Answer
from fednode.p2p.peers import SECOND_NS, TokenBucket
from fednode.p2p.queues import Blob
from fednode.p2p.rooms import Lease, Rooms
from fednode.p2p.stream import Stream, StreamEnded, StreamReader, Target

_threads = ThreadPoolExecutor(2, thread_name_prefix="blake3")
"""Apart from trio's own, so that the node's computations and these do not wait for each other."""


class _Hash:
    """A BLAKE3 that follows its data, in a thread, while the caller goes on."""

    __slots__ = ("_begun_bytes", "_blocks", "_digest", "_drained")

    def __init__(self) -> None:
        self._digest = blake3()
        self._begun_bytes = 0
        self._blocks: deque[memoryview] = deque()
        self._drained: Future[None] | None = None

    def advance(self, data: memoryview, end: int) -> None:
        """Hash up to `end` as soon as what comes before is hashed; what is hashed must not change any more."""
        block = data[self._begun_bytes : end]
        self._begun_bytes = end
        is_idle = self._drained is None or (self._drained.done() and not self._blocks)
        if is_idle and len(block) < wire_limits.INLINE_HASH_BYTES:
            self._digest.update(block)
            return
        self._blocks.append(block)
        if self._drained is None or self._drained.done():
            self._drained = _threads.submit(self._drain)

    def _drain(self) -> None:
        """Hash in a thread what was put down so far; one thread at a time does."""
        while self._blocks:
            self._digest.update(self._blocks.popleft())

    async def digest(self) -> bytes:
        """Return the hash of everything up to the last `end`."""
        while self._drained is not None:
            if not self._drained.done():
                await trio.to_thread.run_sync(self._drained.result)
            self._drained = _threads.submit(self._drain) if self._blocks else None
        return bytes(self._digest.digest())


class PartialBlob:
    """A blob as far as it has come; a large one lies in a room, which is free again when nobody holds its data."""

    __slots__ = ("_lease", "data", "hash", "header", "received_bytes")

    def __init__(self, header: bytes, size_bytes: int, rooms: Rooms) -> None:
        self.header = header
        self._lease: Lease | None = None
        if size_bytes >= wire_limits.OFFERED_BLOB_BYTES:
            self._lease = rooms.take(size_bytes)
        self.data = memoryview(bytearray(size_bytes)) if self._lease is None else self._lease.view
        self.hash = _Hash()
        self.received_bytes = 0

    def prepare(self) -> int:
        """Make memory ready for a block of what comes next; return where the block ends."""
        stop = min(len(self.data), self.received_bytes + wire_limits.HASH_BLOCK_BYTES)
        if self._lease is not None:
            self._lease.prepare(stop)
        return stop

    def trim(self) -> None:
        """Hold no more memory than what is here takes: the room may have been that of a longer blob."""
        if self._lease is not None:
            self._lease.trim(self.received_bytes)

    async def prefix_digest(self) -> bytes:
        """Return the hash of what is here."""
        self.hash.advance(self.data, self.received_bytes)
        return await self.hash.digest()


class _BlobTarget(Target):
    """The memory of a blob from where it stands; block by block it is made ready before and hashed behind."""

    __slots__ = ("_blob", "_stop")

    def __init__(self, blob: PartialBlob) -> None:
        super().__init__(blob.data[blob.received_bytes :])
        self._blob = blob
        self._stop = blob.prepare()

    def advance(self, count: int) -> None:
        """The next `count` bytes are there: no turn of the loop, so that what follows them finds its place too."""
        blob = self._blob
        blob.received_bytes += count
        if blob.received_bytes >= self._stop:
            blob.hash.advance(blob.data, blob.received_bytes)
            self._stop = blob.prepare()
        super().advance(count)


@dataclass(frozen=True, slots=True)
class _Kept:
    blob: PartialBlob
    until: float


class PartialBlobs:
    """What cut transfers left: one blob for each peer, bounded in bytes and in time; and the memory for new ones."""

    def __init__(self) -> None:
        self._rooms = Rooms()
        self._kept: dict[PeerId, _Kept] = {}

    @property
    def size_bytes(self) -> int:
        """Return how much memory is held."""
        return sum(kept.blob.received_bytes for kept in self._kept.values())

    def keep(self, peer: PeerId, blob: PartialBlob, now: float) -> None:
        """Keep what came in; the oldest make room."""
        self._kept.pop(peer, None)
        if not blob.received_bytes or blob.received_bytes > wire_limits.MAX_PARTIAL_BYTES:
            return
        while self.size_bytes + blob.received_bytes > wire_limits.MAX_PARTIAL_BYTES:
            del self._kept[next(iter(self._kept))]
        blob.trim()
        self._kept[peer] = _Kept(blob, now + wire_limits.PARTIAL_KEPT_S)

    def take(self, peer: PeerId, header: bytes, size_bytes: int) -> PartialBlob:
        """Remove and return what is kept of this blob, or a new one with nothing yet."""
        kept = self._kept.pop(peer, None)
        if kept is not None and kept.blob.header == header and len(kept.blob.data) == size_bytes:
            return kept.blob
        return self.new(header, size_bytes)

    def new(self, header: bytes, size_bytes: int) -> PartialBlob:
        """Return a blob with nothing yet."""
        return PartialBlob(header, size_bytes, self._rooms)

    def forget(self, peer: PeerId) -> None:
        """A peer is no longer a member."""
        self._kept.pop(peer, None)

    def expire(self, now: float) -> None:
        """Free what nobody has come back for."""
        for peer in [peer for peer, kept in self._kept.items() if kept.until <= now]:
            del self._kept[peer]
        self._rooms.expire(now)


class BlobSender:
    """Sends blobs on one stream, one after the other. Raises `StreamEnded`, and `Rejected` for a senseless answer."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._answers = StreamReader(stream)

    async def send(self, blob: Blob) -> None:
        """Send one blob, or as much of it as the receiver wants."""
        await self._stream.write(framing.blob_prefix(blob.header, len(blob.data)))
        if len(blob.data) < wire_limits.OFFERED_BLOB_BYTES:
            await self._write(blob.data)
            await self._stream.write(blake3(blob.data).digest())
            return
        answer = await self._hear_answer(len(blob.data))
        if not answer.is_wanted:
            return
        hashed = _Hash()
        if answer.have_bytes:
            hashed.advance(blob.data, answer.have_bytes)
        start = answer.have_bytes if await hashed.digest() == answer.digest else 0
        hashed.advance(blob.data, len(blob.data))
        await self._stream.write(framing.blob_start(start))
        await self._write(blob.data[start:])
        await self._stream.write(await hashed.digest())

    async def _hear_answer(self, size_bytes: int) -> Answer:
        with trio.move_on_after(wire_limits.WRITE_STALL_S):
            return Answer.from_bytes(await self._answers.exactly(framing.ANSWER_BYTES), size_bytes)
        raise StreamEnded("it does not answer an offer")

    async def _write(self, data: memoryview) -> None:
        for start in range(0, len(data), 4 * wire_limits.LARGE_PIECE_BYTES):
            await self._stream.write(data[start : start + 4 * wire_limits.LARGE_PIECE_BYTES])


class BlobReceiver:
    """Receives the blobs of one stream. Raises `StreamEnded`, and `Rejected` for broken framing."""

    def __init__(
        self,
        peer: PeerId,
        stream: Stream,
        reader: StreamReader,
        partials: PartialBlobs,
        is_wanted: Callable[[bytes, int], bool],
    ) -> None:
        self._peer = peer
        self._stream = stream
        self._reader = reader
        self._partials = partials
        self._is_wanted = is_wanted
        self._announcements = TokenBucket(wire_limits.BLOBS_PER_S, wire_limits.BLOBS_BURST)

    async def receive(self) -> tuple[bytes, memoryview | None] | None:
        """Return the next blob's header and data, no data if its hash does not fit; None for a refused one."""
        header_bytes, size_bytes = framing.parse_blob_prefix(await self._reader.exactly(framing.BLOB_PREFIX_BYTES))
        header = await self._reader.exactly(header_bytes)
        if not self._announcements.take(1.0, 1 + int(trio.current_time() * SECOND_NS)):
            raise Rejected("blobs without end")
        is_wanted = self._is_wanted(header, size_bytes)
        if size_bytes >= wire_limits.OFFERED_BLOB_BYTES:
            return await self._receive_offered(header, size_bytes, is_wanted)
        if not is_wanted:
            await self._skip(size_bytes + framing.BLOB_HASH_BYTES)
            return None
        blob = self._partials.new(header, size_bytes)
        return header, await self._receive_rest(blob)

    async def _receive_offered(
        self, header: bytes, size_bytes: int, is_wanted: bool
    ) -> tuple[bytes, memoryview | None] | None:
        if not is_wanted:
            await self._stream.write(Answer(False, 0, bytes(framing.BLOB_HASH_BYTES)).to_bytes())
            return None
        blob = self._partials.take(self._peer, header, size_bytes)
        is_whole = False
        try:
            have_bytes = blob.received_bytes
            await self._stream.write(Answer(True, have_bytes, await blob.prefix_digest()).to_bytes())
            start = framing.parse_blob_start(await self._reader.exactly(framing.BLOB_START_BYTES))
            if start not in (0, have_bytes):
                raise Rejected("blob that starts elsewhere than it was asked for")
            if start != have_bytes:
                blob.hash, blob.received_bytes = _Hash(), 0
            data = await self._receive_rest(blob)
            is_whole = True
        finally:
            if not is_whole:
                self._partials.keep(self._peer, blob, trio.current_time())
        return header, data

    async def _receive_rest(self, blob: PartialBlob) -> memoryview | None:
        await self._reader.fill(_BlobTarget(blob))
        fits = await self._reader.exactly(framing.BLOB_HASH_BYTES) == await blob.hash.digest()
        return blob.data if fits else None

    async def _skip(self, count: int) -> None:
        while count:
            count -= len(await self._reader.some(count))
