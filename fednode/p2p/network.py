"""The seam between the node and the network.

Security assumption: every peer named here has proven the private key of its peer id (Noise XX) and was a member when
its connection was admitted; the bytes it sends are still untrusted. Messages may be lost or repeated, never altered;
frames of one peer arrive in order as long as the connection lasts.

Importing this module imports no network library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from fednode.ids import PeerId

if TYPE_CHECKING:
    from trio_typing import TaskStatus


class Channel(Enum):
    """The two long-lived streams of a pair of members."""

    CONSENSUS = "consensus"
    """Small frames, up to 1.25 MiB each."""
    BULK = "bulk"
    """Blobs: chunks of vectors, models."""


@dataclass(frozen=True, slots=True)
class PeerUp:
    """`peer` can be sent to from now on. `address` is the remote end of the socket, for people."""

    peer: PeerId
    address: str


@dataclass(frozen=True, slots=True)
class PeerDown:
    """`peer` is gone; what was queued for it is dropped. `reason` is one short phrase, for people."""

    peer: PeerId
    reason: str


@dataclass(frozen=True, slots=True)
class PeerGone:
    """No dial of `peer` has succeeded since it was last linked: two failed, half a second apart or more."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class Refused:
    """`peer` is a member by its key, but runs another protocol version or another chain; `reason` names both."""

    peer: PeerId
    reason: str


@dataclass(frozen=True, slots=True)
class Received:
    """One consensus frame."""

    peer: PeerId
    data: bytes


@dataclass(frozen=True, slots=True)
class BlobReceived:
    """One whole blob whose BLAKE3 hash matched what the sender put behind it. `data` is read-only."""

    peer: PeerId
    header: bytes
    data: memoryview


@dataclass(frozen=True, slots=True)
class Announced:
    """A gossiped message; `peer` is the member that signed it, not the one that forwarded it."""

    peer: PeerId
    data: bytes


NetworkEvent = PeerUp | PeerDown | PeerGone | Refused | Received | BlobReceived | Announced

AcceptBlob = Callable[[PeerId, bytes, int], bool]
"""`accept_blob(peer, header, size_bytes)`: asked before memory is reserved; False drains the blob unread."""


class Network(Protocol):
    """What the node may ask of the transport. All calls but `receive` and `run` return at once."""

    @property
    def me(self) -> PeerId:
        """Return this node's own peer id."""
        ...

    def send(self, peer: PeerId, data: bytes) -> bool:
        """Queue one consensus frame. False: not connected, too large, or the peer's queue is full."""
        ...

    def send_everywhere(self, peer: PeerId, data: bytes) -> bool:
        """Queue one short frame on each connection to a peer, also on those that carry nothing else.

        Two processes with one key hold a connection each, and only one of them gets what `send` queues.
        """
        ...

    def send_blob(self, peer: PeerId, header: bytes, data: bytes | memoryview) -> bool:
        """Queue one blob without copying it; `data` must not change until it is sent or the peer is down.

        A large one (from 1 MiB) that was cut goes on where it was when the same header and data are sent again within
        two minutes of the reconnection.
        False: not connected, too large, or the peer's queue is full.
        """
        ...

    def announce(self, data: bytes) -> bool:
        """Gossip a message to all members, lossily. False: too large or too many are waiting."""
        ...

    def connected(self) -> frozenset[PeerId]:
        """Return the peers between their `PeerUp` and their `PeerDown`."""
        ...

    def set_members(self, members: Mapping[PeerId, tuple[str, ...]]) -> None:
        """Say whom to dial (at which multiaddrs) and whom to admit; whoever is missing now is disconnected."""
        ...

    def drop(self, peer: PeerId, reason: str) -> None:
        """Disconnect a peer that misbehaved and keep it away for a short while."""
        ...

    def counters(self) -> Mapping[str, int]:
        """Return what was dropped and why, since the start; a name appears with its first count, values only grow.

        Always there: `bytes_sent` and `bytes_received`, of all connections, as they went through the sockets.
        Ours: `send_refused`, `outbox_full`, `blob_outbox_full`, `announcements_full`, `frames_lost_on_disconnect`,
        `blobs_lost_on_disconnect`, `dials_failed`. A peer's: `inbox_full`, `frames_over_quota`, `blobs_refused`,
        `blobs_broken`, `announcements_refused`, `misbehaviour`, `dropped_peers`, `connections_refused`,
        `handshakes_failed`, `streams_failed`, `muxer_faults`, `writes_stalled`, `records_broken`.
        A stranger's: `strangers_turned_away`.
        """
        ...

    async def receive(self) -> NetworkEvent:
        """Return the next event, taking the peers in turn."""
        ...

    async def run(self, task_status: TaskStatus[None] = ...) -> None:
        """Listen, dial and serve until cancelled; `task_status.started()` once the port is open.

        Raises `errors.PortInUse` when another program listens there.
        """
        ...
