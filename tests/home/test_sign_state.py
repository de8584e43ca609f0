"""The sign-state file: two slots, written in turn; a lost or damaged record never lets a key vote twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fednode.chain.consensus.recovery import SignRecord, VoteSigner, initial_record
from fednode.chain.vote import NIL, NO_VIEW, PRECOMMIT, PREVOTE
from fednode.crypto import Ed25519Signer, Secret
from fednode.errors import StorageError
from fednode.home.sign_state import SLOT_NAMES, SignStateFile
from fednode.ids import Height, MemberId, View

CHAIN = bytes(32)
SIGNER = Ed25519Signer(Secret(b"k" * 32))


def record_at(height: int, view: int = 0) -> SignRecord:
    """What is on the disk after a precommit at this place."""
    signer = VoteSigner(CHAIN, MemberId(1), SIGNER, initial_record(CHAIN, SIGNER.public_key))
    vote = signer.sign(PRECOMMIT, Height(height), View(view), NO_VIEW, NIL, lambda: (NO_VIEW, NIL, None))
    assert vote is not None and signer.record is not None
    return signer.record


@pytest.fixture
def file(tmp_path: Path) -> SignStateFile:
    made = SignStateFile(tmp_path)
    made.create(initial_record(CHAIN, SIGNER.public_key))
    return made


def reopened(tmp_path: Path, tip_height: int = 0) -> tuple[SignStateFile, SignRecord | None]:
    found = SignStateFile(tmp_path)
    return found, found.load(tip_height)


def test_newest_record_comes_back(file: SignStateFile, tmp_path: Path) -> None:
    for height in range(1, 8):
        file.save(record_at(height))
        found, record = reopened(tmp_path)
        assert record == record_at(height) and found.damage is None and found.silent_until == 0


def test_writing_goes_on_after_a_restart_without_losing_the_newest(file: SignStateFile, tmp_path: Path) -> None:
    file.save(record_at(1))
    file.save(record_at(2))
    second, _ = reopened(tmp_path)
    second.save(record_at(3))
    _, record = reopened(tmp_path)
    assert record == record_at(3)
    third, _ = reopened(tmp_path)
    third.save(record_at(4))
    (tmp_path / SLOT_NAMES[0]).write_bytes(bytes(4096))
    _, left = reopened(tmp_path, 3)
    assert left in (record_at(3), record_at(4))


def test_made_once_and_never_over_one_that_is_there(file: SignStateFile, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="this key may have signed"):
        SignStateFile(tmp_path).create(initial_record(CHAIN, SIGNER.public_key))


def test_none_at_all_is_told_apart_from_damage(tmp_path: Path) -> None:
    found, record = reopened(tmp_path / "nothing")
    assert record is None and found.damage is None


@pytest.mark.parametrize("slot", SLOT_NAMES)
@pytest.mark.parametrize("spoilt", [b"", b"x", bytes(4096), b"\xff" * 4096])
def test_one_damaged_slot_means_silence_up_to_the_height_under_decision(
    file: SignStateFile, tmp_path: Path, slot: str, spoilt: bytes
) -> None:
    file.save(record_at(6))
    file.save(record_at(7))
    (tmp_path / slot).write_bytes(spoilt)
    found, record = reopened(tmp_path, tip_height=6)
    assert record is not None and record.height in (6, 7)
    assert found.silent_until >= 7, "the lost record may be of the height after the tip"
    assert found.damage is not None and "signs nothing up to height" in found.damage
    signer = VoteSigner(CHAIN, MemberId(1), SIGNER, record, found.silent_until)
    bound = NO_VIEW, NIL, None
    for view in (0, 1, 9):
        assert signer.sign(PREVOTE, Height(7), View(view), NO_VIEW, b"x" * 32, lambda: bound) is None
    assert signer.sign(PREVOTE, Height(8), View(0), NO_VIEW, b"x" * 32, lambda: bound) is not None


def test_damaged_and_missing_slot_together_are_damage_not_a_new_key(file: SignStateFile, tmp_path: Path) -> None:
    file.save(record_at(6))
    (tmp_path / SLOT_NAMES[0]).write_bytes(b"x")
    (tmp_path / SLOT_NAMES[1]).unlink()
    with pytest.raises(StorageError, match="must not sign"):
        reopened(tmp_path)


def test_damaged_slot_and_a_lost_store_together_mean_no_votes(file: SignStateFile, tmp_path: Path) -> None:
    """Then nothing says how far the lost record may have been."""
    file.save(record_at(6))
    file.save(record_at(7))
    (tmp_path / SLOT_NAMES[1]).write_bytes(b"x")
    for tip_height in (0, 4):
        with pytest.raises(StorageError, match="the store is older than the other one"):
            reopened(tmp_path, tip_height)


def test_every_single_changed_byte_is_noticed(file: SignStateFile, tmp_path: Path) -> None:
    file.save(record_at(6))
    file.save(record_at(7))
    newest = next(p for p in (tmp_path / name for name in SLOT_NAMES) if _height(p) == 7)
    whole = newest.read_bytes()
    length = 4 + int.from_bytes(whole[:4], "big")
    for place in range(length):
        newest.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        found, record = reopened(tmp_path, 6)
        assert record == record_at(6) and found.silent_until == 7, f"byte {place}"


def _height(path: Path) -> int:
    from fednode.chain.consensus.recovery import decode_record

    data = path.read_bytes()
    return decode_record(data[4 : 4 + int.from_bytes(data[:4], "big")]).height


def test_large_record_and_small_one_after_it(file: SignStateFile, tmp_path: Path) -> None:
    """One that carries a block does not fit a page."""
    large = replace(record_at(3), locked_view=View(0), locked_value=b"v" * 32)
    file.save(large)
    file.save(record_at(4))
    file.save(record_at(5))
    _, record = reopened(tmp_path)
    assert record == record_at(5)
