"""Keys on disk: they come back, they never leak, and every way to fail is one sentence."""

from __future__ import annotations

import json
import os
import random
import stat
from pathlib import Path

import pytest

from fednode import crypto
from fednode.crypto import Domain, Secret, is_signature_valid
from fednode.errors import KeystoreError
from fednode.home import keystore
from fednode.home.keystore import Keys, PublicKeys, create_keystore, find_passphrase, read_public_keys, unlock_keystore

PASSPHRASE = Secret(b"correct horse battery")


class Stream:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def random_bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Keys]:
    path = tmp_path_factory.mktemp("keys") / "keystore.toml"
    return path, create_keystore(path, PASSPHRASE, Stream(1))


def test_keys_come_back_with_the_passphrase(made: tuple[Path, Keys]) -> None:
    path, keys = made
    again = unlock_keystore(path, PASSPHRASE)
    assert again.public == keys.public == read_public_keys(path)
    assert again.storage_key.reveal() == keys.storage_key.reveal()
    signature = again.sign.sign(Domain.TRANSACTION, b"text")
    assert is_signature_valid(keys.public.sign, Domain.TRANSACTION, b"text", signature)
    assert is_signature_valid(
        keys.public.network, Domain.POSSESSION, b"card", again.network_signer.sign(Domain.POSSESSION, b"card")
    )
    assert keys.public.sign != keys.public.network


def test_the_file_is_private_and_holds_no_secret_in_the_clear(made: tuple[Path, Keys]) -> None:
    path, keys = made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    for secret in (keys.network_seed, keys.storage_key):
        assert secret.reveal().hex() not in text
    assert "Secret(...)" in repr(keys)
    assert keys.network_seed.reveal().hex() not in repr(keys)


