"""Field kernels against Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode.kernels import arrays

P = 2**64 - 2**32 + 1
ROOT = pow(7, 2**32 - 1, P)
EDGES = [0, 1, 2, 2**31, 2**32 - 2, 2**32 - 1, 2**32, 2**32 + 1, 2**48, 2**63, P // 2, P // 2 + 1, P - 2**32,
         P - 2**32 + 1, P - 2, P - 1]
ELEMENTS = st.one_of(st.sampled_from(EDGES), st.integers(0, P - 1))


def vector(values: list[int]) -> arrays.Elements:
    return np.array(values, np.uint64)


def matrix(rows: list[list[int]], width: int) -> arrays.Elements:
    return np.array(rows, np.uint64).reshape(len(rows), width)


def check_pairs(left: list[int], right: list[int]) -> None:
    a, b = vector(left), vector(right)
    pairs = list(zip(left, right, strict=True))
    assert arrays.add(a, b).tolist() == [(x + y) % P for x, y in pairs]
    assert arrays.subtract(a, b).tolist() == [(x - y) % P for x, y in pairs]
    assert arrays.multiply(a, b).tolist() == [x * y % P for x, y in pairs]
    assert arrays.dot(a[None], b).tolist() == [sum(x * y for x, y in pairs) % P]
    for y in right[:2]:
        assert arrays.multiply(a, vector([y])).tolist() == [x * y % P for x in left]
        assert arrays.subtract(a, vector([y])).tolist() == [(x - y) % P for x in left]
    assert (a.tolist(), b.tolist()) == (left, right)


def test_all_pairs_of_edges() -> None:
    check_pairs([a for a in EDGES for _ in EDGES], EDGES * len(EDGES))


@settings(max_examples=60)
@given(st.lists(st.tuples(ELEMENTS, ELEMENTS), max_size=40))
def test_pairs(pairs: list[tuple[int, int]]) -> None:
    check_pairs([a for a, _ in pairs], [b for _, b in pairs])


@given(ELEMENTS, ELEMENTS, st.integers(0, 40))
def test_powers(first: int, base: int, count: int) -> None:
    assert arrays.powers(first, base, count).tolist() == [first * pow(base, k, P) % P for k in range(count)]


@settings(max_examples=40)
@given(st.integers(0, 5), st.integers(0, 6), st.integers(0, 11), st.data())
def test_products_of_matrices(n: int, m: int, width: int, data: st.DataObject) -> None:
    weights = [[data.draw(ELEMENTS) for _ in range(m)] for _ in range(n)]
    rows = [[data.draw(ELEMENTS) for _ in range(width)] for _ in range(m)]
    expected = [[sum(w[k] * rows[k][c] for k in range(m)) % P for c in range(width)] for w in weights]
    assert arrays.combine(matrix(weights, m), matrix(rows, width)).tolist() == expected
    if rows:
        column = vector([row[0] for row in rows]) if width else vector([0] * m)
        turned = [sum(w[k] * int(column[k]) for k in range(m)) % P for w in weights]
        assert arrays.dot(matrix(weights, m), column).tolist() == turned


@pytest.mark.parametrize("count", [1, 2, 3, 1 << 16])
def test_sums_of_the_largest_products_carry(count: int) -> None:
    largest = np.full(count, P - 1, np.uint64)
    assert arrays.dot(largest[None], largest).tolist() == [count]
    assert arrays.combine(largest[None], np.full((count, 5), P - 1, np.uint64)).tolist() == [[count] * 5]
    odd = np.full(count, 2**63 + 2**32 - 1, np.uint64)
    assert arrays.dot(odd[None], odd).tolist() == [count * (2**63 + 2**32 - 1) ** 2 % P]


@settings(max_examples=25)
@given(st.integers(0, 5), st.integers(0, 2), st.data())
def test_transforms_evaluate_polynomials(bits: int, count: int, data: st.DataObject) -> None:
    size = 1 << bits
    root = pow(ROOT, 1 << (32 - bits), P)
    rows = [[data.draw(ELEMENTS) for _ in range(size)] for _ in range(count)]
    found = arrays.transform(matrix(rows, size), arrays.powers(1, root, size // 2))
    expected = [[sum(c * pow(root, k * at, P) for k, c in enumerate(row)) % P for at in range(size)] for row in rows]
    assert found.tolist() == expected


def test_arrays_that_do_not_fit_are_refused() -> None:
    three, four = arrays.powers(1, 2, 3), arrays.powers(1, 2, 4)
    for call in (
        lambda: arrays.add(three, four), lambda: arrays.dot(three[None], four),
        lambda: arrays.dot(three[None], four[:2]),
        lambda: arrays.combine(three[None], four[None]), lambda: arrays.transform(three[None], three[:1]),
        lambda: arrays.transform(four[None], four[:1]),
    ):
        with pytest.raises(ValueError, match=r"two lengths|one weight|power of two"):
            call()
    with pytest.raises(Exception, match="flags"):
        arrays.add(four[::2], four[::2])
    with pytest.raises(Exception, match="data type"):
        arrays.add(four.view(np.int64), four)  # type: ignore[arg-type]


# --- which points lie on a polynomial -----------------------------------------------------------------------------

def value_of(coefficients: list[int], point: int) -> int:
    return sum(c * pow(point, k, P) for k, c in enumerate(coefficients)) % P


@settings(max_examples=60)
@given(st.integers(1, 24), st.integers(0, 8), st.data())
def test_errors_that_can_be_told_are_told(count: int, degree: int, data: st.DataObject) -> None:
    points = data.draw(st.lists(st.integers(1, P - 1), min_size=count, max_size=count, unique=True))
    coefficients = data.draw(st.sampled_from([[], [5], [0, 1]])) or [data.draw(ELEMENTS) for _ in range(degree + 1)]
    coefficients = coefficients[: degree + 1]
    most = max(0, (count - degree - 1) // 2)
    wrong = data.draw(st.sets(st.integers(0, count - 1), max_size=most))
    values = [(value_of(coefficients, x) + (k in wrong) * (1 + k)) % P for k, x in enumerate(points)]
    if degree < count:
        found = arrays.decode(vector(points), vector(values), degree, count - most)
        assert found is not None and found.tolist() == [k not in wrong for k in range(count)]
        if wrong:
            assert arrays.decode(vector(points), vector(values), degree, count - len(wrong) + 1) is None


@pytest.mark.parametrize("count", [4, 100, 256])
def test_the_largest_sets_with_as_many_errors_as_can_be_told(count: int) -> None:
    faults = (count - 1) // 3
    coefficients = arrays.powers(7, 11, faults + 1).tolist()
    values = [value_of(coefficients, x) for x in range(1, count + 1)]
    points = vector(list(range(1, count + 1)))
    wrong = range(3, 3 + faults)
    for k in wrong:
        values[k] = (values[k] * 3 + 1) % P
    found = arrays.decode(points, vector(values), faults, count - faults)
    assert found is not None and [k for k, is_on in enumerate(found.tolist()) if not is_on] == list(wrong)
    values[0] ^= 1
    assert arrays.decode(points, vector(values), faults, count - faults) is None, "one error more than can be told"


def test_points_on_no_polynomial_or_too_many() -> None:
    points = vector(list(range(1, 8)))
    halves = vector([value_of([1, 2], x) if x < 4 else value_of([9, 7], x) for x in range(1, 8)])
    assert arrays.decode(points, halves, 1, 5) is None
    assert arrays.decode(points, np.zeros(7, np.uint64), 1, 7) is not None, "zero is a polynomial"
    for call in (
        lambda: arrays.decode(points, halves[:3], 1, 5),
        lambda: arrays.decode(vector(list(range(1, 258))), vector([0] * 257), 1, 5),
    ):
        with pytest.raises(ValueError, match="at most 256"):
            call()
