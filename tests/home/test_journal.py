"""The journal: one line per event, no secrets, bounded, and a full disk is one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fednode.crypto import Secret
from fednode.errors import Unavailable
from fednode.home import journal as module
from fednode.home.journal import Journal
from fednode.ids import MemberId


def test_lines_are_json_with_time_member_and_kind(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl", MemberId(3), lambda: 1234)
    journal.write("block", height=7, hash=b"\xab" * 32, text='say "no"\n\x1b[31m', none=None, yes=True, many=("a", 1))
    journal.close()
    [line] = (tmp_path / "journal.jsonl").read_text().splitlines()
    assert {name: value for name, value in json.loads(line).items() if name != "crc"} == {
        "t": 1234, "me": 3, "kind": "block", "height": 7, "hash": "ab" * 32, "text": 'say "no"\n\x1b[31m',
        "none": None, "yes": True, "many": ["a", 1],
    }
    assert "\x1b" not in line


@pytest.mark.parametrize("value", [Secret(b"key"), b"x" * 65, 1.5, [1], {"a": 1}])
def test_what_could_be_a_secret_is_refused(tmp_path: Path, value: object) -> None:
    journal = Journal(tmp_path / "journal.jsonl", MemberId(3), lambda: 1)
    with pytest.raises(TypeError):
        journal.write("block", value=value)  # type: ignore[arg-type]
    journal.close()
    assert (tmp_path / "journal.jsonl").read_text() == ""


@pytest.mark.parametrize("name", ["t", "me", "crc"])
def test_a_field_that_every_line_has_is_refused(tmp_path: Path, name: str) -> None:
    journal = Journal(tmp_path / "journal.jsonl", MemberId(3), lambda: 1)
    with pytest.raises(TypeError, match=name):
        journal.write("cut-off", **{name: 4})
    journal.close()


def test_appends_and_rotates_with_one_predecessor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 500)
    path = tmp_path / "journal.jsonl"
    for _ in range(2):
        journal = Journal(path, MemberId(1), lambda: 1)
        for number in range(20):
            journal.write("note", number=number)
        journal.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["journal.1.jsonl", "journal.jsonl"]
    assert all(file.stat().st_size <= 500 for file in tmp_path.iterdir())
    assert json.loads(path.read_text().splitlines()[-1])["number"] == 19


def test_full_disk_is_one_sentence() -> None:
    journal = Journal(Path("/dev/full"), MemberId(1), lambda: 1)
    with pytest.raises(Unavailable, match="the disk is full; free some space and start again, nothing was lost"):
        journal.write("block", height=1)
    journal.close()


def test_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot open the journal"):
        Journal(tmp_path / "nowhere" / "journal.jsonl", MemberId(1), lambda: 1)


def test_an_empty_journal_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.ndjson"
    path.write_bytes(b"")
    assert Journal.keep_damaged(path) is None
    assert path.read_bytes() == b""
