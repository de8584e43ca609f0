"""The mesh over py-libp2p 0.8.1: Noise for members, yamux, TCP, GossipSub for announcements.

Only the files named `libp2p_*` and `secure_transport.py` import libp2p. The library's own dialling, listening, health
checks, identify, resource manager and automatic connections are not used: each has a fault that a peer could reach
(tests/p2p/test_faults.py has one test per fault). What is used is the upgrade of a socket to a multiplexed connection,
the streams on it and GossipSub, each behind a guard, because an exception that escapes into the library ends the host.
"""

from __future__ import annotations

# isort: split
import errno
import logging
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

import trio
from libp2p.abc import INetConn, INetStream, INetwork, INotifee
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.network.config import ConnectionConfig
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.stream.net_stream import NetStream
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_PROTOCOL_ID
from libp2p.tools.anyio_service import background_trio_service
from libp2p.transport.upgrader import TransportUpgrader
from multiaddr import Multiaddr

from fednode import errors
from fednode.crypto import Secret
from fednode.fence import foreign
from fednode.ids import PeerId
from fednode.p2p import wire_limits
from fednode.p2p.addresses import SocketAddress, format_multiaddr, parse_multiaddr, source_of
from fednode.p2p.framing import Hello
from fednode.p2p.libp2p.gossip import ForgetfulPeerStore, GuardedPubsub, contain, create_gossip
from fednode.p2p.libp2p.muxed import Fault
from fednode.p2p.libp2p.muxer import MemberYamux
from fednode.p2p.libp2p.names import MemberMuxers
from fednode.p2p.libp2p.secure_transport import MemberNoise
from fednode.p2p.libp2p.socket import SocketConnection
from fednode.p2p.libp2p.stream import MemberHost, MuxedStream, link_stream, reset
from fednode.p2p.mesh import Mesh
from fednode.p2p.network import AcceptBlob, Channel
from fednode.p2p.stream import StreamEnded
from fednode.p2p.yard import Yard, places_within

if TYPE_CHECKING:
    from trio_typing import TaskStatus

PROTOCOLS = {
    Channel.CONSENSUS: TProtocol("/fednode/consensus/1"),
    Channel.BULK: TProtocol("/fednode/bulk/2"),
}

MAX_HOSTS = 4
"""Addresses of one name that are tried; the time for a dial is shared among them."""

WINDOW_BYTES = {
    Channel.CONSENSUS: wire_limits.CONSENSUS_WINDOW_BYTES,
    Channel.BULK: wire_limits.BULK_WINDOW_BYTES,
}


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """What a node needs to join: its 32-byte network key seed, where to listen, and what it must agree on."""

    network_seed: Secret[bytes]
    listen: tuple[str, ...]
    protocol_version: int
    chain_id: bytes
    may_dial: Callable[[str], bool] = lambda host: True
    """Whether to connect to an address that is a number; names are resolved first."""


def create_network(settings: NetworkSettings, accept_blob: AcceptBlob) -> Mesh:
    """Return a network that is ready to `run`; raises `ConfigError` for an address it cannot parse."""
    return _Libp2pHost(settings).create_mesh(accept_blob)


def quiet_logging() -> None:
    """Keep libp2p from writing to standard error: it logs what remote peers do, and it configures the root logger."""
    library = logging.getLogger("libp2p")
    library.setLevel(logging.CRITICAL)
    library.propagate = False
    for logger in (library, logging.getLogger()):
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())


class _Connection:
    """A muxed connection to a member."""

    def __init__(self, swarm_conn: SwarmConn, host: _Libp2pHost) -> None:
        muxer = cast(MemberYamux, swarm_conn.muxed_conn)
        self._swarm_conn = swarm_conn
        self._muxer = muxer
        self._session = muxer.session
        self._host = host
        self.peer = PeerId(muxer.peer_id.to_base58())
        remote = self._session.get_remote_address()
        self.address = format_multiaddr(*remote) if remote is not None else "unknown"

    async def open_stream(self, channel: Channel) -> MuxedStream:
        """Open our direction of a channel."""
        try:
            stream = await self._swarm_conn.new_stream()
        except Exception as error:  # the libp2p border: whatever it raises, there is no stream
            raise StreamEnded("connection lost") from error
        return await self._host.basic.choose(stream, [PROTOCOLS[channel]])

    async def abort(self) -> None:
        """Close the socket; the muxer's reader notices and lets the library forget the connection."""
        await self._session.abort()


