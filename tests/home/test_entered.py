"""The same data set enters the statistics of a second study only when people here have allowed it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fednode.errors import StorageError
from fednode.home.entered import Entered
from fednode.ids import StudyId

FIRST, SECOND = StudyId(b"1" * 32), StudyId(b"2" * 32)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "heart.csv"
    path.write_text("age,group\n1,a\n")
    return path


def test_a_second_study_is_refused_with_what_the_difference_shows_until_it_is_allowed(
    tmp_path: Path, table: Path
) -> None:
    entered = Entered(tmp_path / "var" / "statistics.json")
    assert entered.refusal(FIRST, "heart", str(table)) is None
    entered.enter(FIRST, "heart", str(table))
    assert entered.refusal(FIRST, "heart", str(table)) is None, "again in the same study"
    text = entered.refusal(SECOND, "heart-2", str(table))
    assert text is not None and "'heart'" in text and "show the difference" in text
    assert "fednode study allow-statistics heart-2" in text
    entered.allow(SECOND)
    assert entered.refusal(SECOND, "heart-2", str(table)) is None


def test_it_is_the_same_data_set_by_its_place_or_by_what_it_holds(tmp_path: Path, table: Path) -> None:
    entered = Entered(tmp_path / "statistics.json")
    entered.enter(FIRST, "heart", str(table))
    copy = tmp_path / "copy.csv"
    copy.write_bytes(table.read_bytes())
    assert entered.refusal(SECOND, "two", str(copy)) is not None
    copy.write_text("age,group\n7,b\n")
    assert entered.refusal(SECOND, "two", str(copy)) is None, "another data set"
    table.write_text("age,group\n1,a\n2,b\n")
    assert entered.refusal(SECOND, "two", str(table)) is not None, "the same one with a row more"


def test_the_list_outlives_the_daemon_and_is_on_the_disk_at_once(tmp_path: Path, table: Path) -> None:
    path = tmp_path / "var" / "statistics.json"
    Entered(path).enter(FIRST, "heart", str(table))
    assert Entered(path).refusal(SECOND, "two", str(table)) is not None
    Entered(path).allow(SECOND)
    assert Entered(path).refusal(SECOND, "two", str(table)) is None
    assert Entered(path).refusal(StudyId(b"3" * 32), "three", str(table)) is not None, "allowed for one study"
    assert "1,a" not in path.read_text()


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"entered": [1], "allowed": []}', b"[" * 5000])
def test_a_list_that_cannot_be_read_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "statistics.json"
    path.write_bytes(data)
    with pytest.raises(StorageError, match="does not hold a list"):
        Entered(path)
