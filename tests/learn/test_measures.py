"""What one hospital claims of its rows, and what follows from the sums: exact, possible, and bounded whoever lies."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fednode.errors import Rejected
from fednode.learn import measures
from fednode.learn.metrics.auc import Auc, area_ppm, count_bins
from fednode.learn.rows import Rows
from fednode.learn.study import StudySpec
from fednode.learn.tables.kind import MOMENTS, claim_statistics, scaling_of_one
from fednode.learn.units import UNIT
from fednode.sums import field
from fednode.sums.measures import CLAIM, Claims, Plan, Tally, divide, encode_claims, find_impossible, tally, words_of
from tests.support.studies import columns_of

SHARED_SPEC = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
Cell = st.one_of(st.just(float("nan")), st.floats(0, 1))
Row = st.tuples(Cell, Cell, st.sampled_from([None, 0, 1]), st.integers(0, 1))
Party = st.lists(Row, max_size=8)


def as_rows(table: list[tuple[float, float, int | None, int]]) -> Rows:
    """Two numbers, a category of two levels, a label."""
    known = {None: (float("nan"),) * 2, 0: (1.0, 0.0), 1: (0.0, 1.0)}
    levels = [known[level] for *_, level, _ in table]
    features = [(x, y, *pair) for (x, y, _, _), pair in zip(table, levels, strict=True)]
    return Rows(np.array(features, np.float64).reshape(-1, 4), np.array([row[3] for row in table], np.int64))


def summed(plan: Plan, parties: list[Claims]) -> tuple[Tally, ...]:
    """The sums as they are opened."""
    words = field.total(np.stack([words_of(plan, encode_claims(plan, claims)) for claims in parties]), 0)
    return tally(plan, words.tolist(), len(parties))


def moments(values: list[float]) -> tuple[float, float]:
    known = [value for value in values if value == value]
    return float(np.mean(known)), float(np.mean(np.square(known)))


# --- statistics -----------------------------------------------------------------------------------------------

@SHARED_SPEC
@given(parties=st.lists(Party, min_size=1, max_size=4))
def test_any_rows_give_possible_claims_and_the_mean_over_hospitals(
    spec: StudySpec, parties: list[list[tuple[float, float, int | None, int]]]
) -> None:
    plan = spec.data.statistics_plan()
    claims = [claim_statistics(columns_of(spec), as_rows(rows), None) for rows in parties]
    assert all(find_impossible(plan, each) is None for each in claims)
    scaling = spec.data.scaling_from(summed(plan, claims))
    for column in range(2):
        having = [[row[column] for row in rows] for rows in parties if any(row[column] == row[column] for row in rows)]
        if not having:
            assert (scaling.mean_q24[column], scaling.deviation_q24[column]) == (UNIT // 2, UNIT)
            continue
        first, second = np.mean([moments(values) for values in having], axis=0)
        assert scaling.mean_q24[column] / UNIT == pytest.approx(first, abs=1e-6)
        deviation = max(1 / 1024, float(np.sqrt(max(second - first * first, 0))))
        assert scaling.deviation_q24[column] / UNIT == pytest.approx(deviation, abs=2e-3)


def test_scaling_is_as_precise_as_floats(spec: StudySpec) -> None:
    random = np.random.default_rng(7)
    features = np.column_stack([random.beta(2, 40, (500, 2)), np.ones(500), np.zeros(500)])
    rows = Rows(features, random.integers(0, 2, 500))
    scaling = scaling_of_one(columns_of(spec), claim_statistics(columns_of(spec), rows, None))
    np.testing.assert_allclose(np.array(scaling.mean_q24)[:2] / UNIT, features[:, :2].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(np.array(scaling.deviation_q24)[:2] / UNIT, features[:, :2].std(axis=0), rtol=1e-4)
    assert scaling.mean_q24[2:] == (UNIT, 0)


@SHARED_SPEC
@given(parties=st.lists(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 1), st.integers(0, 1)),
                                 min_size=2, max_size=6), min_size=3, max_size=6), data=st.data())
def test_one_liar_moves_a_mean_by_one_voice_and_can_not_claim_a_variance_away(
    spec: StudySpec, parties: list[list[tuple[float, float, int | None, int]]], data: st.DataObject
) -> None:
    """Whatever provable claims it makes."""
    plan, count = spec.data.statistics_plan(), len(parties)
    honest = [claim_statistics(columns_of(spec), as_rows(rows), None) for rows in parties]
    lie = honest[0].copy()
    for start in (0, 3):
        unit = MOMENTS.unit
        mean = data.draw(st.integers(0, unit))
        second = data.draw(st.integers(-(-mean * mean // unit), mean))
        lie[start : start + 3] = (second, mean - second, unit - mean)
    before = spec.data.scaling_from(summed(plan, honest))
    after = spec.data.scaling_from(summed(plan, [lie, *honest[1:]]))
    rest = spec.data.scaling_from(summed(plan, honest[1:]))
    for column in range(2):
        assert abs(after.mean_q24[column] - before.mean_q24[column]) <= UNIT / count + 2
        left = (rest.deviation_q24[column] / UNIT) ** 2 * (count - 1) / count
        assert (after.deviation_q24[column] / UNIT) ** 2 >= left - 1e-5


def test_the_worst_row_counts_of_one_hospital_are_worth_one_voice(spec: StudySpec) -> None:
    few = as_rows([(0.2, 0.2, 0, 0)])
    many = as_rows([(0.6, 0.6, 1, 1)] * 5000)
    plan = spec.data.statistics_plan()
    claims = [claim_statistics(columns_of(spec), rows, None) for rows in (few, many)]
    scaling = spec.data.scaling_from(summed(plan, claims))
    assert scaling.mean_q24[0] / UNIT == pytest.approx(0.4, abs=1e-6)
    assert scaling.mean_q24[2] / UNIT == pytest.approx(0.5, abs=1e-4)


@given(st.integers(1, 2**23), st.lists(st.integers(0, 2**31), min_size=1, max_size=40))
def test_shares_add_up_and_each_is_within_one_part(unit: int, counts: list[int]) -> None:
    shares = divide(unit, np.array(counts, np.int64)).tolist()
    if not sum(counts):
        assert not any(shares)
        return
    assert sum(shares) == unit
    exact = [Fraction(unit * count, sum(counts)) for count in counts]
    assert all(abs(share - right) < 1 for share, right in zip(shares, exact, strict=True))


# --- measures of a model ---------------------------------------------------------------------------------------

@given(st.lists(st.tuples(st.integers(-600, 600), st.integers(0, 1)), min_size=1, max_size=40))
def test_binned_auc_counts_pairs(scores: list[tuple[int, int]]) -> None:
    """Against counting every pair, with scores equal inside a bin."""
    logits = np.array([(0.0, score / 64) for score, _ in scores])
    labels = np.array([label for _, label in scores], np.int64)
    area = Auc().value_ppm(summed(Auc().plan(2), [Auc().claim(logits, labels, None)]))
    counted = area_ppm(*(counts.tolist() for counts in count_bins(logits, labels)))
    bins = [min(31, max(0, (score + 512) // 32)) for score, _ in scores]
    positive = [b for b, label in zip(bins, labels, strict=True) if label == 1]
    negative = [b for b, label in zip(bins, labels, strict=True) if label == 0]
    pairs = [(p, n) for p in positive for n in negative]
    if not pairs:
        assert area is counted is None
        return
    twice = sum(2 if p > n else 1 if p == n else 0 for p, n in pairs)
    assert counted == 1_000_000 * twice // (2 * len(pairs))
    assert area == pytest.approx(counted, abs=2e4), "shares are rounded to one part in 4095"


@SHARED_SPEC
@given(rows=st.lists(st.tuples(st.floats(-30, 30), st.floats(-30, 30), st.integers(0, 1)), max_size=40))
def test_any_outputs_give_possible_claims_of_the_right_size(
    spec: StudySpec, rows: list[tuple[float, float, int]]
) -> None:
    array = np.array(rows, np.float64).reshape(-1, 3)
    logits, labels = array[:, :2], array[:, 2].astype(np.int64)
    metrics, plan = measures.measure(logits, labels), measures.closing_plan(spec)
    claims = measures.claim_closing(spec, logits, labels, None)
    assert find_impossible(plan, claims) is None
    if not rows:
        assert not claims.any() and measures.own_quality(claims) is None
        return
    right, loss = measures.own_quality(claims) or (0, 0)
    assert right / measures.RIGHT.unit == pytest.approx(metrics.correct / len(rows), abs=2e-5)
    assert loss / measures.LOSS.unit * 8 == pytest.approx(metrics.loss_q16 / 65536 / len(rows), abs=2e-5)


def test_loss_is_capped_a_row_and_more_classes_have_no_histogram() -> None:
    metrics = measures.measure(np.array([[0.0, 0.0], [0.0, 1000.0]]), np.array([0, 0]))
    assert (metrics.rows, metrics.correct) == (2, 1)
    assert metrics.loss_q16 == round((np.log(2) + 8) * 65536)
    assert Auc().plan(3) == ()


@given(st.lists(st.integers(0, 2**64 - 1), max_size=30), st.integers(1, 256))
@SHARED_SPEC
def test_words_nobody_proved_are_refused_in_a_sentence(spec: StudySpec, words: list[int], members: int) -> None:
    for plan in (spec.data.statistics_plan(), measures.closing_plan(spec)):
        try:
            found = tally(plan, words, members)
        except Rejected as error:
            assert error.reason
        else:
            assert len(found) == len(plan)


def test_a_plan_without_splits_takes_no_claims() -> None:
    assert find_impossible((), np.empty(0, CLAIM)) is None
    assert summed((), [np.empty(0, CLAIM)]) == ()
