"""Copies of the keys: encrypted on their own, never over a file, and never a way to sign twice."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from fednode.chain.leveldb import open_store
from fednode.crypto import Secret
from fednode.daemon.start_checks import load_signer
from fednode.home.files import Home
from fednode.home.keystore import PublicKeys, SystemEntropy, read_public_keys, renew_keystore, unlock_keystore
from fednode.ids import MemberId
from fednode.ledger.genesis import make_genesis
from fednode.ledger.members.identity import parse_card
from tests.cli.conftest import PASSPHRASE, Fednode, write_private

BACKUP = "another long passphrase"
pytestmark = pytest.mark.slow  # Argon2id takes its time


@pytest.fixture
def made(fednode: Fednode, homes: Path, tmp_path: Path) -> tuple[Path, PublicKeys]:
    """A backup of anna's keys, and her public keys."""
    write_private(tmp_path / "secret", BACKUP + "\n")
    target = tmp_path / "anna-keys.toml"
    result = fednode(
        "--home", homes / "anna", "keys", "backup", "--to", target, "--backup-passphrase-file", tmp_path / "secret",
        "--passphrase-file", homes / "passphrase", "--format", "json",
    )
    assert result.code == 0, result.err
    public = read_public_keys(homes / "anna" / "keys" / "keystore.toml")
    assert json.loads(result.out) == {
        "path": str(target), "fingerprint": public.fingerprint, "sign": public.sign.hex()
    }
    return target, public


def test_backup_is_private_and_opens_with_its_own_passphrase_only(made: tuple[Path, PublicKeys]) -> None:
    target, public = made
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert unlock_keystore(target, Secret(BACKUP.encode())).public == public
    with pytest.raises(Exception, match="wrong passphrase"):
        unlock_keystore(target, Secret(PASSPHRASE.encode()))
    assert BACKUP not in target.read_text()


def test_backup_refuses_what_would_lose_something(
    fednode: Fednode, homes: Path, made: tuple[Path, PublicKeys], tmp_path: Path
) -> None:
    target, _ = made
    before = target.read_bytes()
    call = ("--home", homes / "anna", "keys", "backup", "--passphrase-file", homes / "passphrase")
    again = fednode(*call, "--to", target, "--backup-passphrase-file", tmp_path / "secret")
    assert (again.code, "never overwritten" in again.err, target.read_bytes()) == (4, True, before)
    (tmp_path / "short").write_text("abc\n")
    (tmp_path / "short").chmod(0o600)
    short = fednode(*call, "--to", tmp_path / "new.toml", "--backup-passphrase-file", tmp_path / "short")
    assert (short.code, "too short" in short.err) == (4, True)
    nobody = fednode(*call, "--to", tmp_path / "new.toml")
    assert (nobody.code, "--backup-passphrase-file" in nobody.err) == (4, True)
    nowhere = fednode(*call, "--to", tmp_path / "no" / "new.toml", "--backup-passphrase-file", tmp_path / "secret")
    assert nowhere.code in (4, 8) and "Traceback" not in nowhere.err
    assert not (tmp_path / "new.toml").exists()


def test_restored_keys_sign_nothing_until_they_are_replaced(
    fednode: Fednode, homes: Path, made: tuple[Path, PublicKeys], tmp_path: Path
) -> None:
    target, public = made
    call = ("--home", tmp_path / "new", "keys", "restore", "--from", target)
    secrets = ("--backup-passphrase-file", tmp_path / "secret", "--passphrase-file", homes / "passphrase")
    wrong = fednode(*call, "--backup-passphrase-file", homes / "passphrase", "--passphrase-file", homes / "passphrase")
    assert (wrong.code, "wrong passphrase" in wrong.err) == (4, True)
    done = fednode(*call, *secrets)
    assert done.code == 0 and public.fingerprint[:35] in done.out, done.err
    home = Home(tmp_path / "new")
    keys = unlock_keystore(home.keystore, Secret(PASSPHRASE.encode()))
    assert keys.public == public
    again = fednode(*call, *secrets)
    assert (again.code, "already holds" in again.err) == (4, True)

    cards = [parse_card((homes / name / "etc" / "identity-card.toml").read_text()) for name in ("anna", "berta")]
    genesis = make_genesis("test", cards, [], 1000)
    store = open_store(home.chain, genesis)
    try:
        _, signer, problems = load_signer(home, keys, genesis, genesis.member_of(public.sign), store)
        assert signer.refusal is not None and "restored from a backup" in signer.refusal
        assert "keys rotate --sign" in problems[0] and signer.record is None
        assert not list(home.keystore.parent.glob("joined-*")) and not home.sign_state.exists()
        renewed = renew_keystore(
            home.keystore, home.keystore.with_name("next.toml"), Secret(PASSPHRASE.encode()), SystemEntropy(), {"sign"}
        )
        _, signer, problems = load_signer(home, renewed, genesis, MemberId(1), store)
        assert signer.refusal is None and problems == [], "the mark is about the old key"
    finally:
        store.close()


def test_restore_from_something_else(fednode: Fednode, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("format = 1\n")
    (tmp_path / "bad.toml").chmod(0o600)
    for source, says in ((tmp_path / "bad.toml", "damaged"), (tmp_path / "none.toml", "no keystore")):
        result = fednode("--home", tmp_path / "new", "keys", "restore", "--from", source)
        assert (result.code, says in result.err) == (4, True), result.err
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("which", [{"sign"}, {"network"}, {"sign", "network"}])
def test_only_the_named_keys_are_new(homes: Path, which: set[str]) -> None:
    path, secret = homes / "anna" / "keys" / "keystore.toml", Secret(PASSPHRASE.encode())
    before = unlock_keystore(path, secret)
    target = path.with_name("keystore-next.toml")
    after = renew_keystore(path, target, secret, SystemEntropy(), which)
    names = ("sign", "network")
    changed = {name for name in names if getattr(before.public, name) != getattr(after.public, name)}
    assert changed == which
    assert before.storage_key.reveal() == after.storage_key.reveal()
    again = renew_keystore(path, target, secret, SystemEntropy(), which)
    assert again.public == after.public, "what was cut short goes on with the same keys"
    other = {"network"} if which != {"network"} else {"sign"}
    with pytest.raises(Exception, match="was not finished; finish it first with 'fednode keys rotate --"):
        renew_keystore(path, target, secret, SystemEntropy(), other)
