"""Bounded queues: what waits for a peer and what waits for this node. Pure and synchronous."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from fednode.ids import PeerId
from fednode.p2p import wire_limits
from fednode.p2p.framing import frame
from fednode.p2p.network import NetworkEvent


class Outbox:
    """Frames waiting for one peer, bounded by count and by bytes; the newest is refused when full."""

    __slots__ = ("_frames", "size_bytes")

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, data: bytes) -> bool:
        """Queue a frame; False when it does not fit."""
        if len(self._frames) >= wire_limits.MAX_OUTBOX_FRAMES:
            return False
        if self.size_bytes + len(data) > wire_limits.MAX_OUTBOX_BYTES:
            return False
        self._frames.append(data)
        self.size_bytes += len(data)
        return True

    def take(self) -> bytes:
        """Remove and return the next frames, length-prefixed and joined into one write; empty when there is none.

        One write is at most `PIECE_BYTES` unless a single frame is larger.
        """
        frames = self._frames
        if not frames:
            return b""
        first = frames.popleft()
        self.size_bytes -= len(first)
        if not frames:
            return frame(first)
        batch = [frame(first)]
        room_bytes = wire_limits.PIECE_BYTES - len(batch[0])
        while frames and len(frames[0]) + 4 <= room_bytes:
            data = frames.popleft()
            self.size_bytes -= len(data)
            room_bytes -= len(data) + 4
            batch.append(frame(data))
        return b"".join(batch)

    def clear(self) -> int:
        """Forget everything; returns how many frames that were."""
        count = len(self._frames)
        self._frames.clear()
        self.size_bytes = 0
        return count


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob to send; `data` is a flat view of bytes the caller owns."""

    header: bytes
    data: memoryview


class BlobOutbox:
    """Blobs waiting for one peer, bounded by count and by bytes."""

    __slots__ = ("_blobs", "size_bytes")

    def __init__(self) -> None:
        self._blobs: deque[Blob] = deque()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._blobs)

    def put(self, blob: Blob) -> bool:
        """Queue a blob; False when it does not fit."""
        if len(self._blobs) >= wire_limits.MAX_BLOB_OUTBOX_COUNT:
            return False
        if self.size_bytes + blob.data.nbytes > wire_limits.MAX_BLOB_OUTBOX_BYTES:
            return False
        self._blobs.append(blob)
        self.size_bytes += blob.data.nbytes
        return True

    def take(self) -> Blob | None:
        """Remove and return the oldest blob."""
        if not self._blobs:
            return None
        blob = self._blobs.popleft()
        self.size_bytes -= blob.data.nbytes
        return blob

    def clear(self) -> int:
        """Forget everything; returns how many blobs that were."""
        count = len(self._blobs)
        self._blobs.clear()
        self.size_bytes = 0
        return count


class Unread:
    """Received bytes that wait for their reader: large pieces as they came, small ones joined.

    What it holds never takes more than about twice its length: a piece that is a small part of the buffer it lies in
    is copied out, and a flood of single bytes does not become a flood of objects.
    """

    __slots__ = ("_pieces", "size_bytes")

    def __init__(self) -> None:
        self._pieces: deque[memoryview | bytearray] = deque()
        self.size_bytes = 0

    def __len__(self) -> int:
        return self.size_bytes

    def put(self, piece: memoryview, buffer_bytes: int) -> None:
        """Add a piece of a buffer of `buffer_bytes`, which stays alive and unchanged as long as the piece."""
        self.size_bytes += len(piece)
        if 2 * len(piece) >= buffer_bytes and len(piece) >= SMALL_PIECE_BYTES:
            self._pieces.append(piece)
            return
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, bytearray) and len(last) < JOINED_BYTES:
            last += piece
        else:
            self._pieces.append(bytearray(piece))

    def take(self, max_bytes: int) -> bytes | memoryview:
        """Remove and return the next 1 to `max_bytes` bytes; there must be some."""
        piece = memoryview(self._pieces.popleft())
        if len(piece) > max_bytes:
            self._pieces.appendleft(piece[max_bytes:])
            piece = piece[:max_bytes]
        self.size_bytes -= len(piece)
        return piece

    def clear(self) -> None:
        """Forget everything."""
        self._pieces.clear()
        self.size_bytes = 0


