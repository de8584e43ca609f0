"""Every file of a home besides the store, damaged in every way: named, or harmless and shown to be so.

Whatever is damaged, no key signs a second time at a place where it may have signed, and nothing raises but what is told
to people in one sentence. (The store's own files: tests/chain/test_store_damage.py.)
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fednode.chain.consensus.recovery import VoteSigner
from fednode.chain.leveldb import LevelDbStore, open_store
from fednode.chain.store import StoreDamaged
from fednode.chain.vote import NIL, NO_VIEW, PRECOMMIT, PREVOTE, PROPOSAL
from fednode.crypto import Ed25519Signer, Secret
from fednode.daemon.start_checks import load_signer, open_chain, remember_damage
from fednode.errors import KeystoreError, StorageError
from fednode.home.files import Home
from fednode.home.journal import Journal, is_line_whole
from fednode.home.keystore import Keys, PublicKeys, SystemEntropy, create_keystore, unlock_keystore
from fednode.home.round_store import RoundStore
from fednode.home.sign_state import SLOT_NAMES
from fednode.ids import Height, MemberId, StudyId, View
from fednode.ledger.genesis import Genesis
from fednode.smpc.record import LongPart
from tests.chain.test_store_damage import DAMAGES
from tests.contract.test_store import ChainMaker, fill
from tests.support.seeds import seed_of

BLOCKS = 5
SEEDS = [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 10))]
BOUND = NO_VIEW, NIL, None


@dataclass(frozen=True)
class Made:
    """A home whose member has voted at the height after its store's last block."""

    home: Home
    keys: Keys
    genesis: Genesis
    place: tuple[int, int, int]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Made:
    home, maker = Home(tmp_path_factory.mktemp("made") / "home"), ChainMaker()
    home.create()
    store = open_store(home.chain, maker.genesis)
    member = maker.genesis.members[0]
    signer = Ed25519Signer(Secret(seed_of(member.name, "sign")))
    public = PublicKeys(member.sign_key, member.network_key)
    keys = Keys(public, signer, Secret(bytes(32)), Secret(b"k" * 32))
    file, votes, _ = load_signer(home, keys, maker.genesis, MemberId(1), store)
    fill(store, maker, BLOCKS)
    store.close()
    place = (0, 0, 0)
    for height, view, kind in ((BLOCKS, 0, PREVOTE), (BLOCKS, 0, PRECOMMIT), (BLOCKS + 1, 0, PREVOTE)):
        vote = votes.sign(kind, Height(height), View(view), NO_VIEW, b"v" * 32, lambda: BOUND)
        assert vote is not None and votes.record is not None
        file.save(votes.record)
        place = (height, view, kind)
    journal = Journal(home.journal, MemberId(1), lambda: 1)
    for number in range(50):
        journal.write("note", number=number)
    journal.close()
    return Made(home, keys, maker.genesis, place)


@pytest.fixture
def made(original: Made, tmp_path: Path) -> Made:
    root = Path(shutil.copytree(original.home.root, tmp_path / "home"))
    return Made(Home(root), original.keys, original.genesis, original.place)


def spoil(path: Path, kind: str, seed: int) -> bool:
    """Damage a file; return whether anything is different now."""
    damage: Callable[[bytes, random.Random], bytes] | None = DAMAGES[kind]
    if damage is None:
        path.unlink()
        return True
    before = path.read_bytes()
    after = damage(before, random.Random(f"{path.name} {kind} {seed}"))
    path.write_bytes(after)
    return after != before


def signs_twice(made: Made, signer: VoteSigner) -> bool:
    """Whether the signer gives another vote for a place up to the last one that was signed."""
    for height in range(1, made.place[0] + 1):
        for view in range(3):
            for kind in (PROPOSAL, PREVOTE, PRECOMMIT):
                if (height, view, kind) > made.place:
                    continue
                vote = signer.sign(kind, Height(height), View(view), NO_VIEW, b"x" * 32, lambda: BOUND)
                if vote is not None:
                    return True
    return False


