"""Field kernels against Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode.kernels import field

P = 2**64 - 2**32 + 1
ROOT = pow(7, 2**32 - 1, P)
EDGES = [0, 1, 2, 2**31, 2**32 - 2, 2**32 - 1, 2**32, 2**32 + 1, 2**48, 2**63, P // 2, P // 2 + 1, P - 2**32,
         P - 2**32 + 1, P - 2, P - 1]
ELEMENTS = st.one_of(st.sampled_from(EDGES), st.integers(0, P - 1))


def vector(values: list[int]) -> field.Elements:
    return np.array(values, np.uint64)


def matrix(rows: list[list[int]], width: int) -> field.Elements:
    return np.array(rows, np.uint64).reshape(len(rows), width)


def check_pairs(left: list[int], right: list[int]) -> None:
    a, b = vector(left), vector(right)
    pairs = list(zip(left, right, strict=True))
    assert field.add(a, b).tolist() == [(x + y) % P for x, y in pairs]
    assert field.subtract(a, b).tolist() == [(x - y) % P for x, y in pairs]
    assert field.multiply(a, b).tolist() == [x * y % P for x, y in pairs]
    assert field.dot(a[None], b).tolist() == [sum(x * y for x, y in pairs) % P]
    for y in right[:2]:
        assert field.multiply(a, vector([y])).tolist() == [x * y % P for x in left]
        assert field.subtract(a, vector([y])).tolist() == [(x - y) % P for x in left]
    assert (a.tolist(), b.tolist()) == (left, right)


def test_all_pairs_of_edges() -> None:
    check_pairs([a for a in EDGES for _ in EDGES], EDGES * len(EDGES))


@settings(max_examples=60)
@given(st.lists(st.tuples(ELEMENTS, ELEMENTS), max_size=40))
def test_pairs(pairs: list[tuple[int, int]]) -> None:
    check_pairs([a for a, _ in pairs], [b for _, b in pairs])


@given(ELEMENTS, ELEMENTS, st.integers(0, 40))
def test_powers(first: int, base: int, count: int) -> None:
    assert field.powers(first, base, count).tolist() == [first * pow(base, k, P) % P for k in range(count)]


@settings(max_examples=40)
@given(st.integers(0, 5), st.integers(0, 6), st.integers(0, 11), st.data())
def test_products_of_matrices(n: int, m: int, width: int, data: st.DataObject) -> None:
    weights = [[data.draw(ELEMENTS) for _ in range(m)] for _ in range(n)]
    rows = [[data.draw(ELEMENTS) for _ in range(width)] for _ in range(m)]
    expected = [[sum(w[k] * rows[k][c] for k in range(m)) % P for c in range(width)] for w in weights]
    assert field.combine(matrix(weights, m), matrix(rows, width)).tolist() == expected
    if rows:
        column = vector([row[0] for row in rows]) if width else vector([0] * m)
        turned = [sum(w[k] * int(column[k]) for k in range(m)) % P for w in weights]
        assert field.dot(matrix(weights, m), column).tolist() == turned


@pytest.mark.parametrize("count", [1, 2, 3, 1 << 16])
def test_sums_of_the_largest_products_carry(count: int) -> None:
    largest = np.full(count, P - 1, np.uint64)
    assert field.dot(largest[None], largest).tolist() == [count]
    assert field.combine(largest[None], np.full((count, 5), P - 1, np.uint64)).tolist() == [[count] * 5]
    odd = np.full(count, 2**63 + 2**32 - 1, np.uint64)
    assert field.dot(odd[None], odd).tolist() == [count * (2**63 + 2**32 - 1) ** 2 % P]


@settings(max_examples=25)
@given(st.integers(0, 5), st.integers(0, 2), st.data())
def test_transforms_evaluate_polynomials(bits: int, count: int, data: st.DataObject) -> None:
    size = 1 << bits
    root = pow(ROOT, 1 << (32 - bits), P)
    rows = [[data.draw(ELEMENTS) for _ in range(size)] for _ in range(count)]
    found = field.transform(matrix(rows, size), field.powers(1, root, size // 2))
    expected = [[sum(c * pow(root, k * at, P) for k, c in enumerate(row)) % P for at in range(size)] for row in rows]
    assert found.tolist() == expected


def test_arrays_that_do_not_fit_are_refused() -> None:
    three, four = field.powers(1, 2, 3), field.powers(1, 2, 4)
    for call in (
        lambda: field.add(three, four), lambda: field.dot(three[None], four), lambda: field.dot(three[None], four[:2]),
        lambda: field.combine(three[None], four[None]), lambda: field.transform(three[None], three[:1]),
        lambda: field.transform(four[None], four[:1]),
    ):
        with pytest.raises(ValueError, match=r"two lengths|one weight|power of two"):
            call()
    with pytest.raises(Exception, match="flags"):
        field.add(four[::2], four[::2])
    with pytest.raises(Exception, match="data type"):
        field.add(four.view(np.int64), four)  # type: ignore[arg-type]
