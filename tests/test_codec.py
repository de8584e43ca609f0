"""The canonical codec: one value, one encoding; everything else is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.codec import MAX_DEPTH, U16, Bytes32, Name, Size, decode, encode, pack, tagged, unpack
from fednode.errors import Rejected

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=20,
)


@given(plain)
def test_decoding_gives_the_value_back_and_only_these_bytes(value: object) -> None:
    data = pack(value)  # type: ignore[arg-type]
    assert unpack(data, len(data)) == value
    assert pack(unpack(data, len(data))) == data


@given(st.binary(max_size=60))
def test_foreign_bytes_are_canonical_or_rejected(data: bytes) -> None:
    try:
        value = unpack(data, 60)
    except Rejected:
        return
    assert pack(value) == data


@pytest.mark.parametrize("value", [1.5, {"a": 1}, [1], (1, [2])])
def test_values_without_canonical_form_are_a_callers_bug(value: object) -> None:
    with pytest.raises(TypeError):
        pack(value)  # type: ignore[arg-type]


def test_integers_beyond_64_bits_are_a_callers_bug() -> None:
    with pytest.raises(ValueError, match="64 bits"):
        pack(2**64)


def test_nesting_is_bounded() -> None:
    data = b"\x91" * (MAX_DEPTH + 2) + b"\xc0"
    with pytest.raises(Rejected):
        unpack(data, 1000)
    with pytest.raises(Rejected):
        unpack(b"\x91" * 5000 + b"\xc0", 10_000)


def test_size_is_checked_before_decoding() -> None:
    with pytest.raises(Rejected, match="at most 3"):
        unpack(pack(b"four"), 3)


def test_published_suite_takes_exactly_the_minimal_encodings(shared_dir: Path) -> None:
    suite = json.loads((shared_dir / "vectors/msgpack-test-suite/dist/msgpack-test-suite.json").read_text())
    refused = accepted = 0
    for group, cases in suite.items():
        for case in cases:
            encodings = [bytes.fromhex(text.replace("-", "")) for text in case["msgpack"]]
            for data in encodings:
                try:
                    value = unpack(data, len(data))
                except Rejected:
                    refused += 1
                    continue
                accepted += 1
                assert data == pack(value), group
                others = [other for other in encodings if other[:1] not in (b"\xca", b"\xcb")]  # no floats
                assert len(data) == min(len(other) for other in others), group
    assert accepted > 50
    assert refused > 130


@tagged(1)
@dataclass(frozen=True, slots=True)
class Ping:
    number: U16


@tagged(2)
@dataclass(frozen=True, slots=True)
class Put:
    key: Bytes32
    name: Name
    items: Annotated[tuple[tuple[U16, bytes], ...], Size(0, 2)]
    note: Annotated[str, Size(0, 5)] | None = None


Message = Ping | Put


def test_records_round_trip_inside_a_union() -> None:
    put = Put(bytes(32), "a", ((1, b"x"),), None)
    assert decode(Message, encode(put, Message), 100) == put  # type: ignore[arg-type]
    assert decode(Message, encode(Ping(7), Message), 100) == Ping(7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [
        (3, 1), (1,), (1, 2, 3), (1, -1), (1, 65536), (1, True), (1, "1"), (), 1, (True, 1),
        (2, bytes(31), "a", (), None), (2, bytes(32), "", (), None), (2, bytes(32), "a", ((1, b""),) * 3, None),
        (2, bytes(32), "a", ((1,),), None), (2, bytes(32), "a", (), "toolong"), (2, bytes(32), b"a", (), None),
    ],
)
def test_records_that_do_not_fit_their_annotations_are_rejected(value: object) -> None:
    with pytest.raises(Rejected):
        decode(Message, pack(value), 1000)  # type: ignore[arg-type]
