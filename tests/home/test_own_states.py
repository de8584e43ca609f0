"""What a hospital keeps of its own: encrypted, durable, one file a round."""

from __future__ import annotations

from pathlib import Path

import pytest

from fednode.crypto import Secret
from fednode.errors import StorageError
from fednode.home import files
from fednode.home.own_states import OwnStateStore
from fednode.home.round_store import RoundStore
from fednode.home.sealed_parts import SEALED_PART_BYTES
from fednode.ids import StudyId

STUDY, OTHER = StudyId(b"s" * 32), StudyId(b"o" * 32)
KEY = Secret(b"k" * 32)


@pytest.mark.parametrize("size", [0, 1, SEALED_PART_BYTES, 2 * SEALED_PART_BYTES + 3])
def test_a_state_comes_back_and_is_not_in_clear(tmp_path: Path, size: int) -> None:
    state = (b"weights of a hospital " * (size // 22 + 1))[:size]
    store = OwnStateStore(tmp_path, STUDY, KEY)
    assert store.rounds() == ()
    store.keep(7, b"older")
    store.keep(12, state)
    again = OwnStateStore(tmp_path, STUDY, KEY)
    assert again.rounds() == (7, 12) and again.load(12) == state and again.load(7) == b"older"
    assert not any(b"hospital" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert OwnStateStore(tmp_path, OTHER, KEY).rounds() == ()
    again.forget(7)
    assert again.rounds() == (12,)


def test_a_changed_or_foreign_state_is_refused_with_what_to_do(tmp_path: Path) -> None:
    store = OwnStateStore(tmp_path, STUDY, KEY)
    store.keep(3, b"state")
    path = next(path for path in tmp_path.rglob("*") if path.is_file())
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    with pytest.raises(StorageError, match="another keystore; restore it from a backup, or remove it"):
        OwnStateStore(tmp_path, STUDY, Secret(b"x" * 32)).load(3)
    path.write_bytes(bytes(data))
    with pytest.raises(StorageError, match="damaged"):
        store.load(3)
    with pytest.raises(StorageError, match="cannot read"):
        store.load(4)


def test_nothing_is_left_of_a_study_that_is_over(tmp_path: Path) -> None:
    store, other = OwnStateStore(tmp_path / "own", STUDY, KEY), OwnStateStore(tmp_path / "own", OTHER, KEY)
    store.clear()
    for one in (store, other):
        one.keep(3, b"state")
    store.clear()
    assert store.rounds() == () and other.load(3) == b"state"
    assert [path.name for path in (tmp_path / "own").iterdir()] == [OTHER.hex()]


def test_the_name_of_a_new_folder_is_on_the_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync_folder", synced.append)
    OwnStateStore(tmp_path / "var" / "own", STUDY, KEY).keep(3, b"state")
    RoundStore(tmp_path / "rounds", KEY).put(STUDY, 3, "keys", Secret(b"part"))
    assert {tmp_path / "var" / "own", tmp_path / "var", tmp_path} <= set(synced)
