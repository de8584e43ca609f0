from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.errors import Rejected
from fednode.p2p import wire_limits
from fednode.p2p.framing import KEEPALIVE, FrameSplitter, Hello, blob_prefix, frame, parse_blob_prefix

CHAIN = bytes(range(32))


@given(st.lists(st.binary(max_size=300), max_size=12), st.integers(1, 64))
def test_frames_survive_any_cut(payloads: list[bytes], step: int) -> None:
    wire = b"".join(frame(payload) for payload in payloads)
    splitter = FrameSplitter()
    got: list[bytes] = []
    for start in range(0, len(wire), step):
        got += splitter.feed(wire[start : start + step])
    assert got == payloads


def test_an_empty_frame_is_a_keepalive() -> None:
    assert FrameSplitter().feed(KEEPALIVE) == [b""]


def test_an_oversized_frame_is_rejected_before_its_data_arrives() -> None:
    with pytest.raises(Rejected, match="frame of"):
        FrameSplitter().feed(struct.pack(">I", wire_limits.MAX_FRAME_BYTES + 1))


def test_the_largest_frame_passes() -> None:
    data = bytes(wire_limits.MAX_FRAME_BYTES)
    assert FrameSplitter().feed(frame(data)) == [data]


def parse(framed: bytes) -> Hello:
    (payload,) = FrameSplitter().feed(framed)
    return Hello.from_frame(payload)


def test_hello_round_trip() -> None:
    hello = Hello(7, CHAIN)
    assert parse(hello.to_bytes()) == hello
    assert hello.mismatch(Hello(7, CHAIN)) is None


def test_a_longer_hello_of_a_later_version_is_still_understood() -> None:
    (payload,) = FrameSplitter().feed(Hello(9, CHAIN).to_bytes())
    assert Hello.from_frame(payload + b"something new") == Hello(9, CHAIN)


@pytest.mark.parametrize("payload", [b"", b"x" * 39, b"x" * 40, bytes(wire_limits.MAX_HELLO_BYTES + 1)])
def test_a_broken_hello_is_rejected(payload: bytes) -> None:
    with pytest.raises(Rejected, match="hello"):
        Hello.from_frame(payload)


def test_a_mismatch_names_both_versions_and_both_chains() -> None:
    assert Hello(1, CHAIN).mismatch(Hello(2, CHAIN)) == "it speaks protocol version 2, this node speaks 1"
    reason = Hello(1, CHAIN).mismatch(Hello(1, bytes(32)))
    assert reason == "it follows chain 0000000000000000, this node follows 0001020304050607"


def test_blob_prefix_round_trip() -> None:
    prefix = blob_prefix(b"header", 1 << 29)
    assert parse_blob_prefix(prefix[:12]) == (6, 1 << 29)
    assert prefix[12:] == b"header"


@pytest.mark.parametrize(
    ("header_bytes", "size_bytes"),
    [(wire_limits.MAX_BLOB_HEADER_BYTES + 1, 0), (0, wire_limits.MAX_BLOB_BYTES + 1), (2**32 - 1, 2**64 - 1)],
)
def test_blobs_beyond_the_limits_are_rejected(header_bytes: int, size_bytes: int) -> None:
    with pytest.raises(Rejected, match="blob"):
        parse_blob_prefix(struct.pack(">IQ", header_bytes, size_bytes))
