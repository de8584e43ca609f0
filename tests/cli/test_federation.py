"""`fednode federation succeed` on homes: files are exchanged, slips are named, and the daemon has to be stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fednode.crypto import Secret
from fednode.daemon.start_checks import open_chain
from fednode.errors import Refused
from fednode.home import succession
from fednode.home.files import Home
from fednode.home.keystore import unlock_keystore
from fednode.ledger.genesis import genesis_to_toml, make_genesis, make_successor, parse_genesis
from fednode.ledger.members.identity import parse_card
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


@pytest.fixture
def successor(homes: list[Path], fednode: Fednode, tmp_path: Path) -> Path:
    """Anna and Berta have signed; nobody has joined."""
    files, path = [tmp_path / "anna-signed.toml", tmp_path / "berta-signed.toml"], tmp_path / "successor.toml"
    for home, file in zip(homes, files, strict=False):
        assert fednode("--home", home, "federation", "succeed", "sign", "--yes", "-o", file).code == 0
    assert fednode("--home", homes[0], "federation", "succeed", "assemble", *files, "-o", path).code == 0
    return path


def test_joining_that_was_cut_goes_on_and_begins_no_old_chain_anew(
    homes: list[Path], fednode: Fednode, successor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks are aside and the old genesis is still in place: nothing may take this for an empty old chain."""
    home, real = Home(homes[0]), succession.write_atomic

    def write(path: Path, *more: object) -> None:
        if path.name == "genesis.toml":
            raise Refused("the power fails")
        real(path, *more)

    join = ("--home", home.root, "federation", "succeed", "join", "--yes", successor)
    with monkeypatch.context() as cut:
        cut.setattr(succession, "write_atomic", write)
        assert "the power fails" in fednode(*join).err
    assert not home.chain.exists()
    old = parse_genesis((homes[0] / "etc" / "genesis.toml").read_bytes())
    keys = unlock_keystore(home.keystore, Secret(PASSPHRASE.encode()))
    with pytest.raises(Refused, match="has joined the successor of this chain"):
        open_chain(home, keys.public, old, False)
    signed = fednode("--home", home.root, "federation", "succeed", "sign", "-o", homes[0] / "again.toml")
    assert (signed.code, "has joined the successor" in signed.err) == (11, True)
    done = fednode(*join)
    assert done.code == 0, done.err
    assert not home.chain.exists(), "the new chain begins in an empty folder"
    assert (homes[0] / "etc" / "genesis.toml").read_text() == successor.read_text()


def test_a_home_that_holds_the_end_checks_even_where_it_is_told_not_to(
    homes: list[Path], fednode: Fednode, successor: Path
) -> None:
    whole = parse_genesis(successor.read_bytes())
    forged = make_successor(whole.name, replace(whole.origin, carried=whole.origin.carried[1:]), whole.time_ms)
    successor.write_text(genesis_to_toml(forged))
    join = ("--home", homes[0], "federation", "succeed", "join", "--yes", successor, "--unchecked")
    refused = fednode(*join)
    assert (refused.code, "something else than the old chain holds" in refused.err) == (5, True), refused.err
    assert not Home(homes[0]).keystore.parent.joinpath(f"successor-of-{whole.origin.chain_id.hex()[:16]}").exists()


def test_a_successor_of_the_future_is_not_joined(homes: list[Path], fednode: Fednode, successor: Path) -> None:
    """Whoever assembles it writes its time, and a home joins one for good: its chain would stand still."""
    made = parse_genesis(successor.read_bytes())
    assert made.origin is not None
    successor.write_text(genesis_to_toml(make_successor(made.name, made.origin, made.time_ms + 3_600_000)))
    join = ("--home", homes[0], "federation", "succeed", "join", "--yes", successor)
    for more in ((), ("--unchecked",)):
        refused = fednode(*join, *more)
        assert (refused.code, "one of the two clocks is wrong" in refused.err) == (5, True), refused.err
    successor.write_text(genesis_to_toml(made))
    assert fednode(*join).code == 0, "nothing was decided"


def test_a_successor_of_another_chain_than_the_one_in_place_is_not_joined(
    homes: list[Path], fednode: Fednode, successor: Path
) -> None:
    genesis = homes[0] / "etc" / "genesis.toml"
    old = parse_genesis(genesis.read_bytes())
    genesis.write_text(genesis_to_toml(make_genesis("other", old.members, (), 1_700_000_000_001)))
    for more in ((), ("--unchecked",)):
        refused = fednode("--home", homes[0], "federation", "succeed", "join", "--yes", successor, *more)
        assert (refused.code, "holds another chain" in refused.err) == (6, True), refused.err
    assert "other" in genesis.read_text()
