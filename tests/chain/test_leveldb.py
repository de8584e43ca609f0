"""The store on disk: reopening, one process at a time, and damage that must never go unnoticed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import plyvel
import pytest

from fednode.chain.leveldb import open_store
from fednode.chain.store import SEEN_KEY, STATE_PREFIX, height_key
from fednode.codec import encode
from fednode.errors import HomeInUse, StorageError
from tests.contract.test_store import ChainMaker, fill
from tests.ledger.world import make_test_genesis


def filled(path: Path, blocks: int = 6) -> ChainMaker:
    maker = ChainMaker()
    store = open_store(path, maker.genesis)
    fill(store, maker, blocks)
    store.close()
    return maker


def tamper(path: Path, key: bytes, value: bytes | None) -> None:
    database = plyvel.DB(str(path))
    if value is None:
        database.delete(key)
    else:
        database.put(key, value)
    database.close()


def test_reopened_store_goes_on_where_it_was(tmp_path: Path) -> None:
    maker = filled(tmp_path / "chain")
    store = open_store(tmp_path / "chain", maker.genesis)
    assert store.tip == maker.tip
    assert store.load_state().root == maker.state.root
    store.append(maker.decide(maker.transaction()))
    assert store.tip.height == 7
    assert store.audit() > 20
    store.close()


def test_another_process_holding_the_store_is_named(tmp_path: Path) -> None:
    maker = filled(tmp_path / "chain")
    code = f"import plyvel; db = plyvel.DB({str(tmp_path / 'chain')!r}); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(HomeInUse, match="another process holds the store"):
            open_store(tmp_path / "chain", maker.genesis)
        other.communicate("\n")


def test_a_foreign_chain_is_refused(tmp_path: Path) -> None:
    filled(tmp_path / "chain")
    with pytest.raises(StorageError, match="another chain"):
        open_store(tmp_path / "chain", make_test_genesis(5))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (height_key(b"b/", 5), None, "block 5"),
        (height_key(b"b/", 5), b"\x00", "block 5"),
        (height_key(b"c/", 4), None, "certificate of block 4"),
        (SEEN_KEY, None, "certificate of block 6"),
        (STATE_PREFIX + b"nonce/\x00\x01", None, "state is not the one"),
        (STATE_PREFIX + b"stray", b"", "unknown kind"),
        (b"m/tip", None, "end of the chain"),
        (b"m/format", b"\x00\x09", "format 9"),
        (b"m/format", None, "no format mark"),
    ],
)
def test_a_store_that_contradicts_itself_is_refused(
    tmp_path: Path, key: bytes, value: bytes | None, words: str
) -> None:
    maker = filled(tmp_path / "chain")
    tamper(tmp_path / "chain", key, value)
    with pytest.raises(StorageError, match=words):
        open_store(tmp_path / "chain", maker.genesis)


def test_a_missing_transaction_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    maker = filled(tmp_path / "chain")
    tamper(tmp_path / "chain", b"t/" + (6).to_bytes(8, "big") + (0).to_bytes(4, "big"), None)
    with pytest.raises(StorageError, match="0 of 1 transactions"):
        open_store(tmp_path / "chain", maker.genesis)


def test_a_certificate_with_another_signature_is_refused(tmp_path: Path) -> None:
    maker = filled(tmp_path / "chain")
    signatures = (bytes(64), *maker.certificate.signatures[1:])
    forged = type(maker.certificate)(
        maker.certificate.height, maker.certificate.view, maker.certificate.block_hash,
        maker.certificate.bitmap, signatures,
    )
    tamper(tmp_path / "chain", SEEN_KEY, encode(forged))
    with pytest.raises(StorageError, match="certificate of block 6 does not hold"):
        open_store(tmp_path / "chain", maker.genesis)


DAMAGE = {
    "flip": lambda good, at: good[:at] + bytes(byte ^ 0xFF for byte in good[at : at + 16]) + good[at + 16 :],
    "zero": lambda good, at: good[:at] + bytes(16) + good[at + 16 :],
    "truncate": lambda good, at: good[:at],
}


@pytest.mark.parametrize("pattern", ["*.ldb", "*.log", "MANIFEST-*"])
@pytest.mark.parametrize("kind", sorted(DAMAGE))
def test_damage_is_reported_or_leaves_a_shorter_whole_chain(tmp_path: Path, kind: str, pattern: str) -> None:
    path = tmp_path / "chain"
    maker = filled(path, 40)
    if pattern == "*.ldb":
        open_store(path, maker.genesis).close()  # reopening moves the log into a table
    file = max(path.glob(pattern), key=lambda candidate: candidate.stat().st_size)
    good = file.read_bytes()
    assert len(good) > 40
    for at in range(len(good) // 8, len(good), len(good) // 4):
        broken = tmp_path / f"broken-{at}"
        shutil.copytree(path, broken)
        damaged = DAMAGE[kind](good, at)
        (broken / file.name).write_bytes(damaged)
        try:
            store = open_store(broken, maker.genesis)
        except StorageError as error:
            assert ("\n" not in str(error) and str(broken) in str(error)) or "store" in str(error)
        else:
            # A cut log looks like a crash in the middle of a write: whole blocks are gone, never parts of one. So does
            # one that is zero from the head of a record on: LevelDB takes that for room that was never written.
            try:
                store.audit()
                blocks = [block.height for block, _ in store.blocks(1, 99)]
                assert kind in ("truncate", "zero") and pattern == "*.log"
                assert blocks == list(range(1, store.tip.height + 1))
            except StorageError:
                pass
            finally:
                store.close()
        assert broken.exists() and any(broken.iterdir())
