from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fednode.errors import DataError
from fednode.learn.tables.check import check_table
from fednode.learn.tables.kind import Tables
from fednode.learn.tables.patients import read_patients
from fednode.learn.tables.site_map import OtherName, SiteMap
from fednode.learn.tables.table import TORN, Table

NAMES = ("id", "age", "pressure", "sex")
GOOD = ("p7", "50", "140", "1")

Cells = st.one_of(
    st.just(GOOD), st.just(()), st.just(("", "", "", "")), st.just(("p8", "1")),
    st.tuples(*[st.sampled_from(["", "50", "140", "1", "999", "<2", "X", "?", "-"])] * 4),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(Cells, max_size=12), outside=st.sampled_from(["missing", "clip", "refuse"]))
def test_every_row_keeps_its_place_whatever_stands_around_it(
    tables: Tables, rows: list[tuple[str, ...]], outside: str
) -> None:
    """One row out for each in; a row's values, notes and identifier do not depend on the other rows."""
    tables = replace(tables, outside=outside)
    found = read_patients(tables, Table(NAMES, tuple(rows)), "id")
    assert len(found.lines) == len(found.notes) == len(found.ids) == len(found.is_usable) == len(rows)
    assert found.lines == tuple(range(2, len(rows) + 2))
    for index, row in enumerate(rows):
        alone = read_patients(tables, Table(NAMES, (row,)), "id")
        np.testing.assert_array_equal(alone.rows.features[0], found.rows.features[index])
        assert (alone.ids[0], alone.notes[0]) == (found.ids[index], found.notes[index])
        assert alone.is_usable[0] == found.is_usable[index]
        if np.isnan(found.rows.features[index]).any() or not found.is_usable[index]:
            assert found.notes[index]
        if np.isnan(found.rows.features[index]).all():
            assert not found.is_usable[index]
        assert (row == GOOD) <= (found.notes[index] == "" and bool(found.is_usable[index]))


@pytest.mark.parametrize(
    ("row", "note", "is_usable"),
    [
        (GOOD, "", True),
        (("p", "", "?", "1"), "missing: age, pressure", True),
        (("p", "130", "140", "1"), "age '130' outside [0, 100] years: counted as missing", True),
        (("p", "<2", "140", "1"), "age '<2' unknown (beyond a detection limit): counted as missing", True),
        (("p", "50", "140", "X"), "sex 'X' unknown", True),
        (("p", "", "", ""), "nothing usable is known", False),
        (("p", "130", "900", "X"), "nothing usable is known", False),
        ((), "the row is blank", False),
        (("p", "50"), "the row has another number of cells", False),
    ],
)
def test_a_note_says_what_is_not_as_it_should_be(
    tables: Tables, row: tuple[str, ...], note: str, is_usable: bool
) -> None:
    found = read_patients(tables, Table(NAMES, (GOOD, row, GOOD)))
    assert found.notes[1].startswith(note) and bool(found.notes[1]) == bool(note)
    assert found.is_usable.tolist() == [True, is_usable, True]
    assert found.ids == ()


def test_what_is_outside_is_clipped_or_refused_as_the_study_says(tables: Tables) -> None:
    table = Table(NAMES, (("p", "130", "140", "1"),))
    clipped = read_patients(replace(tables, outside="clip"), table)
    assert clipped.notes[0].endswith("clipped") and clipped.rows.features[0, 0] == 1.0
    refused = read_patients(replace(tables, outside="refuse"), table)
    assert refused.notes[0].endswith("no prediction") and not refused.is_usable[0]


def test_whole_columns_that_are_off_are_remarked(tables: Tables) -> None:
    found = read_patients(tables, Table(NAMES, (("p", "50", "14", "1"), ("q", "60", "13", "1"))))
    assert any("'pressure': 2 of 2 values lie outside" in text and "another unit" in text for text in found.remarks)


def test_a_torn_row_has_no_prediction(tables: Tables) -> None:
    found = read_patients(tables, Table(NAMES, (GOOD, ()), damage=((1, TORN),)))
    assert "cannot be read" in found.notes[1]


@pytest.mark.parametrize(
    ("names", "id_column", "match"),
    [
        (("id", "age", "sex"), "", "lacks columns of the model: 'pressure'; it has id, age, sex"),
        (("id", "Age", "pressure", "sex"), "", "'Age' for 'age'"),
        (("age", "age", "pressure", "sex"), "", "more than once"),
        (NAMES, "patient", "no column 'patient'"),
        (("id", "age", "pressure", "sex", "id"), "id", "2 columns 'id'"),
        (None, "id", "no header line"),
    ],
)
def test_a_wrong_header_is_an_error(
    tables: Tables, names: tuple[str, ...] | None, id_column: str, match: str
) -> None:
    with pytest.raises(DataError, match=match):
        read_patients(tables, Table(names, (("1",) * (4 if names is None else len(names)),)), id_column)


def test_labels_that_cannot_be_compared_are_explained(tables: Tables) -> None:
    label = tables.columns[-1].name
    names, row = tuple(column.name for column in tables.columns), [""] * (len(tables.columns) - 1)
    unread = read_patients(tables, Table(names, ((*row, "no such class"),)))
    assert unread.rows.labels.tolist() == [-1] and any(label in text and "line 2" in text for text in unread.remarks)
    twice = read_patients(tables, Table((*names, label), ((*row, "1", "0"),)))
    assert twice.rows.labels.tolist() == [-1] and any("more than once" in text for text in twice.remarks)
    near = read_patients(tables, Table((*names[:-1], label.upper()), ((*row, "1"),)))
    assert any(label.upper() in text for text in near.remarks)


def test_a_header_in_another_unit_is_no_matter_of_names_alone(tables: Tables) -> None:
    names = tuple(f"{c.name.title()} [furlong]" if c.name == "age" else c.name for c in tables.columns)
    with pytest.raises(DataError, match="another unit.*factor"):
        read_patients(tables, Table(names, (("",) * len(names),)))


def test_two_columns_are_never_read_from_one(tables: Tables) -> None:
    """A slip in [data.map] names would make one measurement stand for another."""
    names = tuple(column.name for column in tables.columns)
    slip = SiteMap(names=(OtherName("age", "pressure"),))
    table = Table(names, (("",) * len(names),) * 12)
    with pytest.raises(DataError, match="from one column of the file"):
        read_patients(tables, table, site=slip)
    found = {verdict.column: verdict.status for verdict in check_table(tables, table, slip).verdicts}
    assert found["age"] == found["pressure"] == "error"
