from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.codec import decode, encode
from fednode.errors import Rejected
from fednode.learn.schema import (
    STANDARD_LIMIT,
    Rows,
    Scaling,
    Table,
    check_table,
    has_header,
    is_scaling_of,
    standardise,
)
from fednode.learn.spec import UNIT, CategoryColumn, StudySpec, decode_study, label_of, normal_token, study_bytes

NAMES = ("age", "pressure", "sex", "disease")
GOOD = (("50", "140.25", "1.0", "2"), ("0", "?", "0", "0"), ("120", "0.0", "?", "0.5"))


def verdicts(spec: StudySpec, table: Table) -> dict[str, tuple[str, str]]:
    return {v.column: (v.status, v.text) for v in check_table(spec, table).verdicts}


def test_numbers_are_clipped_levels_one_hot_and_missing_nan(spec: StudySpec) -> None:
    checked = check_table(spec, Table(NAMES, GOOD))
    assert checked.rows is not None
    np.testing.assert_allclose(
        checked.rows.features,
        [[0.5, 0.5, 0, 1], [0, np.nan, 1, 0], [1, np.nan, np.nan, np.nan]],
    )
    assert checked.rows.labels.tolist() == [1, 0, 1]
    by_name = {verdict.column: verdict for verdict in checked.verdicts}
    assert (by_name["age"].status, by_name["age"].clipped) == ("warning", 1)
    assert "1 of 3 values clipped to [0, 100] years" in by_name["age"].text
    assert (by_name["pressure"].status, by_name["pressure"].missing) == ("ok", 2)


def test_a_file_without_header_takes_the_names_of_the_schema(spec: StudySpec) -> None:
    named, bare = check_table(spec, Table(NAMES, GOOD)), check_table(spec, Table(None, GOOD))
    assert named.rows is not None and bare.rows is not None
    np.testing.assert_array_equal(named.rows.features, bare.rows.features)


def test_columns_may_come_in_any_order_with_others_between(spec: StudySpec) -> None:
    shuffled = tuple((row[3], "x", row[2], row[0], row[1]) for row in GOOD)
    checked = check_table(spec, Table(("disease", "note", "sex", "age", "pressure"), shuffled))
    straight = check_table(spec, Table(NAMES, GOOD))
    assert checked.rows is not None and straight.rows is not None
    np.testing.assert_array_equal(checked.rows.features, straight.rows.features)
    assert checked.verdicts[-1].column == "note"


def test_rows_without_a_label_are_left_out_unless_predicting(spec: StudySpec) -> None:
    table = Table(NAMES, (*GOOD, ("1", "100", "0", "?")))
    trained, predicted = check_table(spec, table), check_table(spec, table, label_needed=False)
    assert trained.rows is not None and len(trained.rows.labels) == 3
    assert predicted.rows is not None and predicted.rows.labels.tolist() == [1, 0, 1, -1]
    unlabelled = Table(NAMES[:3], tuple(row[:3] for row in GOOD))
    without = check_table(spec, unlabelled, label_needed=False)
    assert without.rows is not None and without.rows.labels.tolist() == [-1, -1, -1]
    assert check_table(spec, unlabelled).rows is None


@pytest.mark.parametrize(
    ("names", "rows", "column", "text"),
    [
        (NAMES, (), "", "no rows"),
        (NAMES, (("1", "2"),), "", "row 1 has 2 cells, 4 expected"),
        (("age", "pressur", "sex", "disease"), GOOD, "pressure", "column 'pressure' is missing; the file has age"),
        (NAMES, (("old", "100", "1", "0"),), "age", "'old' is not a number"),
        (NAMES, (("inf", "100", "1", "0"),), "age", "'inf' is not a number"),
        (NAMES, (("1", "100", "2", "0"),), "sex", "'2' is none of the levels 0, 1"),
        (NAMES, (("1", "100", "1", "ill"),), "disease", "'ill' is not a number"),
        (NAMES, (("1", "100", "1", "?"),), "disease", "no row has a label"),
    ],
)
def test_each_fault_is_an_error_with_its_fix(
    spec: StudySpec, names: tuple[str, ...], rows: tuple[tuple[str, ...], ...], column: str, text: str
) -> None:
    checked = check_table(spec, Table(names, rows))
    assert checked.rows is None
    assert [(verdict.column, verdict.status) for verdict in checked.errors] == [(column, "error")]
    assert text in checked.errors[0].text


def test_a_column_nobody_measured_is_a_warning(spec: StudySpec) -> None:
    found = verdicts(spec, Table(NAMES, (("1", "?", "?", "0"), ("2", "0", "?", "1"))))
    assert found["pressure"][0] == found["sex"][0] == "warning"


def test_header_is_recognised_by_names(spec: StudySpec) -> None:
    assert has_header(spec, ("age", " sex ", "other"))
    assert not has_header(spec, ("50", "140", "1", "0"))


@pytest.mark.parametrize(
    ("cell", "token"),
    [("1", "1"), (" 1.0 ", "1"), ("1.50", "1.5"), ("-0", "0"), ("0.0", "0"), ("+3", "3"), ("1e2", "100"), (".7", "0.7"),
     ("yes", "yes"), ("nan", "nan"), ("10", "10"), ("1e400", "1e400"), ("", "")],
)
def test_equal_numbers_are_one_token(cell: str, token: str) -> None:
    assert normal_token(cell) == token


NUMBERS = st.from_regex(r"[+-]?[0-9]{0,30}\.?[0-9]{0,30}[eE][+-]?[0-9]{0,24}", fullmatch=True)


@given(st.text(max_size=64) | NUMBERS | st.sampled_from(["1e1000001", "1e-99999999999", "1e999999999", "0e-999999999"]))
def test_any_text_of_another_hospital_is_one_token_that_is_no_longer(cell: str) -> None:
    """A level is such a text; a study with it stands on the ledger before anybody has approved it."""
    token = normal_token(cell)
    assert len(token) <= max(len(cell), 18) + 66
    assert normal_token(token) == token


def test_a_study_with_any_level_is_read_or_rejected(spec: StudySpec) -> None:
    sex = next(column for column in spec.columns if isinstance(column, CategoryColumn))
    for level in ("1e1000001", "1e-99999999999", "1e999999999", "sNaN", "Infinity", "-0e-999999999", "9" * 64):
        hostile = replace(sex, levels=("f", level))
        columns = tuple(hostile if column is sex else column for column in spec.columns)
        assert label_of(decode_study(study_bytes(replace(spec, columns=columns))))


def test_standardised_features_fill_missing_with_the_global_mean(spec: StudySpec) -> None:
    scaling = Scaling((UNIT // 2,) * 4, (UNIT // 4, UNIT // 4, UNIT // 4, UNIT // 1024))
    rows = Rows(np.array([[0.75, np.nan, 0.25, 1.0]]), np.array([0]))
    standard = standardise(rows, scaling)
    assert standard.dtype == np.float32
    assert standard.tolist() == [[1.0, 0.0, -1.0, STANDARD_LIMIT]]
    assert is_scaling_of(spec, scaling)


def test_scaling_out_of_range_is_rejected() -> None:
    good = Scaling((0, UNIT), (1, UNIT))
    assert decode(Scaling, encode(good), 1000) == good
    for means, deviations in (((0,), (0,)), ((-1,), (1,)), ((UNIT + 1,), (1,)), ((0, 0), (1,))):
        with pytest.raises(ValueError):
            Scaling(means, deviations)
    with pytest.raises(Rejected):
        decode(Scaling, b"\x92\x91\x00\x91\x00", 1000)
