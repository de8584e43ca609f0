"""Every file of the store, damaged in every way: named when it is opened, or harmless, and then shown to be so.

Harmless means: what is served is the beginning of the very chain that was stored, whole up to its end, and the state
is the one that end names. A power cut may leave that behind as well; the rest is fetched from the members.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fednode.chain.leveldb import open_store
from fednode.chain.leveldb_files import Damage, check_files
from fednode.chain.store import StoreDamaged
from fednode.errors import StorageError
from tests.contract.test_store import ChainMaker, fill


class Original:
    """A store with two tables' worth of reopenings, a log with blocks in it, and the chain it holds."""

    def __init__(self, path: Path) -> None:
        self.path, self.maker = path, ChainMaker()
        for _ in range(3):
            store = open_store(path, self.maker.genesis)
            fill(store, self.maker, 12)
            store.close()
        copy = path.with_name("read")
        shutil.copytree(path, copy)
        store = open_store(copy, self.maker.genesis)
        self.blocks = list(store.blocks(1, 99))
        store.close()
        assert len(self.blocks) == 36


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return Original(tmp_path_factory.mktemp("store") / "chain")


def _flip(data: bytes, drawn: random.Random) -> bytes:
    place = drawn.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << drawn.randrange(8)]) + data[place + 1 :]


def _cut(data: bytes, drawn: random.Random) -> bytes:
    return data[: drawn.randrange(len(data))]


def _zero(data: bytes, drawn: random.Random) -> bytes:
    start = drawn.randrange(len(data)) // 512 * 512
    size = min(drawn.choice((512, 4096, 32768)), len(data) - start)
    return data[:start] + bytes(size) + data[start + size :]


def _empty(data: bytes, drawn: random.Random) -> bytes:
    return b""


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes] | None] = {
    "flipped": _flip, "cut": _cut, "zeroed": _zero, "empty": _empty, "missing": None,
}
FILES = ["CURRENT", "MANIFEST-*", "*.log", "*.ldb", "LOCK", "LOG", "LOG.old"]
"""The last three are LevelDB's lock and its diary: nothing is read from them."""


def _spoil(path: Path, pattern: str, kind: str, seed: int) -> bool:
    """Damage one file; return whether its bytes are others now."""
    drawn = random.Random(f"{pattern} {kind} {seed}")
    file = drawn.choice(sorted(path.glob(pattern)))
    damage = DAMAGES[kind]
    if damage is None:
        file.unlink()
        return True
    data = file.read_bytes()
    spoilt = damage(data, drawn) if data else data
    file.write_bytes(spoilt)
    return spoilt != data


def _is_harmless(path: Path, original: Original) -> bool:
    """Open a store and compare everything in it with the original; raise `StorageError` if it is refused."""
    store = open_store(path, original.maker.genesis)
    try:
        store.audit()
        height = int(store.tip.height)
        assert list(store.blocks(1, 99)) == original.blocks[:height], "another chain"
        if height:
            assert store.load_state().root == original.blocks[height - 1][0].header.state_root
            assert store.tip.block_hash == original.blocks[height - 1][0].hash
        return height == len(original.blocks)
    finally:
        store.close()


SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 13))]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", sorted(DAMAGES))
@pytest.mark.parametrize("pattern", FILES)
def test_damage_is_named_or_harmless(original: Original, tmp_path: Path, pattern: str, kind: str, seed: int) -> None:
    path = tmp_path / "chain"
    shutil.copytree(original.path, path)
    changed = _spoil(path, pattern, kind, seed)
    kept = {file.name: file.read_bytes() for file in path.iterdir()}
    try:
        is_whole = _is_harmless(path, original)
    except StorageError as error:
        text = str(error)
        assert "\n" not in text and "'fednode start --resync'" in text, text
        assert str(path) in text or "in the store" in text or "stored state" in text, text
        assert isinstance(error, StoreDamaged) and changed, text
        present = {file.name: file.read_bytes() for file in path.iterdir()}
        if f"{path} is damaged (the file" in text:  # found before LevelDB opened anything
            assert present == kept
    else:
        assert is_whole or (pattern == "*.log" and kind in ("flipped", "cut", "zeroed", "empty")), "blocks are gone"
        is_padding = pattern == "*.ldb" and kind == "flipped" and is_whole  # a table's footer has unused bytes
        assert not changed or is_padding or pattern in ("*.log", "LOCK", "LOG", "LOG.old"), "went unnoticed"


@pytest.mark.parametrize("pattern", ["CURRENT", "MANIFEST-*", "*.log", "*.ldb"])
def test_missing_file_is_called_by_its_name(original: Original, tmp_path: Path, pattern: str) -> None:
    path = tmp_path / "chain"
    shutil.copytree(original.path, path)
    for file in path.glob(pattern):
        file.unlink()
    with pytest.raises(StoreDamaged, match=r"the file (CURRENT|MANIFEST-\d+|\d+\.log|\d+\.ldb).* is missing"):
        open_store(path, original.maker.genesis)


def test_empty_folder_is_a_new_store_and_a_stray_file_is_none_of_ours(tmp_path: Path) -> None:
    maker = ChainMaker()
    (tmp_path / "chain").mkdir()
    (tmp_path / "chain" / "notes.txt").write_text("mine")
    open_store(tmp_path / "chain", maker.genesis).close()
    assert (tmp_path / "chain" / "notes.txt").read_text() == "mine"


def test_any_bytes_in_place_of_the_manifest_are_damage(original: Original) -> None:
    files = {file.name: file.read_bytes() for file in original.path.iterdir()}
    drawn = random.Random(1)
    manifest = next(name for name in files if name.startswith("MANIFEST"))
    for _ in range(300):
        spoilt = {**files, manifest: _flip(files[manifest], drawn) if drawn.random() < 0.5 else drawn.randbytes(60)}
        try:
            _check(spoilt)
        except Damage as damage:
            assert "\n" not in str(damage)


def _check(files: dict[str, bytes]) -> None:
    check_files(
        {name: len(data) for name, data in files.items()},
        lambda name, count: files[name][-count:] if count else files[name],
    )


WRITER = """
import os, sys
import plyvel
database = plyvel.DB(sys.argv[1], create_if_missing=True, write_buffer_size=1 << 16, max_file_size=1 << 18)
print("open", flush=True)
number = int.from_bytes(database.get(b"n") or b"", "big")
while True:
    number += 1
    with database.write_batch(transaction=True, sync=True) as batch:
        batch.put(b"n", number.to_bytes(8, "big"))
        batch.put(os.urandom(8), os.urandom(3000))
        if number % 3 == 0:
            batch.put(b"large", os.urandom(40000))
    print(number, flush=True)
"""


@pytest.mark.slow
def test_store_of_a_killed_process_is_never_called_damaged(tmp_path: Path) -> None:
    """Killed while tables are written and merged: everything that was answered for is there, and nothing is missed."""
    path, drawn = tmp_path / "busy", random.Random(7)
    last = 0
    for _ in range(12):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stdout.readline() == "open\n"
            for _ in range(drawn.randrange(20, 150)):
                last = int(process.stdout.readline())
            os.kill(process.pid, signal.SIGKILL)
        _check({file.name: file.read_bytes() for file in path.iterdir()})
    assert len(list(path.glob("*.ldb"))) > 1, "no tables were written"
    assert last > 300
