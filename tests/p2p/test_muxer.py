"""The muxer between members: what honest peers do works, what no honest peer does ends the link, nothing raises out."""

from __future__ import annotations

import contextlib
import os
import random
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.testing
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamError, MuxedStreamReset

from fednode.p2p import wire_limits
from fednode.p2p.libp2p.muxed import Fault, MemberStream
from fednode.p2p.libp2p.muxer import MemberYamux
from fednode.p2p.libp2p.secure_transport import MemberNoise, NoiseSession
from fednode.p2p.libp2p.socket import SocketConnection
from fednode.p2p.stream import Target

DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
ALICE, BOB = create_new_key_pair(b"a" * 32), create_new_key_pair(b"b" * 32)


def frame(kind: int, flags: int, stream: int, length: int, body: bytes = b"", version: int = 0) -> bytes:
    return struct.pack("!BBHII", version, kind, flags, stream, length) + body


@asynccontextmanager
async def sessions(nursery: trio.Nursery) -> AsyncIterator[tuple[NoiseSession, NoiseSession]]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    client = SocketConnection(await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1]), True)
    server = SocketConnection(await listener.accept(), False)
    await listener.aclose()
    ends: dict[str, NoiseSession] = {}
    left, right = (MemberNoise(keys, lambda peer: None, nursery.start_soon) for keys in (ALICE, BOB))

    async def inbound() -> None:
        ends["server"] = await right.secure_inbound(server)

    async with trio.open_nursery() as handshake:
        handshake.start_soon(inbound)
        ends["client"] = await left.secure_outbound(client, ID.from_pubkey(BOB.public_key))
    try:
        yield ends["client"], ends["server"]
    finally:
        with trio.CancelScope(shield=True):
            for raw in (client, server):
                await raw.close()


class Ends:
    """A hostile session at the left, a muxer at the right, and what became of it."""

    def __init__(self, session: NoiseSession, muxer: MemberYamux, faults: list[tuple[Fault, str]]) -> None:
        self.session = session
        self.muxer = muxer
        self.faults = faults
        self.accepted: list[MemberStream] = []

    async def accept(self) -> None:
        async for stream in self.muxer.new_stream_receive_channel:
            self.accepted.append(stream)

    async def opened(self, more: bytes = b"") -> MemberStream:
        """Open a stream, and send `more` with that."""
        self.session.queue(OPEN + more)
        await trio.testing.wait_all_tasks_blocked(0.05)
        (stream,) = self.accepted
        return stream

    async def over(self) -> None:
        with trio.fail_after(10):
            await self.muxer.event_closed.wait()
        assert self.muxer.is_over
        assert not self.muxer.streams


@asynccontextmanager
async def attacked() -> AsyncIterator[Ends]:
    faults: list[tuple[Fault, str]] = []
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery, sessions(nursery) as (left, right):
            muxer = MemberYamux(right, ID.from_pubkey(ALICE.public_key), lambda _, *what: faults.append(what))
            ends = Ends(left, muxer, faults)
            nursery.start_soon(muxer.start)
            nursery.start_soon(ends.accept)
            await muxer.event_started.wait()
            yield ends
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[MemberStream, MemberStream]]:
    """A stream between two muxers."""
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery, sessions(nursery) as (left, right):
            muxers = [MemberYamux(end, ID.from_pubkey(ALICE.public_key), lambda *what: None) for end in (left, right)]
            for muxer in muxers:
                nursery.start_soon(muxer.start)
                await muxer.event_started.wait()
            opened = await muxers[0].open_stream()
            yield opened, await muxers[1].accept_stream()
            nursery.cancel_scope.cancel()


# --- honest peers


@pytest.mark.parametrize("window_bytes", [wire_limits.INITIAL_WINDOW_BYTES, wire_limits.BULK_WINDOW_BYTES])
@pytest.mark.parametrize("is_filling", [False, True])
async def test_everything_arrives_in_order_whatever_the_sizes(window_bytes: int, is_filling: bool) -> None:
    sizes = [1, 11, 12, 13, 65_507, 65_508, 65_519, 262_076, 262_077, 3_000_000, *range(1, 300, 7)]
    pieces = [os.urandom(size) for size in sizes]
    total = b"".join(pieces)
    async with pair() as (left, right), trio.open_nursery() as nursery:

        async def send() -> None:
            for piece in pieces:
                await left.write(piece)
            await left.close()

        nursery.start_soon(send)
        right.widen(window_bytes)
        if is_filling:
            target = Target(memoryview(bytearray(len(total))))
            await right.fill(target)
            assert target.view == total
        else:
            got = bytearray()
            while len(got) < len(total):
                got += await right.receive(random.Random(len(got)).randint(1, 100_000))
            assert got == total
        with pytest.raises(MuxedStreamEOF):
            await right.receive(1)


