"""Noise for members: interoperates with the stock transport, refuses strangers, ends on any change of a record."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from libp2p.abc import IRawConnection, ISecureConn
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.io.exceptions import ConnectionClosedError, IncompleteReadError
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.security.noise.exceptions import PeerIDMismatchesPubkey
from libp2p.security.noise.transport import Transport as NoiseTransport

from fednode.ids import PeerId
from fednode.p2p import wire_limits
from fednode.p2p.libp2p.names import Lines
from fednode.p2p.libp2p.secure_transport import MemberNoise, MemberRefused, NoiseSession
from fednode.p2p.libp2p.socket import SocketConnection
from fednode.p2p.records import MAX_PLAIN_BYTES

ALICE, BOB = create_new_key_pair(b"a" * 32), create_new_key_pair(b"b" * 32)


def peer_id(keys: KeyPair) -> ID:
    return ID.from_pubkey(keys.public_key)


def stock(keys: KeyPair) -> NoiseTransport:
    return NoiseTransport(keys, noise_privkey=create_x25519_key_pair().private_key)


def ours(
    keys: KeyPair, nursery: trio.Nursery, why_refused: Callable[[PeerId], str | None] = lambda peer: None
) -> MemberNoise:
    return MemberNoise(keys, why_refused, nursery.start_soon)


async def sockets() -> tuple[trio.SocketStream, trio.SocketStream]:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    client = await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1])
    server = await listeners[0].accept()
    await listeners[0].aclose()
    return client, server


async def raw_pair(*, is_stock: bool = False) -> tuple[IRawConnection, IRawConnection]:
    client, server = await sockets()
    if is_stock:
        return RawConnection(TrioTCPStream(client), True), RawConnection(TrioTCPStream(server), False)
    return SocketConnection(client, True), SocketConnection(server, False)


async def handshake(
    client: NoiseTransport, server: NoiseTransport, pair: tuple[IRawConnection, IRawConnection], expected: ID
) -> tuple[ISecureConn, ISecureConn]:
    secured: dict[str, ISecureConn] = {}

    async def inbound() -> None:
        secured["server"] = await server.secure_inbound(pair[1])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbound)
        secured["client"] = await client.secure_outbound(pair[0], expected)
    return secured["client"], secured["server"]


async def exchange(left: ISecureConn, right: ISecureConn, data: bytes) -> None:
    """Send `data` both ways and read it back in awkward pieces."""

    async def receive(end: ISecureConn) -> None:
        got = bytearray()
        size = 1
        while len(got) < len(data):
            got += await end.read(min(size, len(data) - len(got)))
            size = size * 3 + 1
        assert bytes(got) == data

    async def send(end: ISecureConn) -> None:
        for start in range(0, len(data), 100_001):
            await end.write(data[start : start + 100_001])

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for end in (left, right):
                nursery.start_soon(receive, end)
                nursery.start_soon(send, end)


@pytest.mark.parametrize(("is_client_stock", "is_server_stock"), [(False, False), (True, False), (False, True)])
async def test_records_are_those_of_the_stock_transport(is_client_stock: bool, is_server_stock: bool) -> None:
    async with trio.open_nursery() as nursery:
        client = stock(ALICE) if is_client_stock else ours(ALICE, nursery)
        server = stock(BOB) if is_server_stock else ours(BOB, nursery)
        pair = await raw_pair(is_stock=is_client_stock or is_server_stock)
        left, right = await handshake(client, server, pair, peer_id(BOB))
        assert (left.get_remote_peer(), right.get_remote_peer()) == (peer_id(BOB), peer_id(ALICE))
        for size in (1, 65_519, 65_520, 700_000):
            await exchange(left, right, os.urandom(size))
        await left.close()
        await right.close()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("refusing_side", ["server", "client"])
async def test_who_is_not_admitted_gets_no_further_than_the_handshake(refusing_side: str) -> None:
    asked: list[PeerId] = []

    def refuse(peer: PeerId) -> str | None:
        asked.append(peer)
        return "not a member"

    async with trio.open_nursery() as nursery:
        client = ours(ALICE, nursery, refuse) if refusing_side == "client" else stock(ALICE)
        server = ours(BOB, nursery, refuse) if refusing_side == "server" else stock(BOB)
        pair = await raw_pair()
        with pytest.RaisesGroup(pytest.RaisesExc(MemberRefused, match="not a member"), flatten_subgroups=True):
            async with trio.open_nursery() as inner:
                inner.start_soon(server.secure_inbound, pair[1])
                secured = await client.secure_outbound(pair[0], peer_id(BOB))
                with pytest.raises(ConnectionClosedError):
                    await secured.read(1)
        for raw in pair:
            await raw.close()
    assert asked == [PeerId(peer_id(ALICE if refusing_side == "server" else BOB).to_base58())]


async def test_an_outbound_connection_is_to_exactly_one_peer() -> None:
    pair = await raw_pair()
    async with trio.open_nursery() as nursery:

        async def inbound() -> None:
            with pytest.raises(IncompleteReadError):
                await ours(BOB, nursery).secure_inbound(pair[1])

        nursery.start_soon(inbound)
        with pytest.raises(PeerIDMismatchesPubkey):
            await ours(ALICE, nursery).secure_outbound(pair[0], peer_id(ALICE))
        await pair[0].close()
    await pair[1].close()


@asynccontextmanager
async def sessions() -> AsyncIterator[tuple[NoiseSession, NoiseSession]]:
    """Two ends of a finished handshake, closed at the end."""
    pair = await raw_pair()
    async with trio.open_nursery() as nursery:
        left, right = await handshake(ours(ALICE, nursery), ours(BOB, nursery), pair, peer_id(BOB))
        assert isinstance(left, NoiseSession)
        assert isinstance(right, NoiseSession)
        with trio.fail_after(20):
            yield left, right
        nursery.cancel_scope.cancel()
    for raw in pair:
        await raw.close()


class Tampering(SocketConnection):
    """A connection in the hands of somebody on the wire."""

    change: Callable[[bytes], bytes] = staticmethod(lambda data: data)

    def read_into(self, buffer: memoryview) -> int | None:
        count = super().read_into(buffer)
        if count:
            changed = self.change(bytes(buffer[:count]))
            buffer[: len(changed)] = changed
            return len(changed)
        return count


def flip_last_bit(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1]) if data else data


@pytest.mark.parametrize(
    "change",
    [
        flip_last_bit,
        lambda data: data + data,  # replayed
        lambda data: b"\x00\x05junk!" + data,  # too short for a tag
        lambda data: b"\x00\x20" + bytes(32) + data,  # a record of nobody's
    ],
    ids=["flipped", "replayed", "short", "forged"],
)
async def test_a_changed_record_closes_the_connection(change: Callable[[bytes], bytes]) -> None:
    async with trio.open_nursery() as nursery:
        client, server = await sockets()
        tampering = Tampering(server, False)
        left, right = await handshake(
            ours(ALICE, nursery), ours(BOB, nursery), (SocketConnection(client, True), tampering), peer_id(BOB)
        )
        tampering.change = change
        await left.write(b"for your eyes only")
        with pytest.raises(ConnectionClosedError):
            await right.read(18)
            await right.read(18)
        with pytest.raises(ConnectionClosedError):
            await right.write(b"x")
        with pytest.raises(ConnectionClosedError):
            await left.read(1)
        await left.close()
        nursery.cancel_scope.cancel()


async def test_garbage_instead_of_a_handshake_fails() -> None:
    async with trio.open_nursery() as nursery:
        for garbage in (b"\x00\x00", b"\xff\xff" + bytes(65_535), b"GET / HTTP/1.1\r\n\r\n", b""):
            client, server = await sockets()
            await client.send_all(garbage)
            await client.aclose()
            with pytest.raises(Exception, match=r".*"):
                await ours(BOB, nursery).secure_inbound(SocketConnection(server, False))
            await server.aclose()


def test_a_peer_that_does_not_read_costs_a_bounded_amount() -> None:
    async def main() -> None:
        async with sessions() as (left, _):
            with pytest.raises(ConnectionClosedError, match="does not read"):
                for _ in range(1_000):
                    left.queue(bytes(MAX_PLAIN_BYTES))

    assert wire_limits.MAX_UNWRITTEN_BYTES_PER_LINK < 900 * MAX_PLAIN_BYTES
    trio.run(main)


async def fill(session: NoiseSession) -> int:
    """Write until writing waits; returns how many bytes that were."""
    sent = 0
    with trio.move_on_after(0.2):
        while True:
            await session.wait_writable()
            await session.write(bytes(MAX_PLAIN_BYTES))
            sent += MAX_PLAIN_BYTES
    return sent


async def test_writers_wait_until_the_peer_reads() -> None:
    async with sessions() as (left, right):
        sent = await fill(left)
        assert sent
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.wait_writable)
            assert await right.read(sent) == bytes(sent)


async def test_writers_are_woken_when_the_connection_ends() -> None:
    async with sessions() as (left, _):
        await fill(left)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.wait_writable)
            await trio.testing.wait_all_tasks_blocked()
            await left.abort()


@pytest.mark.parametrize("wanted", [None, 1, 60 << 20])
async def test_a_handshake_reads_no_more_than_a_stranger_may_send(wanted: int | None) -> None:
    left, right = await raw_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.write, bytes(1 << 20))
        seen = 0
        with pytest.raises(ConnectionClosedError, match="proven"):
            while True:
                seen += len(await right.read(wanted))
        assert seen == wire_limits.STRANGER_BYTES
        nursery.cancel_scope.cancel()
    await left.close()
    await right.close()


async def test_names_are_read_from_a_purse() -> None:
    class Endless:
        def __init__(self) -> None:
            self.asked: list[int] = []

        async def read(self, n: int) -> bytes:
            self.asked.append(n)
            return b"A" * min(n, 300)

        async def write(self, data: bytes) -> None: ...

    pipe = Endless()
    lines = Lines(pipe)
    with pytest.raises(ConnectionClosedError, match="too much"):
        while True:
            await lines.read(60 << 20)
    assert max(pipe.asked) <= wire_limits.MAX_NEGOTIATION_BYTES


def test_a_stranger_and_a_member_without_a_protocol_are_answered_so_often() -> None:
    async def main() -> None:
        left, right = await raw_pair()

        class Pipe:
            async def read(self, n: int) -> bytes:
                return b""

            async def write(self, data: bytes) -> None: ...

        for end in (right, Lines(Pipe())):
            said = 0
            with pytest.raises(ConnectionClosedError, match="asks"):
                while True:
                    await end.write(b"\x03na\n")
                    said += 1
            assert said == wire_limits.MAX_ANSWERS
        await left.close()
        await right.close()

    trio.run(main)
