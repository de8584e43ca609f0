"""Blob transfers on a stream in memory: small, offered, refused, cut and resumed, and answers that make no sense."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
import trio
from blake3 import blake3

from fednode.errors import Rejected
from fednode.ids import PeerId
from fednode.p2p import framing, wire_limits
from fednode.p2p.blobs import BlobReceiver, BlobSender, PartialBlob, PartialBlobs, _Hash
from fednode.p2p.framing import Answer
from fednode.p2p.queues import Blob
from fednode.p2p.rooms import Rooms
from fednode.p2p.stream import StreamEnded, StreamReader, Target

ALICE = PeerId("alice")
SIZE = 3 * wire_limits.OFFERED_BLOB_BYTES + 12_345
DATA = os.urandom(SIZE)


class Pipe:
    """One end of a stream in memory; it can be cut after a number of bytes."""

    def __init__(self, incoming: trio.MemoryReceiveChannel[bytes], outgoing: trio.MemorySendChannel[bytes]) -> None:
        self.incoming = incoming
        self.outgoing = outgoing
        self.sent_bytes = 0
        self.cut_after: int | None = None
        self.rest = b""

    async def read(self, max_bytes: int) -> bytes:
        if not self.rest:
            try:
                self.rest = await self.incoming.receive()
            except trio.EndOfChannel:
                raise StreamEnded("cut") from None
        part, self.rest = self.rest[:max_bytes], self.rest[max_bytes:]
        return part

    async def fill(self, target: Target) -> None:
        while target.room_bytes:
            target.put(await self.read(target.room_bytes))

    async def write(self, data: bytes | memoryview) -> None:
        data = bytes(data)
        if self.cut_after is not None and self.sent_bytes + len(data) > self.cut_after:
            data = data[: self.cut_after - self.sent_bytes]
        self.sent_bytes += len(data)
        if data:
            await self.outgoing.send(data)
        if self.sent_bytes == self.cut_after:
            await self.outgoing.aclose()
            raise StreamEnded("cut")


def pipes() -> tuple[Pipe, Pipe]:
    to_right, at_right = trio.open_memory_channel[bytes](0)
    to_left, at_left = trio.open_memory_channel[bytes](0)
    return Pipe(at_left, to_right), Pipe(at_right, to_left)


def receiver(pipe: Pipe, partials: PartialBlobs, is_wanted: bool = True) -> BlobReceiver:
    return BlobReceiver(ALICE, pipe, StreamReader(pipe), partials, lambda header, size_bytes: is_wanted)


async def transfer(
    data: bytes,
    partials: PartialBlobs,
    *,
    cut_after: int | None = None,
    header: bytes = b"chunk",
    is_wanted: bool = True,
) -> tuple[int, tuple[bytes, memoryview | None] | None]:
    """Send one blob; returns how many bytes the sender sent and what came in."""
    left, right = pipes()
    left.cut_after = cut_after
    outcome = None

    async def send() -> None:
        try:
            await BlobSender(left).send(Blob(header, memoryview(data)))
        except StreamEnded:
            assert cut_after is not None

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            try:
                outcome = await receiver(right, partials, is_wanted).receive()
            except StreamEnded:
                assert cut_after is not None
    return left.sent_bytes, outcome


@pytest.mark.parametrize(
    "size", [0, 1, 70_000, wire_limits.OFFERED_BLOB_BYTES - 1, wire_limits.OFFERED_BLOB_BYTES, SIZE]
)
async def test_a_blob_arrives_whole(size: int) -> None:
    partials = PartialBlobs()
    _, outcome = await transfer(DATA[:size], partials)
    assert outcome is not None
    assert outcome == (b"chunk", DATA[:size])
    assert partials.size_bytes == 0


async def test_a_transfer_cut_at_60_percent_goes_on_there() -> None:
    partials = PartialBlobs()
    cut_after = SIZE * 6 // 10
    assert (await transfer(DATA, partials, cut_after=cut_after))[1] is None
    assert 0 < cut_after - partials.size_bytes < 100
    sent_bytes, outcome = await transfer(DATA, partials)
    assert outcome == (b"chunk", DATA)
    assert 0 < sent_bytes - (SIZE - cut_after) < 200
    assert partials.size_bytes == 0


async def test_a_transfer_cut_again_and_again_arrives() -> None:
    partials, sent_bytes = PartialBlobs(), 0
    for _ in range(8):
        sent_bytes += (await transfer(DATA, partials, cut_after=300_000))[0]
    more_bytes, outcome = await transfer(DATA, partials)
    assert outcome == (b"chunk", DATA)
    assert sent_bytes + more_bytes < SIZE + 9 * 200


async def test_another_blob_of_the_same_name_starts_anew() -> None:
    other = os.urandom(SIZE)
    partials = PartialBlobs()
    await transfer(DATA, partials, cut_after=SIZE // 2)
    sent_bytes, outcome = await transfer(other, partials)
    assert outcome == (b"chunk", other)
    assert sent_bytes > SIZE


async def test_what_is_kept_is_of_one_name_and_size() -> None:
    for header, size in ((b"another", SIZE), (b"chunk", SIZE - 1)):
        partials = PartialBlobs()
        await transfer(DATA, partials, cut_after=SIZE // 2)
        sent_bytes, outcome = await transfer(DATA[:size], partials, header=header)
        assert outcome == (header, DATA[:size])
        assert sent_bytes > size


async def test_an_unwanted_large_blob_is_not_even_sent() -> None:
    sent_bytes, outcome = await transfer(DATA, PartialBlobs(), is_wanted=False)
    assert outcome is None
    assert sent_bytes < 100


@pytest.mark.parametrize(
    "answer",
    [
        Answer(True, SIZE + 1, bytes(32)).to_bytes(),
        Answer(True, 2**64 - 1, bytes(32)).to_bytes(),
        b"\x02" + Answer(True, 0, bytes(32)).to_bytes()[1:],
    ],
)
async def test_a_senseless_answer_is_refused(answer: bytes) -> None:
    left, right = pipes()
    async with trio.open_nursery() as nursery:

        async def reply() -> None:
            await right.read(100)
            await right.write(answer)

        nursery.start_soon(reply)
        with pytest.raises(Rejected):
            await BlobSender(left).send(Blob(b"", memoryview(DATA)))
        nursery.cancel_scope.cancel()


async def test_an_offer_without_an_answer_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_limits, "WRITE_STALL_S", 0.05)
    left, right = pipes()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(right.read, 100)
        with pytest.raises(StreamEnded, match="does not answer"):
            await BlobSender(left).send(Blob(b"", memoryview(DATA)))


@pytest.mark.parametrize("start", [1, SIZE, 2**64 - 1])
async def test_a_start_that_nobody_asked_for_is_refused(start: int) -> None:
    left, right = pipes()
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            await left.write(framing.blob_prefix(b"", SIZE))
            await left.read(100)
            await left.write(framing.blob_start(start))

        nursery.start_soon(send)
        with pytest.raises(Rejected, match="starts elsewhere"):
            await receiver(right, PartialBlobs()).receive()


async def test_a_blob_with_a_wrong_hash_is_not_kept() -> None:
    partials = PartialBlobs()
    left, right = pipes()
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            await left.write(framing.blob_prefix(b"x", SIZE))
            await left.read(100)
            await left.write(framing.blob_start(0))
            await left.write(DATA)
            await left.write(blake3(b"something else").digest())

        nursery.start_soon(send)
        assert await receiver(right, partials).receive() == (b"x", None)
    assert partials.size_bytes == 0


def test_what_is_kept_is_bounded_in_bytes_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_limits, "MAX_PARTIAL_BYTES", 1000)

    def of(received_bytes: int) -> PartialBlob:
        blob = PartialBlob(b"", 2000, Rooms())
        blob.received_bytes = received_bytes
        return blob

    partials = PartialBlobs()
    for number in range(10):
        partials.keep(PeerId(str(number)), of(300), 0.0)
        assert partials.size_bytes <= 1000
    partials.keep(ALICE, of(1001), 0.0)
    assert partials.take(ALICE, b"", 2000).received_bytes == 0
    assert partials.take(PeerId("9"), b"", 2000).received_bytes == 300
    partials.forget(PeerId("8"))
    assert partials.size_bytes == 300
    partials.expire(wire_limits.PARTIAL_KEPT_S - 1)
    assert partials.size_bytes == 300
    partials.expire(wire_limits.PARTIAL_KEPT_S)
    assert partials.size_bytes == 0


async def test_announcing_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_limits, "BLOBS_BURST", 5.0)
    monkeypatch.setattr(wire_limits, "BLOBS_PER_S", 0.001)
    left, right = pipes()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.write, 6 * (framing.blob_prefix(b"", 0) + blake3().digest()))
        receiving = receiver(right, PartialBlobs())
        for _ in range(5):
            assert await receiving.receive() == (b"", b"")
        with pytest.raises(Rejected, match="without end"):
            await receiving.receive()


async def test_a_hash_follows_pieces_of_any_size_in_order() -> None:
    data = memoryview(os.urandom(20_000_000))
    draw = random.Random(1)
    for _ in range(2):
        follower, end = _Hash(), 0
        while end < len(data):
            end = min(len(data), end + draw.choice((1, 1000, 300_000, 4_000_000)) * draw.randint(1, 3))
            follower.advance(data, end)
            if draw.random() < 0.2:
                assert await follower.digest() == blake3(data[:end]).digest()
        assert await follower.digest() == blake3(data).digest()


async def test_a_blob_that_was_read_and_dropped_leaves_its_memory_to_the_next() -> None:
    partials = PartialBlobs()
    places = []
    for number in range(3):
        data = os.urandom(SIZE - 1000 * number)
        _, outcome = await transfer(data, partials)
        assert outcome == (b"chunk", data)
        places.append(np.frombuffer(outcome[1] or b"", np.uint8).ctypes.data)
        del outcome
    assert len(set(places)) == 1


async def test_a_blob_that_is_still_read_stays_as_it_is() -> None:
    partials = PartialBlobs()
    held, contents = [], []
    for number in range(4):
        data = os.urandom(SIZE)
        outcome = (await transfer(data, partials))[1]
        view = (outcome[1], outcome[1][100:].toreadonly(), np.frombuffer(outcome[1], np.uint8), bytes(outcome[1]))[
            number
        ]
        held.append(view)
        contents.append(data[100:] if number == 1 else data)
        del outcome
    assert [bytes(view) for view in held] == contents


async def test_what_is_kept_takes_no_more_memory_than_came_in() -> None:
    """The room is that of a whole blob before; who sends a little of each would hold them all, uncounted."""
    partials = PartialBlobs()
    await transfer(DATA, partials)
    assert partials._rooms.idle_bytes >= SIZE
    await transfer(DATA, partials, cut_after=300_000)
    assert partials.size_bytes < 300_000 and not partials._rooms.idle_bytes
    partials.forget(ALICE)
    assert partials._rooms.idle_bytes < 310_000
    assert (await transfer(DATA, partials))[1] == (b"chunk", DATA)