class _Notifee(INotifee):
    """Tells the mesh about connections."""

    def __init__(self, host: _Libp2pHost) -> None:
        self._host = host

    async def connected(self, network: INetwork, conn: INetConn) -> None:
        """Start the link."""
        self._host.mesh.on_connection(self._host.connection_of(cast(SwarmConn, conn)))

    async def disconnected(self, network: INetwork, conn: INetConn) -> None:
        """End the link."""
        self._host.forget(cast(SwarmConn, conn))

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None:
        """Nothing to do."""

    async def closed_stream(self, network: INetwork, stream: INetStream) -> None:
        """Nothing to do."""

    async def listen(self, network: INetwork, multiaddr: Multiaddr) -> None:
        """Nothing to do."""

    async def listen_close(self, network: INetwork, multiaddr: Multiaddr) -> None:
        """Nothing to do."""


class _Libp2pHost:
    """Builds and runs the library's parts; implements `mesh.Host`."""

    mesh: Mesh

    def __init__(self, settings: NetworkSettings) -> None:
        quiet_logging()
        self._may_dial = settings.may_dial
        self._listen = tuple(parse_multiaddr(address) for address in settings.listen)
        self._hello = Hello(settings.protocol_version, settings.chain_id)
        self._topic = f"/fednode/{settings.chain_id.hex()}/announcements"
        self._key_pair = create_new_key_pair(settings.network_seed.reveal())
        self._id = ID.from_pubkey(self._key_pair.public_key)
        self._connections: dict[int, _Connection] = {}
        self._pubsub: GuardedPubsub | None = None
        self._listeners: list[trio.SocketListener] = []

    def create_mesh(self, accept_blob: AcceptBlob) -> Mesh:
        """Return the mesh on top of this host."""
        self.mesh = Mesh(PeerId(self._id.to_base58()), self._hello, accept_blob, self)
        open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._yard = Yard(self.mesh.book.knows_source, places_within(open_files))
        return self.mesh

    # --- connections

    def connection_of(self, swarm_conn: SwarmConn) -> _Connection:
        """Return the adapter of a connection."""
        key = id(swarm_conn.muxed_conn)
        connection = self._connections.get(key)
        if connection is None:
            connection = self._connections[key] = _Connection(swarm_conn, self)
        return connection

    def forget(self, swarm_conn: SwarmConn) -> None:
        """The library is done with a connection."""
        connection = self._connections.pop(id(swarm_conn.muxed_conn), None)
        if connection is not None:
            fault = cast(MemberYamux, swarm_conn.muxed_conn).fault
            self.mesh.on_disconnected(connection, fault or "connection closed")
        if self._pubsub is not None:
            self._pubsub.on_disconnected(swarm_conn.muxed_conn)

    # --- gossip.GossipOwner

    def fail_connection(self, muxer: object, reason: str) -> None:
        """End the link of a muxed connection."""
        connection = self._connections.get(id(muxer))
        if connection is not None:
            self.mesh.on_disconnected(connection, reason)

    def on_bad_gossip(self, peer: PeerId, reason: str) -> None:
        """Drop the peer for a while."""
        self.mesh.drop(peer, reason)

    def gossip_wait_s(self, peer: PeerId, size_bytes: int, work_us: int) -> float:
        """Charge the connection."""
        return self.mesh.gossip_wait_s(peer, size_bytes, work_us)

    def is_announcement_allowed(self, origin: PeerId, size_bytes: int) -> bool:
        """Only members, and only as much as their quota allows."""
        return self.mesh.is_announcement_allowed(origin, size_bytes)

    def on_announcement(self, origin: PeerId, data: bytes) -> None:
        """Hand a message to the node."""
        self.mesh.on_announcement(origin, data)

    # --- what the muxer tells

    def _on_fault(self, muxer: MemberYamux, fault: Fault, reason: str) -> None:
        """The muxer dropped a link: a peer that broke the protocol stays away for a while, another may come back."""
        self.mesh.count(fault.value)
        self.fail_connection(muxer, reason)
        if fault is Fault.PROTOCOL:
            self.mesh.drop(PeerId(muxer.peer_id.to_base58()), reason)

    # --- streams

    async def _serve_stream(self, channel: Channel, stream: INetStream) -> None:
        """Hand an incoming stream to its link; always end it, a stream left open is leaked for good."""
        try:
            swarm_conn = cast(SwarmConn, cast(NetStream, stream).swarm_conn)
            if not swarm_conn.is_closed:
                connection = self.connection_of(swarm_conn)
                await self.mesh.start_stream(connection, channel, link_stream(stream, WINDOW_BYTES[channel])).wait()
        finally:
            await reset(stream)

    # --- mesh.Host

    async def dial(self, peer: PeerId, address: str) -> None:
        """Connect one socket and upgrade it."""
        try:
            with foreign("an address"):  # of a host that cannot be one, say
                socket = await self._connect(parse_multiaddr(address))
        except (OSError, errors.ConfigError, errors.Rejected):
            self.mesh.count("dials_failed")
            return
        raw = SocketConnection(socket, True)
        is_upgraded = False
        try:
            await self.swarm.upgrade_outbound_raw_conn(raw, ID.from_base58(peer))
            is_upgraded = True
        except Exception:  # noqa: BLE001  the libp2p border: whatever the other side did, there is no connection
            self.mesh.count("dials_failed")
        finally:
            if not is_upgraded:
                with trio.CancelScope(shield=True):
                    await raw.close()

    async def _connect(self, target: SocketAddress) -> trio.SocketStream:
        """Connect to the first address of a host that answers and may be dialled; raise `OSError` if there is none.

        What a name leads to is looked at here, after it was resolved: its owner decides that, at any time.
        """
        found = await trio.socket.getaddrinfo(target.host, target.port, type=trio.socket.SOCK_STREAM)
        hosts = [host for host in dict.fromkeys(str(end[4][0]) for end in found) if self._may_dial(host)][:MAX_HOSTS]
        for host in hosts:
            with trio.move_on_after(wire_limits.DIAL_TIMEOUT_S / len(hosts)), suppress(OSError):
                return await trio.open_tcp_stream(host, target.port)
        raise OSError(f"none of {len(found)} addresses may be dialled and answers")

    async def publish(self, data: bytes) -> None:
        """Gossip a message."""
        assert self._pubsub is not None, "published only while serving"
        await contain(self._pubsub.publish(self._topic, data))

    async def listen(self) -> None:
        """Open the ports.

        The library would share a port with another process (SO_REUSEPORT) and keep its listener after `run`.
        """
        for target in self._listen:
            try:
                self._listeners += await trio.open_tcp_listeners(target.port, host=target.host)
            except OSError as error:
                await self._close_listeners()
                where = f"{target.host} port {target.port}"
                if error.errno == errno.EADDRINUSE:
                    raise errors.PortInUse(
                        f"Another program listens on {where}; stop it or set another address under [network]."
                    ) from None
                raise errors.Unavailable(
                    f"Cannot listen on {where} ({error.strerror}); set an address of this machine under [network]."
                ) from None
        ends = [listener.socket.getsockname() for listener in self._listeners]
        self.mesh.on_listening(tuple(format_multiaddr(end[0], end[1]) for end in ends))

    async def _close_listeners(self) -> None:
        for listener in self._listeners:
            await listener.aclose()
        self._listeners.clear()

    async def serve(self, task_status: TaskStatus[None]) -> None:
        """Accept connections until cancelled."""
        try:
            async with trio.open_nursery() as writers:
                self._build(writers)
                gossip, self._pubsub = create_gossip(self.basic, self, self._topic)
                async with (
                    background_trio_service(self.swarm),
                    background_trio_service(gossip),
                    background_trio_service(self._pubsub),
                ):
                    await self._pubsub.wait_until_ready()
                    await self._pubsub.subscribe(self._topic)
                    task_status.started()
                    await trio.serve_listeners(self._serve_socket, self._listeners)
        finally:
            with trio.CancelScope(shield=True):
                await self._close_listeners()

    async def _serve_socket(self, socket: trio.SocketStream) -> None:
        """Upgrade an incoming socket and keep it until its connection is closed."""
        raw = SocketConnection(socket, False)
        scope = trio.CancelScope(deadline=trio.current_time() + wire_limits.HANDSHAKE_TIMEOUT_S)
        remote = raw.get_remote_address()
        source = source_of(remote[0]) if remote is not None else ""
        if not self._yard.admits(source, time.monotonic_ns()):
            self.mesh.count("strangers_turned_away")
            return
        place = self._yard.enter(source, scope.cancel)
        raw.on_step, raw.on_admitted = partial(self._yard.step, place), partial(self._yard.leave, place)
        muxer: MemberYamux | None = None
        try:
            with scope:
                muxer = await self._upgrade(raw)
        finally:
            self._yard.leave(place)
        if muxer is not None:
            await muxer.event_closed.wait()

    async def _upgrade(self, raw: SocketConnection) -> MemberYamux | None:
        """Shake hands. A stranger that fails keeps its place to the end: else it would be back at once."""
        raw.is_held = True
        try:
            await raw.wait_readable()  # who dials speaks first; whoever only holds the socket costs no more than it
            return cast(MemberYamux, await self.swarm.upgrade_inbound_raw_conn(raw, Multiaddr("/ip4/0.0.0.0/tcp/0")))
        except Exception:  # noqa: BLE001  the libp2p border: strangers, garbage, lost connections
            self.mesh.count("handshakes_failed")
        if raw.is_held:
            await trio.sleep_forever()
        return None

    # --- construction

    def _build(self, writers: trio.Nursery) -> None:
        noise = MemberNoise(self._key_pair, self.mesh.why_refused, writers.start_soon, self.mesh.traffic)
        upgrader = TransportUpgrader({NOISE_PROTOCOL_ID: noise}, {})
        upgrader.muxer_multistream = MemberMuxers(partial(MemberYamux, on_fault=self._on_fault))
        store = ForgetfulPeerStore()
        store.add_key_pair(self._id, self._key_pair)
        self.swarm = Swarm(
            self._id,
            store,
            upgrader,
            connection_config=ConnectionConfig(
                max_connections=100_000,
                high_watermark=100_000,
                min_connections=0,
                low_watermark=0,
                max_connections_per_peer=1_000,
            ),
        )
        self.basic = MemberHost(self.swarm, disable_identify_address_discovery=True, announce_addrs=[])
        for notifee in tuple(self.swarm.notifees):
            self.swarm.remove_notifee(notifee)  # identify and tags: not used, and driven by the peer's data
        for protocol in tuple(self.basic.multiselect.handlers):
            if protocol is not None:
                self.basic.remove_stream_handler(protocol)
        for channel, protocol in PROTOCOLS.items():
            self.basic.set_stream_handler(protocol, partial(self._serve_stream, channel))
        self.swarm.set_stream_handler(self._negotiate)
        self.swarm.register_notifee(_Notifee(self))

    async def _negotiate(self, stream: INetStream) -> None:
        """Choose the handler of an incoming stream; an exception here would end the host."""
        try:
            await self.basic._swarm_stream_handler(stream)
        except Exception:  # noqa: BLE001  the libp2p border: whatever the other side sent, others go on
            self.mesh.count("streams_failed")
            await reset(stream)