def opened(made: Made) -> LevelDbStore:
    return open_store(made.home.chain, made.genesis)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", sorted(DAMAGES))
@pytest.mark.parametrize("names", [*((name,) for name in SLOT_NAMES), SLOT_NAMES])
def test_sign_state(made: Made, names: tuple[str, ...], kind: str, seed: int) -> None:
    before = {name: (made.home.sign_state / name).read_bytes() for name in names}
    changed = [name for name in names if spoil(made.home.sign_state / name, kind, seed)]
    spoilt = {path.name: path.read_bytes() for path in made.home.sign_state.iterdir()}
    store = opened(made)
    try:
        _, signer, problems = load_signer(made.home, made.keys, made.genesis, MemberId(1), store)
    finally:
        store.close()
    assert not signs_twice(made, signer)
    assert all("\n" not in text and ("sign-state" in text or "does not sign" in text) for text in problems)
    kept = {path.read_bytes() for path in made.home.sign_state.iterdir()}
    assert set(spoilt.values()) <= kept, "what was damaged is kept"
    if changed and not problems:  # in the zeros behind a record
        assert all(before[name][:4] == spoilt[name][:4] for name in changed)
        assert signer.refusal is None and signer.record is not None and signer.record.place == made.place


@pytest.mark.parametrize("mark", [True, False])
def test_sign_state_folder_gone(made: Made, mark: bool) -> None:
    shutil.rmtree(made.home.sign_state)
    if not mark:
        for path in made.home.keystore.parent.glob("joined-*"):
            path.unlink()
    store = opened(made)
    try:
        _, signer, problems = load_signer(made.home, made.keys, made.genesis, MemberId(1), store)
    finally:
        store.close()
    assert signer.refusal is not None and problems and not signs_twice(made, signer)
    assert not made.home.sign_state.exists()


def test_store_that_lost_its_end_is_told(made: Made) -> None:
    shutil.rmtree(made.home.chain)
    store = opened(made)
    try:
        _, signer, problems = load_signer(made.home, made.keys, made.genesis, MemberId(1), store)
    finally:
        store.close()
    assert len(problems) == 1 and "the store ends at block 0 and this hospital has voted at block 6" in problems[0]
    assert signer.refusal is None and not signs_twice(made, signer)


def resync(made: Made) -> tuple[int, str | None]:
    """Open with --resync; return the height of what is used now, and what is told."""
    store, told = open_chain(made.home, made.keys.public, made.genesis, True)
    try:
        return int(store.tip.height), told
    finally:
        store.close()


def kept_stores(made: Made) -> list[Path]:
    return list(made.home.var.glob("chain-damaged-*"))


def test_whole_store_is_left_alone(made: Made) -> None:
    assert resync(made) == (BLOCKS, None) and kept_stores(made) == []


def test_damaged_store_is_moved_aside_only_when_asked_for(made: Made) -> None:
    (made.home.chain / "CURRENT").unlink()
    with pytest.raises(StoreDamaged, match="the file CURRENT is missing"):
        open_chain(made.home, made.keys.public, made.genesis, False)
    assert kept_stores(made) == []
    height, told = resync(made)
    assert height == 0 and told is not None and "CURRENT" in told
    [kept] = kept_stores(made)
    assert str(kept) in told and list(kept.glob("*.log"))


@pytest.mark.parametrize("kind", sorted(DAMAGES))
@pytest.mark.parametrize("names", [(SLOT_NAMES[0],), SLOT_NAMES])
def test_nothing_is_moved_while_the_sign_state_is_not_whole(made: Made, names: tuple[str, ...], kind: str) -> None:
    (made.home.chain / "CURRENT").unlink()
    for name in names:
        path = made.home.sign_state / name
        path.unlink() if kind == "missing" else path.write_bytes(b"")
    with pytest.raises(StorageError, match="not whole either, so nothing was moved.*keys rotate --sign"):
        resync(made)
    assert kept_stores(made) == [] and made.home.chain.exists()


