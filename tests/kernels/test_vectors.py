from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

from fednode.kernels import arrays

BITS = 24
EXTREMES = [-(2**31), -(2**31) + 1, -1, 0, 1, 2**31 - 1]


@given(
    st.integers(0, 70).flatmap(
        lambda size: st.tuples(
            hypothesis_numpy.arrays(np.int64, size, elements=st.integers(-(1 << 39), 1 << 39)),
            hypothesis_numpy.arrays(np.int32, size, elements=st.integers(-(1 << 31), (1 << 31) - 1)),
        )
    ),
    st.integers(0, (1 << 31) - 1),
)
def test_merge_is_that_of_integers(vectors_: tuple[np.ndarray, np.ndarray], factor: int) -> None:
    model, total = vectors_
    merged = arrays.merge(model, total, factor, BITS)
    slow = [m + ((x * factor + (1 << (BITS - 1))) >> BITS) for m, x in zip(model.tolist(), total.tolist(), strict=True)]
    assert merged.tolist() == slow


@settings(max_examples=50)
@given(st.lists(st.one_of(st.sampled_from(EXTREMES), st.integers(-(2**31), 2**31 - 1)), max_size=70))
def test_the_largest_is_found(values: list[int]) -> None:
    assert arrays.find_largest(np.array(values, np.int32)) == max(map(abs, values), default=0)


def test_arrays_of_another_shape_or_layout_are_refused() -> None:
    model, total = np.zeros(8, np.int64), np.zeros(8, np.int32)
    with pytest.raises(ValueError, match="one length"):
        arrays.merge(model, total[:7], 1, BITS)
    with pytest.raises(ValueError, match="array of <i4"):
        arrays.merge(model, np.zeros(8, np.int64), 1, BITS)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="array of <i8"):
        arrays.merge(model, total, 1, BITS, out=np.zeros(16, np.int64)[::2])
    for out in (model, np.zeros(16, np.int64)[:7], total.view(np.int64)):
        with pytest.raises(ValueError, match="of its own"):
            arrays.merge(model, total, 1, BITS, out=out)
