from __future__ import annotations

from dataclasses import replace

import pytest

from fednode.learn.tables.check import LEAST_ROWS, Checked, check_table
from fednode.learn.tables.kind import NumberColumn, Tables
from fednode.learn.tables.table import TORN, Table

NAMES = ("age", "pressure", "sex", "disease")
ROWS = tuple((str(20 + number), "140", str(number % 2), str(number % 3)) for number in range(12))


def changed(row: int, column: str, cell: str) -> Table:
    """The good table with one other cell; `row` counts from 0 and stands in line row + 2."""
    rows = [list(cells) for cells in ROWS]
    rows[row][NAMES.index(column)] = cell
    return Table(NAMES, tuple(tuple(cells) for cells in rows))


def said(checked: Checked, column: str) -> tuple[str, str]:
    return next((v.status, v.with_cells()) for v in checked.verdicts if v.column == column)


def test_a_good_table_says_how_many_rows_of_each_class_it_has(tables: Tables) -> None:
    checked = check_table(tables, Table(NAMES, ROWS))
    assert checked.rows is not None and checked.class_rows == (4, 8)
    assert said(checked, "disease") == ("ok", "4 not disease > 0, 8 disease > 0")


def test_rows_without_a_label_are_left_out_and_told(tables: Tables) -> None:
    checked = check_table(tables, changed(3, "disease", "?"))
    assert checked.rows is not None and len(checked.rows.labels) == 11
    assert "1 row without a label left out" in said(checked, "disease")[1]


@pytest.mark.parametrize(
    ("cell", "kind", "words"),
    [
        ("old", "text", "without a number ('old'), first in line 7"),
        ("1_000", "text", "without a number"),
        ("inf", "text", "without a number"),
        ("\u0663", "text", "without a number"),
        ("41,5", "decimal", "with a decimal comma ('41,5'), first in line 7: say decimal"),
        ("1,234", "comma", "with a comma, decimal or of thousands ('1,234')"),
        ("1,234.5", "thousands", "separators of thousands ('1,234.5')"),
        ("<0.2", "limit", "beyond a detection limit ('<0.2')"),
        ("41 years", "unit", "with a unit behind the number ('41 years')"),
        ("#N/A", "code", "a code for 'not measured' ('#N/A')"),
        ("12.03.1961", "date", "with a date ('12.03.1961')"),
    ],
)
def test_a_number_that_cannot_be_read_is_named_by_kind_and_line(
    tables: Tables, cell: str, kind: str, words: str
) -> None:
    checked = check_table(tables, changed(5, "age", cell), shows_cells=True)
    assert checked.rows is None
    [verdict] = checked.errors
    assert [(fault.kind, fault.count, fault.line) for fault in verdict.faults] == [(kind, 1, 7)]
    assert words in verdict.with_cells() and cell not in verdict.text
    hidden = check_table(tables, changed(5, "age", cell))
    assert hidden.errors[0].faults[0].cells == () and hidden.errors[0].text == verdict.text


@pytest.mark.parametrize("cell", [" 41 ", "'41'", '"41"', '="41"', "+41", "41.0", "4.1e1", "\u201e41\u201c"])
def test_blanks_quotes_and_forms_of_one_number_change_nothing(tables: Tables, cell: str) -> None:
    checked, plain = check_table(tables, changed(5, "age", cell)), check_table(tables, changed(5, "age", "41"))
    assert checked.rows.features.tolist() == plain.rows.features.tolist()


def test_a_typographic_minus_is_a_minus(tables: Tables) -> None:
    checked = check_table(tables, changed(0, "age", "\u22125"))
    assert "1 of 12 values lie outside [0, 100] years" in said(checked, "age")[1]


def test_all_distinct_faults_are_told_with_count_and_line(tables: Tables) -> None:
    rows = [list(cells) for cells in ROWS]
    for row, cell in ((1, "N/A"), (3, "na"), (4, "N/A"), (5, "-"), (7, "<1"), (8, "old")):
        rows[row][0] = cell
    [verdict] = check_table(tables, Table(NAMES, tuple(map(tuple, rows))), shows_cells=True).errors
    found = {fault.kind: [(c.cell, c.count, c.line) for c in fault.cells] for fault in verdict.faults}
    assert found == {
        "code": [("N/A", 2, 3), ("na", 1, 5), ("-", 1, 7)], "limit": [("<1", 1, 9)], "text": [("old", 1, 10)],
    }


@pytest.mark.parametrize(("cell", "kind"), [("2", "level"), ("n.a.", "code"), ("-", "level")])
def test_unknown_levels_are_told(tables: Tables, cell: str, kind: str) -> None:
    [verdict] = check_table(tables, changed(2, "sex", cell)).errors
    assert (verdict.column, verdict.faults[0].kind, verdict.faults[0].line) == ("sex", kind, 4)


def test_a_value_outside_the_range_is_a_warning_from_the_first_one_on(tables: Tables) -> None:
    for outside, words in (("missing", "count as missing"), ("clip", "are clipped")):
        checked = check_table(replace(tables, outside=outside), changed(4, "pressure", "250"))
        assert said(checked, "pressure")[0] == "warning"
        assert f"1 of 12 values lie outside [80.5, 200] and {words}, first in line 6" in said(checked, "pressure")[1]
    refused = check_table(replace(tables, outside="refuse"), changed(4, "pressure", "250"))
    assert said(refused, "pressure")[0] == "error" and refused.rows is None


def test_a_column_in_another_unit_is_asked_about(tables: Tables) -> None:
    far = Table(NAMES, tuple((age, "14", sex, disease) for age, _, sex, disease in ROWS))
    assert "in another unit" in said(check_table(tables, far), "pressure")[1]
    near = Table(NAMES, tuple((str(0.1 * (i % 7)), "140", row[2], row[3]) for i, row in enumerate(ROWS * 2)))
    assert "in another unit" in said(check_table(tables, near), "age")[1]


