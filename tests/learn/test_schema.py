from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.codec import decode, encode
from fednode.errors import Rejected
from fednode.learn.layout import Scaling
from fednode.learn.rows import Rows
from fednode.learn.study import StudySpec, decode_study, study_bytes
from fednode.learn.tables.kind import CategoryColumn, Tables, normal_token
from fednode.learn.tables.schema import STANDARD_LIMIT, encode_table, standardise
from fednode.learn.tables.table import Table
from fednode.learn.units import UNIT

NAMES = ("age", "pressure", "sex", "disease")
GOOD = (("50", "140.25", "1.0", "2"), ("0", "?", "0", "0"), ("120", "0.0", "?", "0.5"))


@pytest.mark.parametrize(("outside", "age"), [("missing", np.nan), ("clip", 1.0), ("refuse", 1.0)])
def test_numbers_are_scaled_levels_one_hot_and_missing_nan(tables: Tables, outside: str, age: float) -> None:
    encoded = encode_table(replace(tables, outside=outside), Table(NAMES, GOOD))
    np.testing.assert_allclose(
        encoded.rows.features,
        [[0.5, 0.5, 0, 1], [0, np.nan, 1, 0], [age, np.nan, np.nan, np.nan]],
    )
    assert encoded.rows.labels.tolist() == [1, 0, 1]
    assert encoded.is_refused.tolist() == [False, False, outside == "refuse"]


def test_a_file_without_header_takes_the_names_of_the_schema(tables: Tables) -> None:
    named, bare = encode_table(tables, Table(NAMES, GOOD)), encode_table(tables, Table(None, GOOD))
    np.testing.assert_array_equal(named.rows.features, bare.rows.features)
    assert (named.lines, bare.lines) == ([2, 3, 4], [1, 2, 3])


def test_columns_may_come_in_any_order_with_others_between(tables: Tables) -> None:
    shuffled = tuple((row[3], "x", row[2], row[0], row[1]) for row in GOOD)
    encoded = encode_table(tables, Table(("disease", "note", "sex", "age", "pressure"), shuffled))
    np.testing.assert_array_equal(encoded.rows.features, encode_table(tables, Table(NAMES, GOOD)).rows.features)
    assert [encoded.places.names[index] for index in encoded.places.extra] == ["note"]


@pytest.mark.parametrize(
    ("cell", "token"),
    [("1", "1"), (" 1.0 ", "1"), ("1.50", "1.5"), ("-0", "0"), ("0.0", "0"), ("+3", "3"), ("1e2", "100"), (".7", "0.7"),
     ("yes", "yes"), ("nan", "nan"), ("10", "10"), ("1e400", "1e400"), ("", ""), ("1_0", "1_0"), ("\u0663", "\u0663")],
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


def test_a_study_with_any_level_is_read_or_rejected(spec: StudySpec, tables: Tables) -> None:
    sex = next(column for column in tables.columns if isinstance(column, CategoryColumn))
    for level in ("1e1000001", "1e-99999999999", "1e999999999", "sNaN", "Infinity", "-0e-999999999", "9" * 64):
        hostile = replace(sex, levels=("f", level))
        columns = tuple(hostile if column is sex else column for column in tables.columns)
        study = replace(spec, data=replace(tables, columns=columns))
        assert decode_study(study_bytes(study)) == study


def test_standardised_features_fill_missing_with_the_global_mean(tables: Tables) -> None:
    scaling = Scaling((UNIT // 2,) * 4, (UNIT // 4, UNIT // 4, UNIT // 4, UNIT // 1024))
    rows = Rows(np.array([[0.75, np.nan, 0.25, 1.0]]), np.array([0]))
    standard = standardise(rows, scaling)
    assert standard.dtype == np.float32
    assert standard.tolist() == [[1.0, 0.0, -1.0, STANDARD_LIMIT]]
    assert tables.features == len(scaling.mean_q24)


def test_scaling_out_of_range_is_rejected() -> None:
    good = Scaling((0, UNIT), (1, UNIT))
    assert decode(Scaling, encode(good), 1000) == good
    for means, deviations in (((0,), (0,)), ((-1,), (1,)), ((UNIT + 1,), (1,)), ((0, 0), (1,))):
        with pytest.raises(ValueError):
            Scaling(means, deviations)
    with pytest.raises(Rejected):
        decode(Scaling, b"\x92\x91\x00\x91\x00", 1000)