async def test_both_sides_write_first_and_more_than_a_window() -> None:
    data = os.urandom(2_000_000)
    async with pair() as (left, right), trio.open_nursery() as nursery:
        for end in (left, right):
            nursery.start_soon(end.write, data)
        for end in (left, right):
            target = Target(memoryview(bytearray(len(data))))
            await end.fill(target)
            assert target.view == data


async def test_a_reset_is_told_to_reader_and_writer_of_the_other_side() -> None:
    async with pair() as (left, right):
        await left.write(b"unread")
        await left.reset()
        await trio.testing.wait_all_tasks_blocked(0.05)
        with pytest.raises(MuxedStreamReset):
            await right.receive(1)
        with pytest.raises(MuxedStreamError):
            await right.write(b"x")


async def test_a_reader_that_is_cancelled_while_memory_fills_loses_nothing() -> None:
    data = os.urandom(300_000)
    async with pair() as (left, right), trio.open_nursery() as nursery:
        target = Target(memoryview(bytearray(len(data))))
        nursery.start_soon(left.write, data[:200_000])
        with trio.move_on_after(0.1):
            await right.fill(target)
        nursery.start_soon(left.write, data[200_000:])
        await right.fill(target)
        assert target.view == data


async def test_memory_that_fills_slowly_tells_of_every_piece() -> None:
    """Else a peer on a slow line would be taken for a silent one while a large block comes in."""
    async with pair() as (left, right), trio.open_nursery() as nursery:
        target, calls = Target(memoryview(bytearray(1_000_000))), []
        target.on_progress = lambda: calls.append(target.filled_bytes)
        nursery.start_soon(right.fill, target)
        for number in range(10):
            await left.write(bytes(100_000))
            while target.filled_bytes < (number + 1) * 100_000:
                await trio.lowlevel.checkpoint()
            assert len(calls) > number
            assert calls[-1] == target.filled_bytes


# --- peers that lie

OPEN = frame(WINDOW, SYN, 1, 0)
LARGE = wire_limits.INITIAL_WINDOW_BYTES


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (frame(DATA, 0, 1, 0, version=1), "another muxer"),
        (frame(DATA, 16, 1, 0), "another muxer"),
        (frame(7, 0, 0, 0), "kind 7"),
        (OPEN + frame(DATA, 0, 1, 2**32 - 1), "past its window"),
        (OPEN + frame(DATA, 0, 1, LARGE + 1), "past its window"),
        (OPEN + frame(DATA, 0, 1, LARGE, bytes(LARGE)) + frame(DATA, 0, 1, 1), "past its window"),
        (frame(DATA, SYN, 1, 2**31), "past its window"),
        (OPEN + frame(WINDOW, 0, 1, 2**32 - 1), "more than a window holds"),
        (OPEN + frame(WINDOW, 0, 1, wire_limits.MAX_SEND_WINDOW_BYTES), "more than a window holds"),
        (frame(WINDOW, SYN, 2, 0), "number that is taken"),
        (frame(WINDOW, SYN, 0, 0), "number that is taken"),
        (OPEN + OPEN, "number that is taken"),
        (frame(WINDOW, SYN, 9, 0) + frame(WINDOW, SYN, 7, 0), "number that is taken"),
        (frame(DATA, 0, 1, 5, b"hello"), "never opened"),
        (frame(WINDOW, 0, 2, 5), "never opened"),
        (frame(DATA, 0, 0, 5), "never opened"),
        (OPEN + frame(DATA, FIN, 1, 5, b"hello"), "in a frame with data"),
        (OPEN + frame(WINDOW, RST, 1, 0) + frame(DATA, 0, 1, 2**32 - 1), "closed streams"),
        (OPEN + frame(WINDOW, RST, 1, 0) + 9 * frame(DATA, 0, 1, 4_000_000, bytes(4_000_000)), "closed streams"),
        (b"".join(frame(WINDOW, SYN, 2 * n + 1, 0) for n in range(200)), "too many streams"),
        (b"".join(frame(WINDOW, SYN, n, 0) + frame(WINDOW, RST, n, 0) for n in range(1, 999, 2)), "too many streams"),
        (20_000 * frame(PING, ACK, 0, 1), "small frames"),
        (OPEN + 20_000 * frame(WINDOW, 0, 1, 0), "small frames"),
        (OPEN + 20_000 * frame(DATA, 0, 1, 1, b"x"), "small frames"),
        (OPEN + 20_000 * frame(DATA, 0, 1, 0), "small frames"),
    ],
)
async def test_a_peer_that_breaks_the_protocol_is_dropped_for_a_reason(sent: bytes, reason: str) -> None:
    async with attacked() as ends:
        with trio.move_on_after(10):
            for start in range(0, len(sent), 50_000):
                try:
                    ends.session.queue(sent[start : start + 50_000])
                except Exception:  # noqa: BLE001  it is dropped on the way
                    break
                await ends.session.wait_writable()
                await trio.lowlevel.checkpoint()
        await ends.over()
        assert [fault for fault, _ in ends.faults] == [Fault.PROTOCOL]
        assert reason in ends.faults[0][1]
        for stream in ends.accepted:
            with pytest.raises(MuxedStreamError):
                await stream.write(b"x")