def test_a_wrong_passphrase_and_a_damaged_file_are_told_apart(made: tuple[Path, Keys], tmp_path: Path) -> None:
    path, _ = made
    with pytest.raises(KeystoreError, match="^wrong passphrase for the keystore .*; try again$"):
        unlock_keystore(path, Secret(b"wrong horse battery"))
    copy = tmp_path / "keystore.toml"
    text = path.read_text()
    box_at = text.index('box = "') + 20
    flipped = text[:box_at] + ("0" if text[box_at] != "0" else "1") + text[box_at + 1 :]
    for damaged in (flipped, text[: len(text) // 2], "", "format = 1\n", text.replace("salt", "slat")):
        copy.write_text(damaged)
        copy.chmod(0o600)
        with pytest.raises(KeystoreError, match=r"is damaged; restore it|has format None"):
            unlock_keystore(copy, PASSPHRASE)


def test_swapped_public_keys_are_noticed(made: tuple[Path, Keys], tmp_path: Path) -> None:
    path, keys = made
    file = keystore._read(path)
    other = PublicKeys(keys.public.network, keys.public.network)
    copy = tmp_path / "keystore.toml"
    text = path.read_text().replace(keys.public.sign.hex(), other.sign.hex())
    text = text.replace(keystore._check(file.public, file.salt, file.box), keystore._check(other, file.salt, file.box))
    copy.write_text(text)
    copy.chmod(0o600)
    with pytest.raises(KeystoreError, match="public keys .* were changed"):
        unlock_keystore(copy, PASSPHRASE)


def test_a_keystore_is_never_overwritten(made: tuple[Path, Keys]) -> None:
    path, _ = made
    before = path.read_bytes()
    with pytest.raises(KeystoreError, match="never overwritten"):
        create_keystore(path, PASSPHRASE, Stream(2))
    assert path.read_bytes() == before


def test_missing_open_and_foreign_files(made: tuple[Path, Keys], tmp_path: Path) -> None:
    path, _ = made
    with pytest.raises(KeystoreError, match="make one with 'fednode init'"):
        read_public_keys(tmp_path / "none")
    copy = tmp_path / "keystore.toml"
    copy.write_text(path.read_text())
    copy.chmod(0o640)
    with pytest.raises(KeystoreError, match=r"other accounts may open .*; run: chmod 600"):
        read_public_keys(copy)
    copy.write_text(path.read_text().replace("format = 1", "format = 9"))
    copy.chmod(0o600)
    with pytest.raises(KeystoreError, match="has format 9, this version reads 1"):
        read_public_keys(copy)


def test_a_new_passphrase_has_a_least_length(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="at least 8 characters"):
        create_keystore(tmp_path / "k", Secret(b"short"), Stream(3))
    assert not (tmp_path / "k").exists()


def test_the_fingerprint_is_read_in_groups_and_depends_on_every_key(made: tuple[Path, Keys]) -> None:
    public = made[1].public
    groups = public.fingerprint.split(" ")
    assert len(groups) == 12
    assert all(len(group) == 5 and group.isdigit() for group in groups)
    others = {PublicKeys(bytes(32), public.network).fingerprint, PublicKeys(public.sign, bytes(32)).fingerprint}
    assert len(others | {public.fingerprint}) == 3


def test_peer_ids_match_the_published_vectors(shared_dir: Path) -> None:
    vectors = json.loads((shared_dir / "vectors" / "libp2p-peer-id" / "peer_id.json").read_text())["ed25519"]
    for vector in vectors:
        private = bytes.fromhex(vector["private_key_protobuf"])[4:]
        signer = crypto.Ed25519Signer(Secret(private[:32]))
        assert signer.public_key == private[32:]
        assert PublicKeys(bytes(32), signer.public_key).peer_id == vector["peer_id_base58btc"]


def test_the_passphrase_is_taken_from_the_nearest_source(tmp_path: Path) -> None:
    option, variable, configured = (tmp_path / name for name in ("option", "variable", "configured"))
    write_private(option, b"from option\n")
    write_private(variable, b"\xef\xbb\xbffrom variable\r\n")
    write_private(configured, b"from configured")
    both = {"FEDNODE_PASSPHRASE_FILE": str(variable), "FEDNODE_PASSPHRASE": "from text"}
    text = {"FEDNODE_PASSPHRASE": "from text"}
    for wanted, arguments in {
        "from option": (option, both, configured, None),
        "from variable": (None, both, configured, None),
        "from text": (None, text, configured, None),
        "from configured": (None, {}, configured, None),
        "from person": (None, {}, None, lambda: "from person"),
    }.items():
        assert find_passphrase(*arguments).reveal() == wanted.encode()


def write_private(path: Path, data: bytes) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"two\nlines\n", "a line end at place 4"), (b"old\rmac", "a line end at place 4"),
        (b"ends twice\n\n", "a line end at place 11"), (b"zero\x00", "U\\+0000 at place 5"), (b"tab\there", "U\\+0009"),
        ("no\u00a0break".encode(), "U\\+00A0 at place 3"), ("wide\u200b".encode(), "U\\+200B at place 5"),
        ("mark\ufeff".encode(), "U\\+FEFF"), ("text".encode("utf-16"), "UTF-16"),
        (b"caf\xe9", "not UTF-8 text \\(byte 4"),
        (b"blank after \n", "begins or ends with a blank"), (b" blank before\n", "begins or ends with a blank"),
    ],
)
def test_stray_bytes_in_a_passphrase_file_are_named(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(KeystoreError, match=says):
        find_passphrase(write_private(tmp_path / "secret", data), {}, None, None)


def test_a_passphrase_file_is_private_as_the_keystore_is(tmp_path: Path) -> None:
    path = write_private(tmp_path / "secret", b"correct horse\n")
    for mode in range(0o1000):
        path.chmod(mode)
        sources = ((path, {}, None), (None, {}, path), (None, {"FEDNODE_PASSPHRASE_FILE": str(path)}, None))
        for option, environ, configured in sources[: 1 if mode % 64 else 3]:
            if mode & 0o077:
                with pytest.raises(KeystoreError, match=f"mode {mode:03o}.; run: chmod 600"):
                    find_passphrase(option, environ, configured, None)
            elif mode & 0o400:
                assert find_passphrase(option, environ, configured, None).reveal() == b"correct horse"


def test_a_passphrase_may_come_through_a_pipe() -> None:
    read, write = os.pipe()
    os.write(write, b"from the start in the background")
    os.close(write)
    assert find_passphrase(Path(f"/dev/fd/{read}"), {}, None, None).reveal().startswith(b"from the start")
    os.close(read)


def test_no_passphrase_is_one_sentence(tmp_path: Path) -> None:
    write_private(tmp_path / "empty", b"\n")
    with pytest.raises(KeystoreError, match="no terminal to ask at; give --passphrase-file"):
        find_passphrase(None, {}, None, None)
    with pytest.raises(KeystoreError, match="cannot read the passphrase file .*no such file"):
        find_passphrase(tmp_path / "none", {}, None, None)
    with pytest.raises(KeystoreError, match="is empty"):
        find_passphrase(tmp_path / "empty", {}, None, None)
    with pytest.raises(KeystoreError, match="is empty"):
        find_passphrase(None, {"FEDNODE_PASSPHRASE": ""}, None, None)
