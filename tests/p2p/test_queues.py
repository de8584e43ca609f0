from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fednode.ids import PeerId
from fednode.p2p import wire_limits
from fednode.p2p.framing import FrameSplitter
from fednode.p2p.network import PeerDown, PeerUp, Received
from fednode.p2p.queues import MAX_STATE_EVENTS, Blob, BlobOutbox, Inbox, Outbox, Unread

A, B, C = PeerId("a"), PeerId("b"), PeerId("c")


def test_small_frames_leave_in_one_write() -> None:
    outbox = Outbox()
    for number in range(100):
        assert outbox.put(b"%d" % number)
    assert FrameSplitter().feed(outbox.take()) == [b"%d" % number for number in range(100)]
    assert outbox.take() == b""
    assert outbox.size_bytes == 0


def test_one_write_fits_one_record_unless_a_single_frame_is_larger() -> None:
    outbox = Outbox()
    for size in (40_000, 20_000, 20_000, 300_000, 10):
        assert outbox.put(bytes(size))
    sizes = []
    while batch := outbox.take():
        sizes.append(len(batch))
    assert sizes == [60_008, 20_004, 300_004, 14]


def test_the_outbox_is_bounded_by_count_and_by_bytes() -> None:
    by_count = Outbox()
    assert all(by_count.put(b"x") for _ in range(wire_limits.MAX_OUTBOX_FRAMES))
    assert not by_count.put(b"x")
    by_bytes = Outbox()
    half = bytes(wire_limits.MAX_OUTBOX_BYTES // 2)
    assert by_bytes.put(half)
    assert by_bytes.put(half)
    assert not by_bytes.put(b"x")
    assert by_bytes.clear() == 2
    assert by_bytes.put(half)


def test_the_blob_outbox_keeps_references() -> None:
    outbox = BlobOutbox()
    data = bytearray(10)
    assert outbox.put(Blob(b"h", memoryview(data)))
    data[0] = 7
    blob = outbox.take()
    assert blob.data[0] == 7
    assert outbox.take() is None


def test_the_blob_outbox_is_bounded() -> None:
    outbox = BlobOutbox()
    assert all(outbox.put(Blob(b"", memoryview(b""))) for _ in range(wire_limits.MAX_BLOB_OUTBOX_COUNT))
    assert not outbox.put(Blob(b"", memoryview(b"")))
    assert outbox.clear() == wire_limits.MAX_BLOB_OUTBOX_COUNT


def drain(inbox: Inbox) -> list[object]:
    events: list[object] = []
    while (event := inbox.take()) is not None:
        events.append(event)
    return events


def test_peers_are_taken_in_turn_and_each_keeps_its_order() -> None:
    inbox = Inbox()
    for number in range(3):
        inbox.put_data(A, Received(A, b"%d" % number), 1)
    inbox.put_data(B, Received(B, b"x"), 1)
    inbox.put_data(C, Received(C, b"y"), 1)
    order = [(event.peer, event.data) for event in drain(inbox) if isinstance(event, Received)]
    assert order == [(A, b"0"), (B, b"x"), (C, b"y"), (A, b"1"), (A, b"2")]
    assert len(inbox) == 0


def test_a_flood_fills_only_its_own_lane() -> None:
    inbox = Inbox()
    taken = sum(inbox.put_data(A, Received(A, b""), 0) for _ in range(wire_limits.MAX_INBOX_EVENTS + 10))
    assert taken == wire_limits.MAX_INBOX_EVENTS
    assert inbox.put_data(B, Received(B, b"through"), 7)
    inbox.take()
    assert inbox.take() == Received(B, b"through")
    assert not inbox.put_data(C, Received(C, b""), wire_limits.MAX_INBOX_BYTES + 1)


def test_changes_of_state_pass_a_full_lane_and_keep_their_place() -> None:
    inbox = Inbox()
    inbox.put_state(A, PeerUp(A, ""))
    while inbox.put_data(A, Received(A, b""), 0):
        pass
    inbox.put_state(A, PeerDown(A, "gone"))
    events = drain(inbox)
    assert events[0] == PeerUp(A, "")
    assert events[-1] == PeerDown(A, "gone")


def test_a_flapping_peer_does_not_grow_the_inbox() -> None:
    inbox = Inbox()
    for number in range(10 * MAX_STATE_EVENTS + 3):
        inbox.put_state(A, PeerDown(A, str(number)))
    assert len(inbox) <= MAX_STATE_EVENTS
    assert drain(inbox)[-1] == PeerDown(A, str(10 * MAX_STATE_EVENTS + 2))


def test_blobs_have_a_bound_of_their_own() -> None:
    inbox = Inbox()
    assert inbox.has_room_for_blob(A, wire_limits.MAX_BLOB_INBOX_BYTES)
    inbox.put_blob(A, Received(A, b""), wire_limits.MAX_BLOB_INBOX_BYTES)
    assert not inbox.has_room_for_blob(A, 1)
    assert inbox.has_room_for_blob(B, 1)
    inbox.take()
    assert inbox.has_room_for_blob(A, 1)


@given(st.lists(st.tuples(st.sampled_from("pt"), st.integers(1, 9_000), st.integers(1, 4)), max_size=60))
def test_unread_bytes_come_out_as_they_went_in(steps: list[tuple[str, int, int]]) -> None:
    unread, expected, number = Unread(), bytearray(), 0
    for kind, size, part in steps:
        if kind == "p":
            buffer = bytes((number + index) % 251 for index in range(size))
            number += size
            unread.put(memoryview(buffer)[: max(1, size // part)], size)
            expected += buffer[: max(1, size // part)]
        elif unread:
            taken = bytes(unread.take(size))
            assert 0 < len(taken) <= size
            assert expected[: len(taken)] == taken
            del expected[: len(taken)]
        assert len(unread) == unread.size_bytes == len(expected)


def test_unread_bytes_do_not_keep_the_large_buffers_alive_that_they_came_in() -> None:
    unread = Unread()
    for _ in range(10_000):
        unread.put(memoryview(bytes(65_519))[:1], 65_519)
    assert len(unread) == 10_000
    assert len(unread._pieces) == 1
    assert isinstance(unread._pieces[0], bytearray)
    unread.clear()
    assert not unread
