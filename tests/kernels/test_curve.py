"""Points in C against the formulas in Python integers, against libsodium, and against published points."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode.crypto import GROUP_ORDER, base_times, is_point_valid
from fednode.kernels.library import MAX_INDEX, are_commitments, base_less, evaluate_commitments

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
ROOT = pow(2, (P - 1) // 4, P)
Point = tuple[int, int]
IDENTITY: Point = (0, 1)


# --- the twin: affine points, complete addition (RFC 8032, section 5.1) -----------------------------------------

def slow_add(left: Point, right: Point) -> Point:
    (x1, y1), (x2, y2) = left, right
    cross = D * x1 * x2 * y1 * y2 % P
    x3 = (x1 * y2 + x2 * y1) * pow(1 + cross, -1, P)
    return x3 % P, (y1 * y2 + x1 * x2) * pow(1 - cross, -1, P) % P


def slow_times(factor: int, point: Point) -> Point:
    result = IDENTITY
    for bit in bin(factor)[2:]:
        result = slow_add(result, result)
        if bit == "1":
            result = slow_add(result, point)
    return result


def slow_encode(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def slow_decode(data: bytes) -> Point | None:
    number = int.from_bytes(data, "little")
    y, sign = number % 2**255, number >> 255
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * ROOT % P
    if x * x % P != square or (x == 0 and sign):
        return None
    return (x if x & 1 == sign else P - x), y


def slow_are_commitments(data: bytes) -> bool:
    point = slow_decode(data)
    return point is not None and slow_times(8, point) != IDENTITY


def slow_evaluate(points: list[Point], index: int) -> bytes:
    total = IDENTITY
    for point in reversed(points):
        total = slow_add(slow_times(index, total), point)
    return slow_encode(slow_times(8, total))


BASE = slow_decode(bytes.fromhex("5866666666666666666666666666666666666666666666666666666666666666"))
assert BASE is not None and slow_times(GROUP_ORDER, BASE) == IDENTITY


def small_order_points() -> list[Point]:
    """All eight: multiples of the part of small order of some point that has one of order 8."""
    for y in range(2, 100):
        point = slow_decode(y.to_bytes(32, "little"))
        generator = None if point is None else slow_times(GROUP_ORDER, point)
        if generator is not None and slow_times(4, generator) != IDENTITY:
            return [slow_times(k, generator) for k in range(8)]
    raise AssertionError


SMALL = small_order_points()
SCALARS = st.one_of(st.sampled_from([1, 2, 8, GROUP_ORDER - 1, GROUP_ORDER - 8]), st.integers(1, GROUP_ORDER - 1))
POINTS = st.tuples(SCALARS, st.integers(0, 7)).map(lambda pair: slow_add(slow_times(pair[0], BASE), SMALL[pair[1]]))
INDICES = st.one_of(st.sampled_from([1, 2, 3, 7, 8, 100, 255, 256, MAX_INDEX]), st.integers(1, MAX_INDEX))
EDGE_Y = [*range(60), *range(P - 60, P + 19), 2**51, 2**51 - 1, 2**102, 2**204 - 1, P - 2**51, P - 2**204]


# --- which bytes are commitments ------------------------------------------------------------------------------

@pytest.mark.parametrize("sign", [0, 1])
def test_edges_of_the_encoding(sign: int) -> None:
    """Zero, one, minus one, minus zero, every number of p or more, numbers whose limbs are all ones."""
    seen = set()
    for y in EDGE_Y:
        data = (y | sign << 255).to_bytes(32, "little")
        seen.add(verdict := are_commitments(data))
        assert verdict == slow_are_commitments(data), y
        assert verdict >= is_point_valid(data), "what libsodium takes is taken"
    assert seen == {True, False}


@given(st.binary(min_size=32, max_size=32))
def test_any_bytes_are_judged_as_by_the_twin(data: bytes) -> None:
    assert are_commitments(data) == slow_are_commitments(data)
    assert are_commitments(data) >= is_point_valid(data)


@settings(max_examples=20)
@given(SCALARS)
def test_points_of_small_order_are_none_and_those_with_a_part_of_it_are_some(scalar: int) -> None:
    point = slow_times(scalar, BASE)
    assert base_times(scalar) == slow_encode(point)
    for at, small in enumerate(SMALL):
        assert not are_commitments(slow_encode(small))
        mixed = slow_encode(slow_add(point, small))
        assert are_commitments(mixed) and is_point_valid(mixed) == (at == 0)


def test_one_that_is_none_spoils_all() -> None:
    good, bad = base_times(5), slow_encode(SMALL[1])
    for at in range(4):
        points = [good] * 4
        assert are_commitments(b"".join(points)) and evaluate_commitments(b"".join(points), 3) is not None
        points[at] = bad
        assert not are_commitments(b"".join(points)) and evaluate_commitments(b"".join(points), 3) is None
    assert not are_commitments(good[:-1]) and evaluate_commitments(good + b"x", 1) is None
    assert are_commitments(b"") and evaluate_commitments(b"", 1) is None
    for index in (0, -1, MAX_INDEX + 1):
        with pytest.raises(ValueError, match="from 1"):
            evaluate_commitments(good, index)


def test_published_keys(shared_dir: Path) -> None:
    """Public keys of Wycheproof, all good, and those of the edge cases on which libraries differ."""
    groups = json.loads((shared_dir / "vectors/wycheproof/testvectors_v1/ed25519_test.json").read_text())["testGroups"]
    for group in groups:
        key = bytes.fromhex(group["publicKey"]["pk"])
        assert are_commitments(key) == is_point_valid(key) == slow_are_commitments(key)
    cases = json.loads((shared_dir / "vectors/ed25519-speccheck/cases.json").read_text())
    for case in cases:
        for text in (case["pub_key"], case["signature"][:64]):
            assert are_commitments(bytes.fromhex(text)) == slow_are_commitments(bytes.fromhex(text))
    assert [are_commitments(bytes.fromhex(case["pub_key"])) for case in cases].count(False) == 4


# --- values of the polynomial ---------------------------------------------------------------------------------

@settings(max_examples=20, deadline=None)
@given(st.lists(POINTS, min_size=1, max_size=5), INDICES)
def test_values_are_those_of_the_twin(points: list[Point], index: int) -> None:
    value = evaluate_commitments(b"".join(map(slow_encode, points)), index)
    assert value == slow_evaluate(points, index)


@settings(max_examples=40, deadline=None)
@given(st.lists(SCALARS, min_size=1, max_size=70), st.integers(1, 256))
def test_values_are_those_of_the_scalars(coefficients: list[int], index: int) -> None:
    """libsodium multiplies the base point by eight times the polynomial's value."""
    value = sum(c * index**k for k, c in enumerate(coefficients)) % GROUP_ORDER
    if value:
        found = evaluate_commitments(b"".join(map(base_times, coefficients)), index)
        assert found == base_times(8 * value)