@pytest.mark.parametrize("seed", range(40))
async def test_noise_ends_the_link_or_does_nothing_and_never_raises(seed: int) -> None:
    drawn = random.Random(seed)

    def one() -> bytes:
        if drawn.random() < 0.1:
            return drawn.randbytes(drawn.randint(1, 40))
        kind, flags = drawn.choice([0, 0, 1, 1, 2, 3, 4]), drawn.choice([0, 0, 0, 1, 2, 4, 8, 3, 9, 15])
        stream, length = drawn.randint(0, 6), drawn.choice([0, 1, 100, 70_000, 2**18, 2**24, 2**32 - 1])
        body = drawn.randbytes(min(length, 70_000)) if kind == DATA and drawn.random() < 0.8 else b""
        return frame(kind, flags, stream, length, body)

    async with attacked() as ends:
        ends.session.queue(OPEN)
        try:
            for _ in range(30):
                ends.session.queue(one())
                await trio.lowlevel.checkpoint()
        except Exception:  # noqa: BLE001  dropped on the way
            pass
        await ends.session.close()
        await ends.over()
        assert len(ends.faults) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
async def test_almost_honest_peers_meet_readers_and_writers_that_only_see_the_end_of_a_stream(seed: int) -> None:
    """Mostly valid frames, so that much is read, written and reset before something is wrong."""
    drawn = random.Random(seed)

    async def use(stream: MemberStream) -> None:
        try:
            if drawn.random() < 0.3:
                await stream.fill(Target(memoryview(bytearray(drawn.randint(1, 3_000_000)))))
            while True:
                await stream.receive(drawn.randint(1, 70_000))
                if drawn.random() < 0.1:
                    await stream.write(os.urandom(drawn.randint(1, 1000)))
                if drawn.random() < 0.02:
                    await stream.reset()
        except MuxedStreamError:
            return

    def one() -> bytes:
        kind = drawn.choice([DATA] * 4 + [WINDOW] * 2 + [PING] * 2) if drawn.random() < 0.99 else drawn.randint(0, 255)
        flags = drawn.choice([0] * 40 + [SYN, ACK, FIN, RST, SYN | ACK, FIN | RST, 16])
        length = drawn.choice([0, 1, 10, 600, 60_000, 65_519, 100_000])
        if drawn.random() < 0.005:
            length = drawn.choice([2**32 - 1, 2**31, 2**24, 300_000])
        body = drawn.randbytes(length) if kind == DATA and length < 200_000 else b""
        whole = frame(kind, flags, drawn.choice([1, 3, 5]), length, body)
        return whole if drawn.random() < 0.99 else whole[: drawn.randint(0, len(whole))]

    async with attacked() as ends, trio.open_nursery() as nursery:
        ends.session.queue(b"".join(frame(WINDOW, SYN, number, 0) for number in (1, 3, 5)))
        await trio.testing.wait_all_tasks_blocked(0.01)
        for stream in ends.accepted:
            nursery.start_soon(use, stream)
        with contextlib.suppress(ConnectionClosedError):  # dropped on the way
            for _ in range(drawn.randint(5, 200)):
                ends.session.queue(one())
                await ends.session.wait_writable()
                await trio.lowlevel.checkpoint()
        await ends.session.close()
        await ends.over()


async def test_a_connection_cut_in_a_frame_ends_readers_and_writers() -> None:
    async with attacked() as ends:
        stream = await ends.opened(frame(DATA, 0, 1, 100_000, b"the rest never comes"))
        assert await stream.receive(100) == b"the rest never comes"
        outcomes = []

        async def end_of(work: Callable[[], object]) -> None:
            with pytest.raises(MuxedStreamError):
                await work()
            outcomes.append(work)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end_of, lambda: stream.receive(1))
            nursery.start_soon(end_of, lambda: stream.write(bytes(LARGE + 1)))
            await trio.testing.wait_all_tasks_blocked(0.05)
            await ends.session.abort()
        assert len(outcomes) == 2
        await ends.over()
        assert ends.faults == []


