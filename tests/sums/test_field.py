"""The field of the proofs against Python integers and the published parameters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.sums import field
from fednode.sums.field import MODULUS

EDGES = [0, 1, 2, 2**31, 2**32 - 2, 2**32 - 1, 2**32, 2**32 + 1, 2**63, MODULUS // 2, MODULUS // 2 + 1, MODULUS - 2**32,
         MODULUS - 2, MODULUS - 1]
ELEMENTS = st.one_of(st.sampled_from(EDGES), st.integers(0, MODULUS - 1))
PAIRS = st.lists(st.tuples(ELEMENTS, ELEMENTS), min_size=1, max_size=30)


def vector(values: list[int]) -> field.FieldVector:
    return np.array(values, np.uint64)


def slow_value(coefficients: list[int], point: int) -> int:
    return sum(c * pow(point, k, MODULUS) for k, c in enumerate(coefficients)) % MODULUS


def check_pairs(left: list[int], right: list[int]) -> None:
    a, b = vector(left), vector(right)
    for fast, slow in (
        (field.add(a, b), [x + y for x, y in zip(left, right, strict=True)]),
        (field.subtract(a, b), [x - y for x, y in zip(left, right, strict=True)]),
        (field.multiply(a, b), [x * y for x, y in zip(left, right, strict=True)]),
    ):
        assert fast.tolist() == [value % MODULUS for value in slow]
    assert field.dot(a, b).tolist() == sum(x * y for x, y in zip(left, right, strict=True)) % MODULUS
    assert field.total(a).tolist() == sum(left) % MODULUS
    assert (a.tolist(), b.tolist()) == (left, right), "the arguments are left alone"


def test_all_pairs_of_edges() -> None:
    check_pairs([a for a in EDGES for _ in EDGES], EDGES * len(EDGES))


@given(PAIRS)
def test_arithmetic_is_that_of_integers_modulo_p(pairs: list[tuple[int, int]]) -> None:
    check_pairs([a for a, _ in pairs], [b for _, b in pairs])


def test_a_sum_of_many_large_elements_does_not_wrap() -> None:
    assert int(field.total(np.full(1 << 17, MODULUS - 1, np.uint64))) == -(1 << 17) % MODULUS


@given(st.lists(st.integers(-(2**63) + 2**31, 2**63 - 1), min_size=1))
def test_integers_of_both_signs_come_back(values: list[int]) -> None:
    small = [value for value in values if abs(value) <= MODULUS // 2]
    elements = field.from_integers(values)
    assert elements.tolist() == [value % MODULUS for value in values]
    assert elements.tolist() == field.from_integers(np.array(values, np.int64)).tolist()
    assert field.centre(field.from_integers(small)).tolist() == small


@given(ELEMENTS.filter(bool), st.integers(1, 40))
def test_powers_and_inverse(base: int, count: int) -> None:
    assert field.powers(base, count).tolist() == [pow(base, k, MODULUS) for k in range(count)]
    assert base * field.inverse(base) % MODULUS == 1
    inverted = field.invert_all(field.powers(base, count))
    assert inverted.tolist() == [pow(base, -k, MODULUS) for k in range(count)]


@given(st.integers(0, 4).flatmap(lambda bits: st.lists(ELEMENTS, min_size=2**bits, max_size=2**bits)), ELEMENTS)
def test_transforms_are_evaluation_and_interpolation(coefficients: list[int], point: int) -> None:
    size = len(coefficients)
    root = field.root_of_unity(size)
    values = field.evaluate_at_roots(vector(coefficients))
    assert values.tolist() == [slow_value(coefficients, pow(root, k, MODULUS)) for k in range(size)]
    assert field.interpolate_at_roots(values).tolist() == coefficients
    stacked = field.evaluate_at_roots(np.stack([vector(coefficients)] * 3))
    assert (stacked == values).all()
    if pow(point, size, MODULUS) != 1:
        assert int(field.dot(field.lagrange_at_roots(size, point), values)) == slow_value(coefficients, point)


def test_a_point_among_the_roots_is_refused() -> None:
    with pytest.raises(ValueError, match="one of the roots"):
        field.lagrange_at_roots(8, field.root_of_unity(8))
    with pytest.raises(ValueError, match="power of two"):
        field.root_of_unity(12)


@given(st.lists(st.lists(ELEMENTS, min_size=3, max_size=3), min_size=2, max_size=5), st.lists(ELEMENTS, min_size=5))
def test_combine_is_a_matrix_product(rows: list[list[int]], weights: list[int]) -> None:
    weights = (weights * 5)[: len(rows)]
    combined = field.combine(vector(weights), np.array(rows, np.uint64))
    expected = [sum(w * row[c] for w, row in zip(weights, rows, strict=True)) % MODULUS for c in range(3)]
    assert combined.tolist() == expected
    assert field.combine(np.stack([vector(weights)] * 2), np.array(rows, np.uint64)).tolist() == [expected] * 2


@given(st.binary(min_size=16, max_size=16), st.integers(0, 50))
def test_expanded_elements_are_canonical_and_a_prefix_of_longer_ones(key: bytes, count: int) -> None:
    elements = field.expand(key, count)
    assert elements.size == count and field.is_canonical(elements)
    assert field.expand(key, count + 7)[:count].tolist() == elements.tolist()


def test_bytes_are_refused_unless_canonical() -> None:
    data = (MODULUS - 1).to_bytes(8, "little")
    decoded = field.from_bytes(data * 2, 2)
    assert decoded is not None and decoded.tolist() == [MODULUS - 1] * 2
    assert field.to_bytes(decoded) == data * 2
    assert field.from_bytes(data, 2) is None
    assert field.from_bytes(MODULUS.to_bytes(8, "little"), 1) is None


def test_parameters_are_those_of_vdaf_field64() -> None:
    assert MODULUS == 2**32 * 4294967295 + 1
    assert pow(field.GENERATOR, 2**32, MODULUS) == 1 != pow(field.GENERATOR, 2**31, MODULUS)


@pytest.mark.parametrize("name", ["Prio3Count_0", "Prio3Count_1", "Prio3Count_2", "Prio3Sum_0", "Prio3Sum_1"])
def test_published_aggregate_shares_add_up(shared_dir: Path, name: str) -> None:
    vectors = json.loads((shared_dir / "vectors/vdaf/test_vec/vdaf" / f"{name}.json").read_text())
    shares = [field.from_bytes(bytes.fromhex(share), 1) for share in vectors["agg_shares"]]
    total = np.zeros(1, np.uint64)
    for share in shares:
        assert share is not None
        total = field.add(total, share)
    assert total.tolist() == [vectors["agg_result"]]