def test_sums_that_meet_the_identity_on_the_way_or_at_the_end() -> None:
    """Addition is complete: a point with its negative, with itself, the identity with a point."""
    point = slow_times(77, BASE)
    negative = (P - point[0], point[1])
    encoded = {name: slow_encode(p) for name, p in (("+", point), ("-", negative))}
    assert evaluate_commitments(encoded["+"] + encoded["-"], 1) == slow_encode(IDENTITY)
    for word in ("++", "+-+", "-+", "+++", "+-+-", "-+-+-"):
        points = [point if sign == "+" else negative for sign in word]
        for index in (1, 2, 5):
            joined = b"".join(encoded[sign] for sign in word)
            assert evaluate_commitments(joined, index) == slow_evaluate(points, index)


# --- what a proof of knowledge is held against -----------------------------------------------------------------

NUMBERS = st.one_of(st.sampled_from([0, 1, 15, 16, GROUP_ORDER - 1, GROUP_ORDER, 2**255 - 1, 2**256 - 1]),
                    st.integers(0, 2**256 - 1))


@settings(max_examples=20, deadline=None)
@given(NUMBERS, NUMBERS, POINTS)
def test_differences_of_multiples_are_those_of_the_twin(response: int, challenge: int, point: Point) -> None:
    numbers = [number.to_bytes(32, "little") for number in (response, challenge)]
    less = slow_times(challenge, (P - point[0], point[1]))
    assert base_less(*numbers, slow_encode(point)) == slow_encode(slow_add(slow_times(response, BASE), less))


def test_a_difference_may_be_nothing_and_none_is_taken_from_what_is_no_point() -> None:
    one, five = (k.to_bytes(32, "little") for k in (1, 5))
    assert base_less(five, one, base_times(5)) == slow_encode(IDENTITY)
    assert base_less(five, one, slow_encode(SMALL[3])) is None and base_less(five, one, b"\xff" * 32) is None
    with pytest.raises(ValueError, match="32 bytes"):
        base_less(five, one[1:], base_times(5))