async def test_a_goodbye_and_a_ping_are_answered() -> None:
    async with attacked() as ends:
        ends.session.queue(frame(PING, SYN, 0, 77))
        assert await ends.session.read(12) == frame(PING, ACK, 0, 77)
        ends.session.queue(frame(GO_AWAY, 0, 0, 0))
        await ends.over()
        assert ends.faults == []


@pytest.mark.slow
async def test_writers_of_one_connection_do_not_work_for_each_other_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One stream is kept busy all the time; a piece on the other is through when its own bytes are."""
    monkeypatch.setattr(wire_limits, "WRITE_STALL_S", 1.0)
    async with pair() as (busy, busy_reader), trio.open_nursery() as nursery:
        quiet = await busy.conn.open_stream()
        quiet_reader = await busy_reader.conn.accept_stream()

        async def drain(stream: MemberStream) -> None:
            while True:
                await stream.receive(1 << 20)

        async def write_always() -> None:
            while True:
                await busy.write(bytes(60_000))

        for stream in (busy_reader, quiet_reader):
            nursery.start_soon(drain, stream)
        for _ in range(3):
            nursery.start_soon(write_always)
        for _ in range(20):
            with trio.fail_after(5):
                await quiet.write(bytes(500_000))
        nursery.cancel_scope.cancel()


# --- peers that do not take what they are sent


@pytest.mark.slow
async def test_a_peer_that_grants_nothing_does_not_hold_a_writer_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_limits, "WRITE_STALL_S", 0.3)
    async with attacked() as ends:
        stream = await ends.opened()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(swallow, ends.session)
            with pytest.raises(MuxedStreamError, match="takes too little"):
                await stream.write(bytes(LARGE + 1))
        await ends.over()
        assert ends.faults == [(Fault.STALL, "the peer takes too little of what it is sent")]


async def swallow(session: NoiseSession) -> None:
    try:
        while await session.read():
            pass
    except Exception:  # noqa: BLE001  the end of the connection
        return


@pytest.mark.slow
async def test_a_peer_that_reads_nothing_from_its_socket_does_not_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_limits, "WRITE_STALL_S", 0.3)
    async with attacked() as ends:
        stream = await ends.opened(frame(WINDOW, 0, 1, 60_000_000))
        with pytest.raises(MuxedStreamError, match="takes too little"):
            await stream.write(bytes(60_000_000))
        await ends.over()
        assert ends.muxer.session._unwritten_bytes < wire_limits.MAX_UNWRITTEN_BYTES_PER_LINK


@pytest.mark.slow
async def test_a_slow_but_steady_peer_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_limits, "WRITE_STALL_S", 0.3)
    async with attacked() as ends:
        stream = await ends.opened()

        async def grant_slowly() -> None:
            for _ in range(10):
                await trio.sleep(0.1)
                ends.session.queue(frame(WINDOW, 0, 1, 1000))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(swallow, ends.session)
            nursery.start_soon(grant_slowly)
            await stream.write(bytes(LARGE + 10_000))
            nursery.cancel_scope.cancel()
        assert ends.faults == []


@pytest.mark.slow
async def test_a_peer_that_asks_and_asks_without_reading_costs_a_bounded_amount(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire_limits, "MAX_UNWRITTEN_BYTES_PER_LINK", 200_000)
    monkeypatch.setattr(wire_limits, "SMALL_FRAMES_BURST", 1e6)
    async with attacked() as ends:
        with trio.move_on_after(10), suppress(ConnectionClosedError):  # it may notice that it was cut off
            while not ends.muxer.is_over:
                ends.session.queue(1000 * frame(PING, SYN, 0, 1))
                await ends.session.wait_writable()
                await trio.lowlevel.checkpoint()
        await ends.over()
        assert [fault for fault, _ in ends.faults] == [Fault.STALL]


async def test_a_record_that_does_not_decrypt_is_counted_and_blamed_on_nobody() -> None:
    async with attacked() as ends:
        ends.session._sealer._counter += 1
        ends.session.queue(OPEN)
        await ends.over()
        assert ends.faults == [(Fault.RECORD, "record does not decrypt")]


async def test_a_flood_of_single_bytes_is_kept_as_bytes() -> None:
    async with attacked() as ends:
        ends.session.queue(OPEN)
        for _ in range(50):
            ends.session.queue(100 * frame(DATA, 0, 1, 1, b"x"))
            await ends.session.wait_writable()
        await trio.testing.wait_all_tasks_blocked(0.05)
        (stream,) = ends.accepted
        assert len(stream.unread) == 5000
        assert len(stream.unread._pieces) <= 2
