"""Every contract about imports can fail: a copy of the package breaks each of them once, and lint-imports says so."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

BREACHES = {
    "Imports go down only and siblings do not know each other": ("ledger", "fednode.smpc.session"),
    "The chain knows no hospital, study or round": ("chain", "fednode.sums.bounds"),
    "The worker knows the studies and nothing of the network": ("worker", "fednode.chain.block"),
    "Machines see no socket, file, clock, random source or thread": ("audit", "socket"),
    "The worker alone reaches torch": ("core", "torch"),
    "libp2p is met in the package that carries its name": ("p2p", "libp2p"),
    "One file imports plyvel": ("home", "plyvel"),
    "One file imports PyNaCl": ("home", "nacl"),
    "One file imports msgpack": ("home", "msgpack"),
}
"""For each contract a package of ours and what a file in it must not import."""


def breach_of(contract: str) -> tuple[str, str]:
    """The module that breaks a contract, and what it imports."""
    package, forbidden = BREACHES[contract]
    return f"fednode.{package}.breach_{list(BREACHES).index(contract)}", forbidden


def lint(root: Path) -> str:
    """What lint-imports says of the package in a folder."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"]
    ran = subprocess.run(
        command, cwd=root, env={"PYTHONPATH": str(root), "COLUMNS": "300"}, capture_output=True, text=True, check=False
    )
    return ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What lint-imports says of a copy of the package in which every contract is broken by a file of its own."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "pyproject.toml", root)
    shutil.copytree(ROOT / "fednode", root / "fednode", ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.c"))
    for contract in BREACHES:
        module, forbidden = breach_of(contract)
        (root / f"{module.replace('.', '/')}.py").write_text(f"import {forbidden}\n")
    return lint(root)


def test_every_contract_has_its_breach() -> None:
    assert {contract["name"] for contract in CONTRACTS} == set(BREACHES)


@pytest.mark.parametrize("contract", BREACHES)
def test_a_contract_that_is_broken_is_reported(said: str, contract: str) -> None:
    assert f"{contract} BROKEN" in said
    module, forbidden = breach_of(contract)
    parts = re.split(r"\n([^\n]+)\n-{3,}\n", said.partition("Broken contracts")[2])
    reason = dict(zip(parts[1::2], parts[2::2], strict=True))[contract]
    assert re.search(rf"{re.escape(module)} -> {re.escape(forbidden)}\b", reason)


def test_a_package_without_a_layer_is_reported(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "fednode", tmp_path / "fednode", ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.c"))
    (tmp_path / "fednode" / "cellar.py").touch()
    assert "fednode.cellar" in lint(tmp_path)
