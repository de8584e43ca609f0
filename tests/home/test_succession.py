"""What a home keeps of a succession: one consent, one successor, whatever fails in between."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fednode.chain.consensus.recovery import initial_record
from fednode.crypto import Secret
from fednode.errors import GenesisError, Refused, StorageError
from fednode.home import succession
from fednode.home.files import Home
from fednode.home.keystore import Keys, PublicKeys
from fednode.home.sign_state import SignStateFile, joined_mark
from fednode.home.succession import (
    check_may_join,
    consent_path,
    has_consented,
    join_successor,
    load_consent,
    sign_consent,
)
from fednode.ids import MemberId
from fednode.ledger.genesis import Genesis, make_successor, parse_genesis
from fednode.ledger.succession import make_origin
from tests.contract.test_store import MemoryStore
from tests.sim.whole.parts import GENESIS_MS, keys_of, tiny_genesis
from tests.support.seeds import Stream, seed_of

OLD = tiny_genesis(4)
STORE = MemoryStore(OLD)


def keys(member: int) -> Keys:
    card = OLD.members[member - 1]
    signer, _ = keys_of(4)[MemberId(member)]
    network = Secret(seed_of(card.name, "network"))
    return Keys(PublicKeys(card.sign_key, card.network_key), signer, network, network)


def make_home(folder: Path) -> Home:
    home = Home(folder)
    home.create()
    home.chain.mkdir(parents=True)
    (home.chain / "CURRENT").write_text("the old chain")
    SignStateFile(home.sign_state).create(initial_record(OLD.chain_id, OLD.members[0].sign_key))
    return home


def consent(home: Home, member: int = 1, seed: object = "first"):
    return sign_consent(home, keys(member), OLD, STORE, OLD.members[member - 1], Stream(seed, member))


def successor_of(*consents) -> Genesis:
    origin = make_origin(consents, STORE.tip, None, OLD.first_state(), STORE.get_members)
    return make_successor("next", origin, GENESIS_MS + 1)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path / "home")


def test_who_consents_deletes_the_secrets_of_the_old_rounds_and_none_of_new_ones(home: Home) -> None:
    home.rounds.mkdir(parents=True)
    (home.rounds / "secret").write_bytes(b"a key")
    first = consent(home)
    assert not home.rounds.exists()
    home.rounds.mkdir()
    (home.rounds / "secret").write_bytes(b"of the successor")
    assert consent(home) == first and (home.rounds / "secret").exists()


def test_a_home_consents_once(home: Home) -> None:
    assert not has_consented(home, OLD.chain_id) and load_consent(home, OLD.chain_id) is None
    first = consent(home)
    assert consent(home, seed="second") == first == load_consent(home, OLD.chain_id)
    assert has_consented(home, OLD.chain_id)


def test_a_damaged_consent_still_ends_the_chain(home: Home) -> None:
    consent(home)
    path = consent_path(home, OLD.chain_id)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    assert has_consented(home, OLD.chain_id)
    with pytest.raises(StorageError, match="damaged"):
        consent(home)


def test_power_that_fails_at_any_write_of_joining(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each cut a second try ends where an undisturbed one does, and the key has one first record."""
    whole = make_home(tmp_path / "whole")
    successor = successor_of(consent(whole), consent(make_home(tmp_path / "other"), 2))
    kept = consent_path(whole, OLD.chain_id).read_bytes()
    real, left = succession.write_atomic, [0]

    def write(path: Path, data: bytes, *more: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError("the power fails")
        real(path, data, *more)

    monkeypatch.setattr(succession, "write_atomic", write)
    for cut in range(8):
        home = make_home(tmp_path / f"home-{cut}")
        consent_path(home, OLD.chain_id).write_bytes(kept)
        left[0] = cut
        try:
            join_successor(home, home.genesis, OLD, successor, keys(1))
            is_whole = True
        except OSError:
            is_whole = False
            assert not home.genesis.exists(), "the new chain begins with the last write"
        left[0] = 100
        join_successor(home, home.genesis, successor if is_whole else OLD, successor, keys(1))
        assert parse_genesis(home.genesis.read_bytes()) == successor
        record = SignStateFile(home.sign_state).load()
        assert record == initial_record(successor.chain_id, OLD.members[0].sign_key)
        assert joined_mark(home, successor.chain_id).exists()
        assert not home.chain.exists() and not home.rounds.exists()
        (old,) = home.var.glob("chain-*")
        assert (old / "CURRENT").read_text() == "the old chain"
        if is_whole:
            assert cut >= 3
            break
    else:
        pytest.fail("it never came to its end")


def test_a_record_lost_after_joining_is_not_made_anew(home: Home, tmp_path: Path) -> None:
    successor = successor_of(consent(home), consent(make_home(tmp_path / "other"), 2))
    join_successor(home, home.genesis, OLD, successor, keys(1))
    shutil.rmtree(home.sign_state)
    join_successor(home, home.genesis, OLD, successor, keys(1))  # somebody put the old genesis back
    assert not SignStateFile(home.sign_state).exists()


def test_only_a_signer_joins_and_only_one_successor(home: Home, tmp_path: Path) -> None:
    others = [consent(make_home(tmp_path / f"home-{member}"), member) for member in (2, 3)]
    stranger = successor_of(*others)
    with pytest.raises(Refused, match="has not signed this succession"):
        check_may_join(home, stranger)
    mine = consent(home)
    with pytest.raises(Refused, match="is not in this file"):
        check_may_join(home, stranger)
    successor, another = successor_of(mine, *others), successor_of(mine, others[0])
    join_successor(home, home.genesis, OLD, successor, keys(1))
    with pytest.raises(Refused, match="has joined another successor"):
        join_successor(home, home.genesis, OLD, another, keys(1))
    with pytest.raises(GenesisError, match="neither the old chain nor its successor"):
        join_successor(home, home.genesis, tiny_genesis(5), successor, keys(1))
    with pytest.raises(GenesisError, match="chain of its own"):
        check_may_join(home, OLD)


def test_keys_from_a_backup_consent_anew_and_cannot_join_with_the_first_consent(tmp_path: Path) -> None:
    before, restored = make_home(tmp_path / "before"), make_home(tmp_path / "restored")
    successor = successor_of(consent(before), consent(make_home(tmp_path / "other"), 2))
    consent(restored, seed="after the restore")
    with pytest.raises(Refused, match="is not in this file"):
        check_may_join(restored, successor)