@pytest.mark.parametrize("code", ["-1", "9", "99", "999"])
def test_codes_for_unknown_under_a_rule_are_told(tables: Tables, code: str) -> None:
    checked = check_table(tables, changed(6, "disease", code))
    status, text = said(checked, "disease")
    assert status == "warning" and "1 label may be a code for 'unknown', first in line 8" in text
    assert said(check_table(tables, changed(6, "disease", "3")), "disease")[0] == "ok"


def test_a_class_without_rows_and_too_few_rows_are_told(tables: Tables) -> None:
    one = Table(NAMES, tuple((*row[:3], "0") for row in ROWS))
    assert "no row of class disease > 0" in said(check_table(tables, one), "disease")[1]
    few = check_table(tables, Table(NAMES, ROWS[: LEAST_ROWS - 1]))
    assert few.rows is None and f"at least {LEAST_ROWS} are needed" in few.errors[0].text
    assert check_table(tables, Table(NAMES, ROWS[:LEAST_ROWS])).rows is not None


@pytest.mark.parametrize(
    ("names", "column", "text"),
    [
        (("age", "pressur", "sex", "disease"), "pressure", "not in the header; the file has age, pressur"),
        (("age", "Pressure", "sex", "disease"), "pressure", "spells it otherwise as 'Pressure'"),
        (("age", "pressure", "sex", "disease", "age"), "age", "names it 2 times"),
        (("age", "pressure", "sex", "disease", "Age"), "age", "names it 2 times"),
        (("AGE", "pressure", "sex", "disease", "Age"), "age", "names it 2 times"),
    ],
)
def test_what_is_wrong_with_the_header_is_told(tables: Tables, names: tuple[str, ...], column: str, text: str) -> None:
    table = Table(names, tuple((*row, "1")[: len(names)] for row in ROWS))
    shown, hidden = check_table(tables, table, shows_cells=True), check_table(tables, table)
    assert text in said(shown, column)[1] and hidden.rows is None
    assert not any("ressur'" in v.text or "Pressur" in v.text for v in hidden.verdicts)


def test_damaged_rows_are_told_with_their_line(tables: Tables) -> None:
    ragged = Table(NAMES, (*ROWS[:3], ("1", "2"), *ROWS[3:]))
    text = check_table(tables, ragged).errors[0].text
    assert text.startswith("1 row with another number of cells than the header, first in line 5")
    torn = Table(NAMES, (*ROWS[:3], (), *ROWS[3:]), damage=((3, TORN),))
    assert "quote" in check_table(tables, torn).errors[0].text
    longer = Table(NAMES, tuple((str(i), *row) for i, row in enumerate(ROWS)))
    assert "row names in front" in check_table(tables, longer).errors[0].text


def test_blank_rows_and_blank_cells_behind_the_last_column_are_no_fault(tables: Tables) -> None:
    padded = Table(NAMES, (*((*row, "", "") for row in ROWS), ("", "", "", "")))
    checked = check_table(tables, padded)
    assert checked.rows is not None and len(checked.rows.labels) == len(ROWS)


def test_an_empty_table_and_one_without_labels_are_refused(tables: Tables) -> None:
    assert "no rows" in check_table(tables, Table(NAMES, ())).errors[0].text
    bare = Table(NAMES, tuple((*row[:3], "?") for row in ROWS))
    assert "no row has a label" in check_table(tables, bare).errors[0].text


def test_a_column_nobody_measured_is_a_warning(tables: Tables) -> None:
    checked = check_table(tables, Table(NAMES, tuple((row[0], "?", "?", row[3]) for row in ROWS)))
    assert said(checked, "pressure")[0] == said(checked, "sex")[0] == "warning"


def test_a_header_in_the_middle_and_a_numbered_copy_are_told(tables: Tables) -> None:
    repeated = check_table(tables, Table(NAMES, (*ROWS, NAMES, *ROWS)))
    assert "1 row repeating the header, first in line 14" in repeated.errors[0].text and len(repeated.errors) == 1
    for name, is_told in (("age.1", True), ("age_x", True), ("ages", False), ("age_at_death", False)):
        checked = check_table(tables, Table((*NAMES, name), tuple((*row, "7") for row in ROWS)))
        assert (said(checked, "age")[0] == "warning") == is_told


@pytest.mark.parametrize(
    ("cells", "count"),
    [(("850", "1.037", "912", "2.400"), 2), (("850", "1.037", "912", "2.4"), 0), (("1.037", "2.400", "5"), 0),
     (("850", "0.512"), 0), (("850", "1.037", '="1.204"'), 2)],
)
def test_a_point_that_may_be_one_of_thousands_is_asked_about(
    tables: Tables, cells: tuple[str, ...], count: int
) -> None:
    """Where no decimal comma tells, '1.037' beside 850 would be read as 1.037 in silence."""
    column = next(c for c in tables.columns if isinstance(c, NumberColumn))
    wide_column = replace(column, low_micro=0, high_micro=10**10)
    wide = replace(tables, columns=tuple(wide_column if c is column else c for c in tables.columns))
    names = tuple(c.name for c in tables.columns)
    rows = tuple(tuple(cell if name == column.name else "" for name in names) for cell in cells)
    found = next(v for v in check_table(wide, Table(names, rows)).verdicts if v.column == column.name)
    assert ("point of thousands" in found.text) == (count > 0)
    if count:
        assert found.status == "warning" and found.text.startswith(f"{count} values with three digits")
        assert "first in line 3" in found.text
