"""GossipSub for announcements, with every path that a peer's data can take guarded. Imports libp2p.

Security assumption: announcements are signed by their author (strict signing) and lossy; nothing that matters travels
by gossip alone. What a peer sends may cost its own connection, never the service.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine
from typing import Protocol

import trio
from libp2p.abc import INetStream
from libp2p.host.basic_host import BasicHost
from libp2p.peer.envelope import Envelope
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub

from fednode.errors import Rejected
from fednode.ids import PeerId
from fednode.p2p import wire_limits
from fednode.p2p.libp2p.gossip_frame import BoundedCache, Served, count_fields, cut
from fednode.p2p.libp2p.stream import link_stream
from fednode.p2p.stream import StreamEnded, StreamReader

HEARTBEAT_S = 5
"""Repairs the gossip mesh and offers missed messages; joining is event-driven, so it need not be short."""

SEEN_S = 60
"""How long a message is known as seen: many times longer than it is offered, and bounded by the authors' quotas."""

GOSSIP_WINDOW, GOSSIP_HISTORY = 1, 2
"""Heartbeats for which a message is offered, and kept for those who ask."""


class GossipOwner(Protocol):
    """What gossip tells the host."""

    def fail_connection(self, muxer: object, reason: str) -> None:
        """The gossip stream of this connection is over."""

    def on_bad_gossip(self, peer: PeerId, reason: str) -> None:
        """The peer broke the gossip protocol."""

    def gossip_wait_s(self, peer: PeerId, size_bytes: int, work_us: int) -> float:
        """Charge a connection for gossip, whoever wrote it; return how long to wait before going on."""
        ...

    def is_announcement_allowed(self, origin: PeerId, size_bytes: int) -> bool:
        """Decide on a message before it is delivered or forwarded."""
        ...

    def on_announcement(self, origin: PeerId, data: bytes) -> None:
        """A message came in."""


class ForgetfulPeerStore(PeerStore):
    """Does not keep the address records that peers send: they are unbounded, and we dial only the member list."""

    def consume_peer_record(self, envelope: Envelope, ttl: int) -> bool:
        """Accept and forget."""
        return True


async def contain(work: Coroutine[object, object, object]) -> bool:
    """Await library work that must not raise into a service; False when it did."""
    try:
        await work
    except Exception:  # noqa: BLE001  the libp2p border: gossip is lossy, what fails here is pulled later
        return False
    return True


def _peer_id(raw: bytes) -> PeerId:
    return PeerId(ID(raw).to_base58())


class _GuardedGossip(GossipSub):
    """GossipSub whose tasks survive what peers send."""

    async def heartbeat(self) -> None:
        """Run the heartbeat again after a failure."""
        while True:
            await contain(super().heartbeat())
            await trio.sleep(HEARTBEAT_S)

    async def flush_pending_messages(self, peer_id: ID) -> None:
        """Never raise into the service."""
        await contain(super().flush_pending_messages(peer_id))

    async def on_peer_subscribed(self, peer_id: ID, topic: str) -> None:
        """Never raise into the service."""
        await contain(super().on_peer_subscribed(peer_id, topic))

    async def publish(self, msg_forwarder: ID, pubsub_msg: rpc_pb2.Message) -> None:
        """Forward, and drop the delivery times that 0.8.1 only ever appends to."""
        await super().publish(msg_forwarder, pubsub_msg)
        self.recent_message_deliveries.clear()


