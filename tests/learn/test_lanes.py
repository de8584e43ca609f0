from __future__ import annotations

from fractions import Fraction
from math import isqrt

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fednode.errors import Rejected
from fednode.learn import lanes
from fednode.learn.schema import Rows
from fednode.learn.spec import MAX_MEMBERS, UNIT, StudySpec

U64 = st.integers(0, 2**64 - 1)


@given(st.lists(st.lists(U64, min_size=3, max_size=3), min_size=1, max_size=8))
def test_limbs_of_many_members_sum_like_integers(members: list[list[int]]) -> None:
    """The uint32 lanes never wrap; a sum beyond 64 bits is refused rather than cut."""
    total = sum(lanes.encode_limbs(np.array(values, np.uint64)) for values in members)
    expected = [sum(column) for column in zip(*members, strict=True)]
    summed = np.asarray(total, np.uint32)
    if max(expected) >= 1 << 64:
        with pytest.raises(Rejected, match="64 bits"):
            lanes.decode_sum(summed, len(members))
    else:
        assert lanes.decode_sum(summed, len(members)) == expected


def test_limbs_of_the_largest_federation_do_not_wrap() -> None:
    lane = lanes.encode_limbs(np.array([2**64 - 1], np.uint64)).astype(object)
    assert max(lane * MAX_MEMBERS) < 2**32


def test_lanes_no_honest_member_can_cause_are_refused() -> None:
    with pytest.raises(Rejected, match="larger than"):
        lanes.decode_sum(np.array([3 * 255 + 1, *7 * [0]], np.uint32), 3)
    with pytest.raises(Rejected, match="multiple"):
        lanes.decode_sum(np.zeros(5, np.uint32), 3)


# --- statistics -----------------------------------------------------------------------------------------------

Cell = st.one_of(st.just(float("nan")), st.floats(0, 1))
Row = st.tuples(Cell, Cell, Cell, Cell, st.integers(0, 1))


def as_rows(table: list[tuple[float, ...]]) -> Rows:
    array = np.array(table, np.float64).reshape(len(table), 5)
    return Rows(array[:, :4], array[:, 4].astype(np.int64))


