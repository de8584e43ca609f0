from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fednode.errors import DataError
from fednode.learn.tables.kind import Tables
from fednode.learn.tables.table import TORN, Table
from fednode.worker.datasets import read_table
from fednode.worker.datasets.delimited import records

ROWS = (("1", "2", "left"), ("3", "?", "right"))
TEXT = "x,y,group\n1,2,left\n3,?,right\n"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", " "])
@pytest.mark.parametrize("has_names", [True, False])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_ends_of_lines_and_header_are_recognised(
    tables: Tables, tmp_path: Path, separator: str, has_names: bool, end: str
) -> None:
    path = tmp_path / "data.csv"
    lines = [("x", "y", "group"), *ROWS] if has_names else list(ROWS)
    path.write_bytes(("\ufeff" + end.join(separator.join(line) for line in lines) + end).encode())
    table = read_table(tables, path)
    assert (table.names, table.rows) == (("x", "y", "group") if has_names else None, ROWS)
    assert table.lines == ((2, 3) if has_names else (1, 2))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_encodings_are_recognised(tables: Tables, tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(TEXT.replace("?", "\u00e4").encode(encoding))
    assert read_table(tables, path).rows == (ROWS[0], ("3", "\u00e4", "right"))


@pytest.mark.parametrize(
    ("before", "separator"),
    [("sep=;\n", ";"), ('"sep=|"\n', "|"), ("# exported, by hand\n\n", ";"), ("Registry;;\n;;\n", ";"),
     ("a, b, c, d\n", ";")],
)
def test_lines_before_the_header_are_left_out(tables: Tables, tmp_path: Path, before: str, separator: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text(before + TEXT.replace(",", separator))
    table = read_table(tables, path)
    assert (table.names, table.rows) == (("x", "y", "group"), ROWS)
    first = before.count("\n") + 2
    assert table.lines == (first, first + 1) and table.remarks


def test_a_line_that_names_the_wrong_separator_hides_no_header(tables: Tables, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("sep=,\n" + TEXT.replace(",", ";"))
    table = read_table(tables, path)
    assert (table.names, table.rows, table.lines) == (("x", "y", "group"), ROWS, (3, 4))


def test_quoted_cells_may_hold_separators_and_ends_of_lines(tables: Tables, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text('x,y,group\n"1,5",2,"le""f\nt"\n3,4,right\n')
    table = read_table(tables, path)
    assert table.rows == (("1,5", "2", 'le"f\nt'), ("3", "4", "right"))
    assert table.lines == (2, 4)


@pytest.mark.parametrize("bad", ['1,"bed 12" left,left', '1,"2,left', '"1,2,left', '1,2,"left'])
def test_a_stray_quote_costs_one_row(tables: Tables, tmp_path: Path, bad: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text(f"x,y,group\n1,2,left\n{bad}\n" + "3,4,right\n" * 300)
    table = read_table(tables, path)
    assert table.damage == ((1, TORN),)
    assert len(table.rows) == 302 and table.rows[2:] == (("3", "4", "right"),) * 300
    assert table.lines == tuple(range(2, 304))


def test_an_open_quote_that_finds_another_does_not_swallow_rows(tables: Tables, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text('x,y,group\n1,"2,left\n3,4,right\n5,6",left\n7,8,right\n')
    table = read_table(tables, path)
    assert table.lines == (2, 3, 4, 5) and (0, TORN) in table.damage
    assert table.rows[1] == ("3", "4", "right") and table.rows[3] == ("7", "8", "right")


@pytest.mark.parametrize("quote", ['"', "'"])
def test_lines_in_quotes_as_a_whole_are_unwrapped(tables: Tables, tmp_path: Path, quote: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text("".join(f"{quote}{line}{quote}\r\n" for line in TEXT.splitlines()))
    table = read_table(tables, path)
    assert (table.names, table.rows, table.lines) == (("x", "y", "group"), ROWS, (2, 3)) and table.remarks


def test_a_long_cell_is_no_fault(tables: Tables, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(f"x,y,group,note\n1,2,left,{'z' * 300_000}\n")
    assert len(read_table(tables, path).rows[0][3]) == 300_000


def test_blank_lines_are_rows_of_their_own(tables: Tables, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("x,y,group\n1,2,left\n\n;;\n3,4,right\n\n")
    table = read_table(tables, path)
    assert table.rows == (("1", "2", "left"), (), (";;",), ("3", "4", "right"), ())
    assert table.lines == (2, 3, 4, 5, 6)


@settings(max_examples=300)
@given(st.lists(st.text(st.sampled_from('ab,"\n '), max_size=12), max_size=12))
def test_every_line_of_any_text_belongs_to_exactly_one_record(lines: list[str]) -> None:
    """Records tile the lines in order: no line is lost and none is read twice."""
    lines = "\n".join(lines).splitlines(keepends=True)
    at = 0
    for begun, end, _ in records(lines, ",", 0, 3):
        assert begun == at and end > begun
        at = end
    assert at == len(lines)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data.xlsx", b"", "suffix '.xlsx' is not known"),
        ("data.csv", b"PK\x03\x04abc", "a spreadsheet or archive, not text"),
        ("data.csv", b"x,y\n\x81\x8d", "not text in UTF-8"),
        ("data.csv", b"x\0\0\0y\x01\x02", "is not text"),
        ("data.csv", None, "cannot be read: No such file"),
    ],
)
def test_unreadable_files_name_cause_and_fix(
    tables: Tables, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(tables, path)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_table_or_one_sentence(tables: Tables, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    try:
        assert isinstance(read_table(tables, path), Table)
    except DataError as error:
        assert "\n" not in str(error)


def test_an_empty_file_is_a_table_without_rows(tables: Tables, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("")
    assert read_table(tables, path) == Table(None, ())


def test_two_stray_quotes_do_not_swallow_the_rows_and_blank_lines_between(tables: Tables, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text('x,y,note,group\n1,2,,left\n3,4,,"open\n\n5,6,,left\n7,8,,end"\n9,9,,right\n')
    table = read_table(tables, path)
    assert table.lines == (2, 3, 4, 5, 6, 7) and table.damage == ((1, TORN),)
    assert [row[0] for row in table.rows if row] == ["1", "5", "7", "9"]


@pytest.mark.parametrize("header", [",bili,ergebnis", "2024,bili,ergebnis", "alter,bili,ergebnis"])
def test_a_header_with_other_names_is_none_of_the_rows(tables: Tables, tmp_path: Path, header: str) -> None:
    """Columns of other names are never taken by their order."""
    path = tmp_path / "data.csv"
    path.write_text(f"{header}\n1,2,left\n3,4,right\n")
    assert read_table(tables, path).names == tuple(header.split(","))
    path.write_text("1,2,left\n3,4,right\n")
    table = read_table(tables, path)
    assert table.names is None and any("order of the study" in remark for remark in table.remarks)
