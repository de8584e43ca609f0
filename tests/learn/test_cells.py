from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.learn.tables.cells import KNOWN, MISSING, OUTSIDE, number_reader, read_column
from fednode.learn.tables.kind import NumberColumn
from fednode.learn.tables.site_map import OtherUnit, OtherValue, SiteMap

COLUMN = NumberColumn("age", "years", 0, 100_000_000, ("-9", "NA", "0.50"))
SITES = (
    SiteMap(), SiteMap(decimal=","), SiteMap(missing=("7",)), SiteMap(values=(OtherValue("age", "5", "50"),)),
    SiteMap(units=(OtherUnit("age", "m", "0.1"),)),
    SiteMap(units=(OtherUnit("age", "m", "0.1"), OtherUnit("age", "a"))),
)
Cell = st.one_of(
    st.sampled_from(["", "5", "5.0", "-9", "-9.0", "0.5", "7", "NA", "101", "100", "1e400",
                      "1_0", "nan", "inf", "5 m", "5a"]),
    st.floats(-10, 200).map(str), st.integers(-20, 200).map(str), st.text(max_size=6),
)


@given(cells=st.lists(Cell, max_size=20), site=st.sampled_from(SITES))
def test_the_quick_look_at_numbers_finds_what_the_close_one_does(cells: list[str], site: SiteMap) -> None:
    read, quick = number_reader(COLUMN, site.notations()("age"), 0.0, 100.0)
    fast, slow = read_column(cells, read, quick), read_column(cells, read)
    np.testing.assert_array_equal(fast.values, slow.values)
    for kind in (MISSING, OUTSIDE, KNOWN, "text"):
        np.testing.assert_array_equal(fast.is_kind(kind), slow.is_kind(kind))
    for kind in (MISSING, OUTSIDE, "text"):
        assert fast.count(kind) == slow.count(kind) == int(slow.is_kind(kind).sum())
    assert {kind: [i.cell for i in items] for kind, items in fast.faults.items()} == {
        kind: [i.cell for i in items] for kind, items in slow.faults.items()
    }


@given(cells=st.lists(Cell, max_size=20))
def test_texts_are_listed_in_order_with_their_rows(cells: list[str]) -> None:
    read, _ = number_reader(COLUMN, SiteMap().notations()("age"), 0.0, 100.0)
    column = read_column(cells, read)
    assert [item.cell for item in column.distinct] == list(dict.fromkeys(cells))
    for code, item in enumerate(column.distinct):
        assert item.rows == cells.count(item.cell) and cells.index(item.cell) == item.first
        assert (column.codes == code).sum() == item.rows


@pytest.mark.parametrize(
    ("cell", "kind"),
    [("5.M\u00e4r", "date"), ("Mar-05", "date"), ("3. Mai", "date"), ("2024-03-01", "date"), ("1,2E+03", "decimal"),
     ("5.1 H", "unit"), ("45%", "unit"), ("5-10", "text"), ("~5", "text"), ("1'234", "thousands"), (">= 3", "limit"),
     ("05. Mrz", "date"), ("05-f\u00e9vr", "date"), ("12-juil.", "date"), ("01-ene", "date"), ("3-mag", "date"),
     ("<0.2 mg/dl", "unit"), ("5.1 /nl", "unit"), ("5.1 10^9/l", "unit"), ("1/40", "text"),
     ("1\u2019234", "thousands")],
)
def test_kinds_of_faults(cell: str, kind: str) -> None:
    read, _ = number_reader(COLUMN, SiteMap().notations()("age"), 0.0, 100.0)
    assert read(cell).kind == kind


@pytest.mark.parametrize("cell", ["1,234.5", "1.234,567.8", "12,345.67"])
def test_a_comma_of_thousands_is_never_read_as_a_decimal_one(cell: str) -> None:
    read, _ = number_reader(COLUMN, SiteMap(decimal=",").notations()("age"), 0.0, 1e9)
    assert np.isnan(read(cell).value) and read("1.234,5").value == 1234.5


def test_a_column_may_have_several_units() -> None:
    read, _ = number_reader(COLUMN, SITES[-1].notations()("age"), 0.0, 100.0)
    assert [read(cell).value for cell in ("5 m", "5 A", "5")] == [0.5, 5.0, 5.0]
    single, _ = number_reader(COLUMN, SITES[-2].notations()("age"), 0.0, 100.0)
    assert single("5").value == 0.5