SMALL_PIECE_BYTES = 4096
JOINED_BYTES = 64 * 1024

MAX_STATE_EVENTS = 64
"""Ups, downs and refusals of one peer that this node has not read; past it only the last one is kept."""


class _Lane:
    __slots__ = ("blob_bytes", "data_bytes", "data_count", "events", "state_count")

    def __init__(self) -> None:
        self.events: deque[tuple[NetworkEvent, int, bool]] = deque()
        self.data_bytes = 0
        self.data_count = 0
        self.blob_bytes = 0
        self.state_count = 0


class Inbox:
    """Events waiting for this node: one bounded lane per peer, taken in turn, so a flood delays only its sender.

    Changes of state (up, down, refused) are never dropped; within a lane the order of arrival is kept.
    """

    __slots__ = ("_lanes", "_turn")

    def __init__(self) -> None:
        self._lanes: dict[PeerId, _Lane] = {}
        self._turn: deque[PeerId] = deque()

    def __len__(self) -> int:
        return sum(len(lane.events) for lane in self._lanes.values())

    def _append(self, peer: PeerId, lane: _Lane, entry: tuple[NetworkEvent, int, bool]) -> None:
        if not lane.events:
            self._turn.append(peer)
        lane.events.append(entry)

    def put_state(self, peer: PeerId, event: NetworkEvent) -> None:
        """Add a change of state; never refused."""
        lane = self._lanes.setdefault(peer, _Lane())
        if lane.state_count >= MAX_STATE_EVENTS:
            # A peer flapping while nobody reads: what it sent meanwhile is void, only where it ended matters.
            lane.events.clear()
            lane.data_bytes = lane.data_count = lane.blob_bytes = lane.state_count = 0
            self._turn.remove(peer)
        lane.state_count += 1
        self._append(peer, lane, (event, -1, False))

    def put_data(self, peer: PeerId, event: NetworkEvent, size_bytes: int) -> bool:
        """Add a frame or an announcement; False when the peer's lane is full."""
        lane = self._lanes.setdefault(peer, _Lane())
        if lane.data_count >= wire_limits.MAX_INBOX_EVENTS:
            return False
        if lane.data_bytes + size_bytes > wire_limits.MAX_INBOX_BYTES:
            return False
        lane.data_count += 1
        lane.data_bytes += size_bytes
        self._append(peer, lane, (event, size_bytes, False))
        return True

    def has_room_for_blob(self, peer: PeerId, size_bytes: int) -> bool:
        """Return whether a blob of this size could be added now."""
        lane = self._lanes.get(peer)
        waiting_bytes = lane.blob_bytes if lane is not None else 0
        return waiting_bytes + size_bytes <= wire_limits.MAX_BLOB_INBOX_BYTES

    def put_blob(self, peer: PeerId, event: NetworkEvent, size_bytes: int) -> None:
        """Add a received blob; its room was checked before it was read."""
        lane = self._lanes.setdefault(peer, _Lane())
        lane.blob_bytes += size_bytes
        self._append(peer, lane, (event, size_bytes, True))

    def take(self) -> NetworkEvent | None:
        """Remove and return the next event of the peer whose turn it is."""
        if not self._turn:
            return None
        peer = self._turn.popleft()
        lane = self._lanes[peer]
        event, size_bytes, is_blob = lane.events.popleft()
        if is_blob:
            lane.blob_bytes -= size_bytes
        elif size_bytes < 0:
            lane.state_count -= 1
        else:
            lane.data_count -= 1
            lane.data_bytes -= size_bytes
        if lane.events:
            self._turn.append(peer)
        else:
            del self._lanes[peer]
        return event