def slow_scaling(table: list[tuple[float, ...]]) -> list[tuple[int, int]]:
    """Mean and deviation per feature in plain integers and fractions, from the 2^-16 values."""
    result = []
    for index in range(4):
        cells = [round(row[index] * 65536) for row in table if row[index] == row[index]]
        if not cells:
            result.append((UNIT // 2, UNIT))
            continue
        mean = Fraction(sum(cells), len(cells))
        variance = sum((cell - mean) ** 2 for cell in cells) / len(cells)
        deviation = isqrt(int(variance * (1 << 16)))
        result.append((int(mean * 256), min(UNIT, max(UNIT >> 10, deviation))))
    return result


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(members=st.lists(st.lists(Row, min_size=1, max_size=6), min_size=1, max_size=4))
def test_summed_statistics_scale_like_all_rows_in_one_place(
    spec: StudySpec, members: list[list[tuple[float, ...]]]
) -> None:
    total = np.asarray(sum(lanes.encode_statistics(spec, as_rows(rows)) for rows in members), np.uint32)
    statistics = lanes.decode_statistics(spec, total, len(members))
    everything = [row for rows in members for row in rows]
    assert statistics.rows == len(everything) == sum(statistics.class_rows)
    scaling = lanes.scaling_from(statistics)
    assert list(zip(scaling.mean_q24, scaling.deviation_q24, strict=True)) == slow_scaling(everything)


def test_scaling_is_as_precise_as_floats(spec: StudySpec) -> None:
    random = np.random.default_rng(7)
    features = random.beta(2, 40, (500, 4))
    rows = Rows(features, random.integers(0, 2, 500))
    scaling = lanes.scaling_from(lanes.decode_statistics(spec, lanes.encode_statistics(spec, rows), 1))
    np.testing.assert_allclose(np.array(scaling.mean_q24) / UNIT, features.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(np.array(scaling.deviation_q24) / UNIT, features.std(axis=0), rtol=1e-3)


def test_contradictory_statistics_are_rejected(spec: StudySpec) -> None:
    rows = as_rows([(0.5, 0.25, 0.0, 1.0, 0), (0.75, float("nan"), 1.0, 0.0, 1)])
    good = lanes.encode_statistics(spec, rows)
    assert len(good) == lanes.statistics_lane_count(spec)
    lanes.decode_statistics(spec, good, 1)
    for lane, value in ((0, 3), (8, 2), (24, 3), (24, 0), (34, 5), (43, 0), (44, 4)):
        bad = good.copy()
        bad[lane] = value
        with pytest.raises(Rejected):
            lanes.decode_statistics(spec, bad, 1)
    with pytest.raises(Rejected, match="lanes"):
        lanes.decode_statistics(spec, good[:-8], 1)


# --- metrics --------------------------------------------------------------------------------------------------

@given(st.lists(st.tuples(st.integers(-600, 600), st.integers(0, 1)), min_size=1, max_size=40))
def test_binned_auc_counts_pairs(scores: list[tuple[int, int]]) -> None:
    """Against counting every pair, with scores equal inside a bin."""
    logits = np.array([(0.0, score / 64) for score, _ in scores])
    labels = np.array([label for _, label in scores], np.int64)
    metrics = lanes.measure(logits, labels)
    bins = [min(63, max(0, (score + 512) // 16)) for score, _ in scores]
    positive = [b for b, label in zip(bins, labels, strict=True) if label == 1]
    negative = [b for b, label in zip(bins, labels, strict=True) if label == 0]
    pairs = [(p, n) for p in positive for n in negative]
    if not pairs:
        assert metrics.auc_ppm is None
        return
    twice = sum(2 if p > n else 1 if p == n else 0 for p, n in pairs)
    assert metrics.auc_ppm == 1_000_000 * twice // (2 * len(pairs))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    members=st.lists(
        st.lists(st.tuples(st.floats(-30, 30), st.floats(-30, 30), st.integers(0, 1)), max_size=10),
        min_size=1, max_size=4,
    )
)
def test_summed_metrics_are_those_of_all_rows(spec: StudySpec, members: list[list[tuple[float, float, int]]]) -> None:
    arrays = [np.array(rows, np.float64).reshape(-1, 3) for rows in members]
    each = [lanes.measure(array[:, :2], array[:, 2].astype(np.int64)) for array in arrays]
    total = np.asarray(sum(lanes.encode_metrics(metrics) for metrics in each), np.uint32)
    everything = np.concatenate(arrays)
    whole = lanes.measure(everything[:, :2], everything[:, 2].astype(np.int64))
    assert lanes.decode_metrics(spec, total, len(members)) == whole


def test_loss_and_accuracy_are_integers_of_known_size() -> None:
    metrics = lanes.measure(np.array([[0.0, 0.0], [0.0, 1000.0]]), np.array([0, 0]))
    assert (metrics.rows, metrics.correct, metrics.accuracy_permyriad) == (2, 1, 5000)
    assert metrics.loss_q16 == round((np.log(2) + lanes.MAX_ROW_LOSS) * 65536)
    assert metrics.mean_loss_ppm == 1_000_000 * metrics.loss_q16 // (2 * 65536)
    nothing = lanes.measure(np.zeros((0, 2)), np.zeros(0, np.int64))
    assert (nothing.rows, nothing.accuracy_permyriad, nothing.mean_loss_ppm, nothing.auc_ppm) == (0, 0, 0, None)


def test_more_than_two_classes_have_no_histogram() -> None:
    metrics = lanes.measure(np.eye(3) * 9, np.array([0, 1, 2]))
    assert metrics.auc_ppm is None
    assert len(lanes.encode_metrics(metrics)) == 24


def test_contradictory_metrics_are_rejected(spec: StudySpec) -> None:
    good = lanes.encode_metrics(lanes.measure(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([1, 1])))
    assert len(good) == lanes.metric_lane_count(spec)
    lanes.decode_metrics(spec, good, 1)
    for lane, value in ((0, 1), (8, 3), (20, 5000), (24, 1)):
        bad = good.copy()
        bad[lane] = value
        with pytest.raises(Rejected):
            lanes.decode_metrics(spec, bad, 1)
    with pytest.raises(Rejected, match="lanes"):
        lanes.decode_metrics(spec, good[:-4], 1)