class GuardedPubsub(Pubsub):
    """Pubsub with its own reader: bounded, in order, and no failure of a peer's data reaches the service."""

    def __init__(self, host: BasicHost, router: GossipSub, owner: GossipOwner, topic: str) -> None:
        super().__init__(
            host,
            router,
            strict_signing=True,
            seen_ttl=SEEN_S,
            validation_cache_size=64,
            max_subscriptions_per_peer=1,
            allowed_topics={topic},
        )
        self.counter = time.time_ns()  # above every number this node used before a restart, or peers drop the new ones
        self._owner = owner
        self._topic = topic
        self._turns: dict[ID, trio.Lock] = {}
        self._served: dict[ID, Served] = {}
        self._cache = router.mcache
        self.set_topic_validator(topic, self._is_allowed, is_async_validator=False)

    def _is_allowed(self, forwarder: ID, message: rpc_pb2.Message) -> bool:
        return forwarder == self.my_id or self._owner.is_announcement_allowed(
            _peer_id(message.from_id), message.ByteSize()
        )

    async def continuously_read_stream(self, stream: INetStream) -> None:
        """Read a peer's gossip until its stream ends; then end the connection too.

        The library would re-open only its own direction and forget the peer's subscriptions for good.
        """
        peer = stream.muxed_conn.peer_id
        reader = StreamReader(link_stream(stream))
        turn = self._turns.setdefault(peer, trio.Lock())  # one frame at a time, on however many streams
        try:
            while True:
                size_bytes = await _read_varint(reader)
                if size_bytes > wire_limits.MAX_GOSSIP_RPC_BYTES:
                    raise Rejected(f"gossip frame of {size_bytes} bytes")
                async with turn:
                    await self._charge(peer, size_bytes, 0)
                    await self._handle(peer, await reader.exactly(size_bytes))
        except StreamEnded:
            self._owner.fail_connection(stream.muxed_conn, "gossip stream ended")
        except Rejected as rejected:
            self._owner.on_bad_gossip(PeerId(peer.to_base58()), rejected.reason)
            self._owner.fail_connection(stream.muxed_conn, rejected.reason)

    async def _charge(self, peer: ID, size_bytes: int, work_us: int) -> None:
        """Make a peer wait that gossips more than its connection may; what it sends meanwhile fills its own window."""
        wait_s = self._owner.gossip_wait_s(PeerId(peer.to_base58()), size_bytes, work_us)
        if wait_s:
            await trio.sleep(wait_s)

    async def _handle(self, peer: ID, data: bytes) -> None:
        fields = count_fields(data)
        await self._charge(peer, 0, wire_limits.GOSSIP_FRAME_US + fields * wire_limits.GOSSIP_FIELD_US)
        served = self._served.setdefault(peer, Served(self._cache))
        try:
            rpc = cut(rpc_pb2.RPC.FromString(data), self._topic, served.take)
            for subscription in rpc.subscriptions:
                self.handle_subscription(peer, subscription)
            for message in rpc.publish:
                await self.push_msg(peer, message)
                await trio.lowlevel.checkpoint()
            if rpc.HasField("control"):
                await self.router.handle_rpc(rpc, peer)
        except Rejected:
            raise
        except Exception as error:  # the libp2p border: undecodable protobuf, junk keys, junk ids
            raise Rejected(f"gossip frame that fails with {type(error).__name__}") from error

    def notify_subscriptions(self, publish_message: rpc_pb2.Message) -> None:
        """Deliver directly: the library's subscription channel has 32 slots and drops silently."""
        if publish_message.from_id != self.my_id.to_bytes():
            self._owner.on_announcement(_peer_id(publish_message.from_id), publish_message.data)

    async def _handle_new_peer(self, peer_id: ID) -> None:
        """Join a peer into the gossip mesh also when it subscribed before our stream to it was open."""
        await super()._handle_new_peer(peer_id)
        for topic, subscribers in tuple(self.peer_topics.items()):
            if peer_id in subscribers:
                await self.router.on_peer_subscribed(peer_id, topic)

    def _handle_dead_peer(self, peer_id: ID) -> None:
        """Our own gossip stream to a peer is over: end its connection too, for the same reason as above."""
        stream = self.peers.get(peer_id)
        super()._handle_dead_peer(peer_id)
        if stream is not None:
            self._owner.fail_connection(stream.muxed_conn, "gossip stream ended")

    def on_disconnected(self, muxer: object) -> None:
        """A connection is gone: open our stream anew if it was on that one and the peer has another.

        The library does nothing while any connection to the peer is left, for example that of its restarted self.
        """
        for peer_id, stream in tuple(self.peers.items()):
            if stream.muxed_conn is muxer:
                self._handle_dead_peer(peer_id)

    def _forget_all_subscriptions(self, peer_id: ID) -> None:
        """Forget a peer only when it is gone: with a second connection it will not subscribe again."""
        if not self._peer_is_connected(peer_id):
            super()._forget_all_subscriptions(peer_id)


async def _read_varint(reader: StreamReader) -> int:
    value, shift = 0, 0
    while shift < 35:
        (byte,) = await reader.exactly(1)
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
        shift += 7
    raise Rejected("gossip frame without a length")


def create_gossip(host: BasicHost, owner: GossipOwner, topic: str) -> tuple[GossipSub, GuardedPubsub]:
    """Return the router and the pubsub on top of it, as two services to run."""
    gossip = _GuardedGossip(
        [PROTOCOL_ID_V11],  # version 1.2 costs twice the processor time
        degree=6,
        degree_low=4,
        degree_high=12,
        heartbeat_initial_delay=1,
        heartbeat_interval=HEARTBEAT_S,
        gossip_window=GOSSIP_WINDOW,
        gossip_history=GOSSIP_HISTORY,
        adaptive_gossip_enabled=False,
        spam_protection_enabled=False,  # ten messages a second, silently; the owner's quotas stand in
        eclipse_protection_enabled=False,  # members are authenticated, and may share an address
        max_pending_messages_per_peer=16,
        pending_messages_ttl=5,
    )
    gossip.mcache = BoundedCache(GOSSIP_WINDOW, GOSSIP_HISTORY)
    return gossip, GuardedPubsub(host, gossip, owner, topic)
