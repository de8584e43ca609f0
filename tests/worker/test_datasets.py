from __future__ import annotations

from pathlib import Path

import pytest

from fednode.errors import DataError
from fednode.learn.schema import Table
from fednode.learn.spec import StudySpec
from fednode.worker.datasets import read_table

ROWS = (("1", "2", "left"), ("3", "?", "right"))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("has_names", [True, False])
def test_separators_and_header_are_recognised(
    spec: StudySpec, tmp_path: Path, separator: str, has_names: bool
) -> None:
    path = tmp_path / "data.csv"
    lines = [("x", " y", "group"), *ROWS] if has_names else list(ROWS)
    path.write_text("\ufeff" + "\r\n".join(separator.join(line) for line in lines) + "\r\n\r\n", encoding="utf-8")
    assert read_table(spec, path) == Table(("x", "y", "group") if has_names else None, ROWS)


def test_quoted_cells_may_hold_the_separator(spec: StudySpec, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text('x,y,group\n"1,5",2,"le""ft"\n')
    assert read_table(spec, path).rows == (("1,5", "2", 'le"ft'),)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data.xlsx", b"", "suffix '.xlsx' is not known"),
        ("data.csv", b"x,y\n\xff\xfe", "not UTF-8"),
        ("data.csv", b'x,y\n"1,2', "not valid CSV"),
        ("data.csv", None, "cannot be read: No such file"),
    ],
)
def test_unreadable_files_name_cause_and_fix(
    spec: StudySpec, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(spec, path)


def test_an_empty_file_is_a_table_without_rows(spec: StudySpec, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("\n\n")
    assert read_table(spec, path) == Table(None, ())
