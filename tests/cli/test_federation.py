"""`fednode federation succeed` on homes: files are exchanged, slips are named, and the daemon has to be stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fednode.ledger.genesis import genesis_to_toml, make_genesis
from fednode.ledger.identity import parse_card
from tests.cli.conftest import Fednode

PASSPHRASE = "correct horse battery"


@pytest.fixture
def homes(tmp_path: Path, fednode: Fednode, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setenv("FEDNODE_PASSPHRASE", PASSPHRASE)
    found = [tmp_path / name for name in ("anna", "berta", "clara")]
    for number, home in enumerate(found):
        address = f"/ip4/192.0.2.1/tcp/{7700 + number}"
        made = fednode("--home", home, "init", "--name", home.name, "--listen", address, "--advertise", address)
        assert made.code == 0, made.err
    cards = [parse_card((home / "etc" / "identity-card.toml").read_text()) for home in found]
    text = genesis_to_toml(make_genesis("three", cards, (), 1_700_000_000_000))
    for home in found:
        (home / "etc" / "genesis.toml").write_text(text)
    return found


def test_three_go_on_from_the_beginning(homes: list[Path], fednode: Fednode, tmp_path: Path) -> None:
    """No block was ever made: the successor rests on the genesis."""
    files = [tmp_path / f"{home.name}-goes-on.toml" for home in homes[:2]]
    for home, file in zip(homes, files, strict=False):
        signed = fednode("--home", home, "federation", "succeed", "sign", "--yes", "-o", file, "--format", "json")
        assert (signed.code, json.loads(signed.out)["is_new"]) == (0, True), signed.err
        again = fednode("--home", home, "federation", "succeed", "sign", "-o", file, "--format", "json")
        assert (again.code, json.loads(again.out)["is_new"]) == (0, False), "asked nothing, signed nothing new"
    successor = tmp_path / "successor.toml"
    made = fednode("--home", homes[0], "federation", "succeed", "assemble", *files, "-o", successor, "--format", "json")
    assert made.code == 0, made.err
    shown = json.loads(made.out)
    assert (shown["n"], shown["old_height"]) == (2, 0)
    assert {entry["name"] for entry in shown["members"]} == {"anna", "berta"}
    assert "succeeds" in fednode("genesis", "show", successor).out
    assert "holds block" in fednode("federation", "succeed", "show", files[0]).out
    for home in homes[:2]:
        joined = fednode("--home", home, "federation", "succeed", "join", "--yes", successor, "--format", "json")
        assert (joined.code, json.loads(joined.out)["chain_id"]) == (0, shown["chain_id"]), joined.err
        assert (home / "etc" / "genesis.toml").read_text() == successor.read_text()
    out = fednode("--home", homes[2], "federation", "succeed", "join", "--yes", successor)
    assert (out.code, "has not signed this succession" in out.err) == (11, True)


def test_slips_are_named(homes: list[Path], fednode: Fednode, tmp_path: Path) -> None:
    file, output = tmp_path / "anna.toml", tmp_path / "successor.toml"
    assert fednode("--home", homes[0], "federation", "succeed", "sign", "--yes", "-o", file).code == 0
    twice = fednode("--home", homes[0], "federation", "succeed", "assemble", file, file, "-o", output)
    assert (twice.code, "given twice" in twice.err) == (5, True)
    genesis = homes[0] / "etc" / "genesis.toml"
    wrong = fednode("--home", homes[0], "federation", "succeed", "assemble", genesis, "-o", output)
    assert (wrong.code, "no consent" in wrong.err) == (5, True), wrong.err
    founding = fednode("--home", homes[0], "federation", "succeed", "join", "--yes", genesis)
    assert (founding.code, "chain of its own" in founding.err) == (5, True)
    edited = tmp_path / "edited.toml"
    text = file.read_text()
    edited.write_text(text.replace(text[-10:-4], "abcdef"))
    changed = fednode("--home", homes[0], "federation", "succeed", "assemble", edited, "-o", output)
    assert changed.code == 5 and "Traceback" not in changed.err
    assert not output.exists()
