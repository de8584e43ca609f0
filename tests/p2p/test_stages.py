"""Junk of growing length at every stage of a connection to a real host: the stage bounds what it takes in memory.

A stage is a place where the other side says how much follows. The next one of the kind is a line in `STAGES`.
"""

from __future__ import annotations

import os
import random
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.utils import encode_uvarint

from fednode.ids import PeerId
from fednode.p2p import peers, wire_limits
from fednode.p2p.framing import Hello
from fednode.p2p.libp2p.secure_transport import MemberNoise, NoiseSession
from fednode.p2p.libp2p.socket import SocketConnection
from fednode.p2p.mesh import Mesh
from fednode.p2p.network import Received
from tests.p2p.conftest import Rogue

HEADER = b"\x13/multistream/1.0.0\n"
HELLO = Hello(1, bytes(range(32))).to_bytes()
PIECE = os.urandom(1 << 18)
LINES = b"\x03ls\n" * (len(PIECE) // 4)
LENGTHS = (3_000, 66_000, 3_000_000, 50_000_000)
STRANGER_BYTES, MEMBER_BYTES = 300_000, 12_000_000
"""What the process may have taken at most meanwhile, the attacking side with it; the longest attack is more."""

Write = Callable[[bytes], Awaitable[object]]


async def pour(write: Write, head: bytes, length: int, piece: bytes = PIECE) -> None:
    """Promise `length` bytes and send all but the last, until the other side has had enough."""
    try:
        with trio.move_on_after(1):
            await write(head)
            left = length - 1
            while left:
                count = min(left, len(piece))
                await write(piece[:count])
                left -= count
    except Exception:  # noqa: BLE001  the end of a connection has many names here
        return


async def over(read: Callable[[], Awaitable[bytes]]) -> None:
    """Return when the other side has ended it, or has had time to: a promise that is in order only waits."""
    try:
        with trio.move_on_after(2 * wire_limits.HANDSHAKE_TIMEOUT_S):
            while await read():
                pass
    except Exception:  # noqa: BLE001  as above
        return


@asynccontextmanager
async def socket_to(node: Mesh) -> AsyncIterator[trio.SocketStream]:
    async with await trio.open_tcp_stream("127.0.0.1", int(node.listening[0].rsplit("/", 1)[1])) as socket:
        yield socket


# --- what a stranger can reach

async def pour_at_stranger(node: Mesh, before: bytes, head: bytes, length: int, piece: bytes = PIECE) -> None:
    """Say what is usual, then promise too much."""
    async with socket_to(node) as socket, trio.open_nursery() as nursery:
        nursery.start_soon(over, lambda: socket.receive_some(1000))
        await pour(socket.send_all, before + head, length, piece)


async def first_line(node: Mesh, rogue: Rogue, length: int) -> None:
    await pour_at_stranger(node, b"", encode_uvarint(length), length)


async def second_line(node: Mesh, rogue: Rogue, length: int) -> None:
    await pour_at_stranger(node, HEADER, encode_uvarint(length), length)


async def many_lines(node: Mesh, rogue: Rogue, length: int) -> None:
    """Lines that are short, each in order, one after the other."""
    await pour_at_stranger(node, HEADER, b"", length, LINES)


async def noise_message(node: Mesh, rogue: Rogue, length: int) -> None:
    """The largest message that a frame of Noise can promise, again and again."""
    await pour_at_stranger(node, HEADER, b"\x07/noise\n" + b"\xff\xff", length)


# --- what only a member can reach

@asynccontextmanager
async def session_with(node: Mesh, seed: bytes) -> AsyncIterator[NoiseSession]:
    """A member that has proven who it is, and has not named a muxer."""
    async with trio.open_nursery() as nursery, socket_to(node) as socket:
        raw = SocketConnection(socket, True)
        await MultiselectClient().select_one_of(("/noise",), MultiselectCommunicator(raw), 5)  # type: ignore[arg-type]
        noise = MemberNoise(create_new_key_pair(seed), lambda peer: None, nursery.start_soon)
        yield await noise.secure_outbound(raw, ID.from_base58(node.me))  # type: ignore[misc]
        nursery.cancel_scope.cancel()


async def muxer_name(node: Mesh, rogue: Rogue, length: int) -> None:
    async with session_with(node, rogue.seed) as session, trio.open_nursery() as nursery:
        nursery.start_soon(over, lambda: session.read(1))
        await pour(session.send, HEADER + encode_uvarint(length), length)


async def muxer_header(node: Mesh, rogue: Rogue, length: int) -> None:
    """A data frame of the muxer for a stream that is open, of more than its window."""
    async with session_with(node, rogue.seed) as session, trio.open_nursery() as nursery:
        nursery.start_soon(over, lambda: session.read(1))
        opening = b"\0\1\0\1\0\0\0\1\0\0\0\0" + b"\0\0\0\0\0\0\0\1" + length.to_bytes(4, "big")
        await pour(session.send, HEADER + b"\x0d/yamux/1.0.0\n" + opening, length)


async def muxer_junk(node: Mesh, rogue: Rogue, length: int) -> None:
    async with session_with(node, rogue.seed) as session, trio.open_nursery() as nursery:
        nursery.start_soon(over, lambda: session.read(1))
        await pour(session.send, HEADER + b"\x11/fednode/yamux/1\n", length)


async def pour_at_stream(node: Mesh, rogue: Rogue, protocol: str, head: bytes, length: int) -> None:
    """Open a stream, say what is usual, then promise too much, past every window."""
    await rogue.connect(node)
    try:
        stream = await rogue.open(node, protocol) if protocol else await rogue.open_raw(node)
        stream.muxed_stream.send_window = 1 << 40  # type: ignore[attr-defined]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(over, lambda: stream.read(1000))
            await pour(stream.write, head, length)
    finally:
        await rogue.host.disconnect(ID.from_base58(node.me))


async def stream_name(node: Mesh, rogue: Rogue, length: int) -> None:
    await pour_at_stream(node, rogue, "", HEADER + encode_uvarint(length), length)


async def gossip_frame(node: Mesh, rogue: Rogue, length: int) -> None:
    size = max(length, wire_limits.MAX_GOSSIP_RPC_BYTES + 1)
    await pour_at_stream(node, rogue, "/meshsub/1.1.0", encode_uvarint(size), length)


async def consensus_frame(node: Mesh, rogue: Rogue, length: int) -> None:
    size = max(length, wire_limits.MAX_FRAME_BYTES + 1)
    await pour_at_stream(node, rogue, "/fednode/consensus/1", HELLO + size.to_bytes(4, "big"), length)


async def hello(node: Mesh, rogue: Rogue, length: int) -> None:
    await pour_at_stream(node, rogue, "/fednode/consensus/1", length.to_bytes(4, "big"), length)


async def blob_header(node: Mesh, rogue: Rogue, length: int) -> None:
    head = max(length, wire_limits.MAX_BLOB_HEADER_BYTES + 1).to_bytes(4, "big") + (1 << 20).to_bytes(8, "big")
    await pour_at_stream(node, rogue, "/fednode/bulk/2", HELLO + head, length)


STAGES = {
    STRANGER_BYTES: (first_line, second_line, many_lines, noise_message),
    MEMBER_BYTES: (
        muxer_name, muxer_header, muxer_junk, stream_name, hello, consensus_frame, blob_header, gossip_frame,
    ),
}
CASES = [pytest.param(bound, stage, id=stage.__name__) for bound, stages in STAGES.items() for stage in stages]


@pytest.mark.slow
@pytest.mark.parametrize(("bound_bytes", "stage"), CASES)
def test_what_a_peer_promises_is_not_believed(
    loopback, rogue, monkeypatch: pytest.MonkeyPatch, bound_bytes: int, stage: Callable[..., Awaitable[None]]
) -> None:
    """Peak of all memory that Python took during each attack; afterwards the host still serves its members."""
    monkeypatch.setattr(peers, "HANDSHAKES_BURST", 1e6)
    monkeypatch.setattr(peers, "DROP_BAN_S", 0.0)
    monkeypatch.setattr(wire_limits, "HANDSHAKE_TIMEOUT_S", 1.0)
    drawn = random.Random(stage.__name__)
    taken: dict[int, int] = {}

    async def main() -> None:
        node, other = loopback.create(), loopback.create()
        seed = os.urandom(32)
        async with loopback.running(node, other, introduce=False), rogue(seed) as mallory:
            mallory.seed = seed
            members: dict[PeerId, tuple[str, ...]] = {node.me: node.listening, other.me: (), mallory.peer: ()}
            node.set_members(members)
            other.set_members(members)
            await loopback.meshed(node, other)
            await stage(node, mallory, 3_000)  # what is loaded at first use is no cost of the attack
            for most in LENGTHS:
                length = drawn.randrange(most // 2, most)
                tracemalloc.start()
                before, _ = tracemalloc.get_traced_memory()
                await stage(node, mallory, length)
                taken[length] = tracemalloc.get_traced_memory()[1] - before
                tracemalloc.stop()
            assert other.send(node.me, b"still here")
            assert (await loopback.next(node, Received)).data == b"still here"

    try:
        trio.run(main)
    finally:
        tracemalloc.stop()
    assert max(taken.values()) < bound_bytes, taken
