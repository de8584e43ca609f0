"""A chain made once must lead to the same states for ever, whatever order a process hashes strings in."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fednode.audit.verify import Level, verify_chain
from fednode.ledger.genesis import parse_genesis
from tests.ledger.golden.replay import FOLDER, read_entries

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_state_roots_are_those_of_the_file(hash_seed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.ledger.golden.replay", str(FOLDER)], cwd=ROOT, capture_output=True, text=True,
        timeout=60, env={**os.environ, "PYTHONHASHSEED": hash_seed}, check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (FOLDER / "roots.txt").read_text()


@pytest.mark.slow
def test_the_way_a_federation_decides_depends_on_the_plan_alone(tmp_path: Path) -> None:
    """Not the states alone: what members sign, propose and decide is the same under another hash seed."""
    made = []
    for hash_seed in ("1", "4711"):
        folder = tmp_path / hash_seed
        folder.mkdir()
        call = f"make(Path({str(folder)!r}))"
        code = f"from pathlib import Path; from tests.ledger.golden.make import make; {call}"
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=True, env=environment)
        made.append((folder / "chain.bin").read_bytes())
    assert made[0] == made[1]


def test_a_changed_byte_is_found() -> None:
    genesis = parse_genesis((FOLDER / "genesis.toml").read_text())
    entries = list(read_entries(FOLDER / "chain.bin"))
    assert verify_chain(entries, genesis, Level.EXECUTION).is_whole
    middle = len(entries) // 2
    block = bytearray(entries[middle].block)
    block[-1] ^= 1
    entries[middle] = replace(entries[middle], block=bytes(block))
    report = verify_chain(entries, genesis, Level.EXECUTION)
    assert not report.is_whole
    assert report.height == middle