def test_who_never_signed_may_fetch_its_store_anew(made: Made) -> None:
    shutil.rmtree(made.home.sign_state)
    for mark in made.home.keystore.parent.glob("joined-*"):
        mark.unlink()
    (made.home.chain / "CURRENT").unlink()
    assert resync(made)[0] == 0


def test_damage_that_was_met_while_the_daemon_ran_is_remembered(made: Made) -> None:
    """It may lie where a start does not look; the store would be opened and fail again and again."""
    remember_damage(made.home, StoreDamaged("block 3 or its certificate is missing in the store; do something"))
    for _ in range(2):
        with pytest.raises(StoreDamaged, match="block 3 or its certificate"):
            open_chain(made.home, made.keys.public, made.genesis, False)
    height, told = resync(made)
    assert height == 0 and told is not None and told.startswith("block 3")
    assert resync(made) == (0, None), "it was about the store that was moved away"
    remember_damage(made.home, StoreDamaged("block 3 is missing"))
    shutil.rmtree(made.home.chain)
    assert resync(made) == (0, None), "its owner has moved it away"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", sorted(DAMAGES))
def test_journal(made: Made, kind: str, seed: int) -> None:
    path = made.home.journal
    whole = path.read_bytes()
    changed = spoil(path, kind, seed)
    spoilt = path.read_bytes() if path.exists() else b""
    told = Journal.keep_damaged(path)
    if told is not None:
        assert changed and "\n" not in told and "damaged" in told
        assert [kept.read_bytes() for kept in path.parent.glob("*-damaged-*")] == [spoilt]
    else:
        assert not changed or whole.startswith(spoilt), "nothing was told, and more than its end is missing"
    journal = Journal(path, MemberId(1), lambda: 2)
    journal.write("after")
    journal.close()
    lines = path.read_bytes().splitlines()
    assert is_line_whole(lines[-1]) and b"after" in lines[-1]
    assert Journal.keep_damaged(path) is None, "it is told once"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", sorted(DAMAGES))
def test_round_record(tmp_path: Path, kind: str, seed: int) -> None:
    study, records = StudyId(b"s" * 32), RoundStore(tmp_path, Secret(b"k" * 32))
    records.put(study, 4, "state", Secret(b"a promise" * 100))
    [path] = tmp_path.iterdir()
    changed = spoil(path, kind, seed)
    try:
        found = records.load(study, 4, "state")
    except StorageError as error:
        assert changed and str(path) in str(error) and "sits the round out" in str(error)
    else:
        assert found == (None if kind == "missing" else b"a promise" * 100)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", sorted(DAMAGES))
def test_long_part_of_a_round_record(tmp_path: Path, kind: str, seed: int) -> None:
    study, records, vector = StudyId(b"s" * 32), RoundStore(tmp_path, Secret(b"k" * 32)), bytes(range(250)) * 20
    records.put_long(study, 4, "input", (b"head", vector))
    [path] = tmp_path.iterdir()
    changed = spoil(path, kind, seed)
    try:
        found = records.load(study, 4, "input")
        data = None if found is None else bytes(found.read(len(vector))) if isinstance(found, LongPart) else found
    except StorageError as error:
        assert changed and str(path) in str(error) and "sits the round out" in str(error)
    else:
        assert data == (None if kind == "missing" else vector)


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(DAMAGES))
def test_keystore(tmp_path: Path, kind: str) -> None:
    path, secret = tmp_path / "keystore.toml", Secret(b"long enough")
    keys = create_keystore(path, secret, SystemEntropy())
    whole = path.read_bytes()
    for seed in range(10):
        path.write_bytes(whole)
        spoil(path, kind, seed)
        try:
            found = unlock_keystore(path, secret)
        except KeystoreError as error:
            assert "\n" not in str(error) and ";" in str(error), error
        else:
            assert found.public == keys.public, "in a comment"
        path.touch(mode=0o600)
