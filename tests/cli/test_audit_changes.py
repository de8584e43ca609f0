"""An auditor's commands on a chain whose members changed: one joined, one has new keys, one was removed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fednode.audit.export import ExportBlock
from tests.audit.chain import RoundWorld, assemble, play_changes, records_of, write
from tests.cli.conftest import Fednode
from tests.cli.test_audit import ask, make_home, running


@pytest.fixture(scope="module")
def changing() -> RoundWorld:
    return play_changes()


@pytest.fixture(scope="module")
def root(changing: RoundWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("changing") / "home", changing, changing.blocks)


@pytest.mark.slow
def test_verify_export_import_and_compare_follow_the_members(
    fednode: Fednode, changing: RoundWorld, root: Path, tmp_path: Path
) -> None:
    for level in range(5):
        report = ask(fednode, "--home", root, "chain", "verify", "--level", level)
        assert report["ok"] and report["height"] == len(changing.blocks)
    whole, late = tmp_path / "whole.fnx", tmp_path / "late.fnx"
    ask(fednode, "--home", root, "chain", "export", "-o", whole)
    assert whole.read_bytes() == write(changing)
    ask(fednode, "--home", root, "chain", "export", "--from", changing.changes["left"] + 2, "-o", late)
    for path in (whole, late):
        for level in range(5):
            assert ask(fednode, "--home", root, "chain", "import", "--verify-only", "--level", level, path)["ok"]
    assert ask(fednode, "chain", "compare", root, whole)["relation"] == "same"
    assert ask(fednode, "chain", "compare", root, late)["relation"] in ("same", "prefix")


def test_the_daemon_hands_over_the_same(fednode: Fednode, changing: RoundWorld, root: Path, tmp_path: Path) -> None:
    path = tmp_path / "daemon.fnx"
    with running(root, changing):
        for level in (2, 4):
            assert ask(fednode, "--home", root, "chain", "verify", "--level", level)["source"] == "daemon"
        ask(fednode, "--home", root, "chain", "export", "-o", path)
    assert path.read_bytes() == write(changing)


def test_members_at_every_height(fednode: Fednode, changing: RoundWorld, root: Path) -> None:
    def numbers(height: int) -> list[int]:
        return [row["id"] for row in ask(fednode, "--home", root, "chain", "members", "--at", height)["members"]]

    joined, left = changing.changes["joined"], changing.changes["left"]
    assert [numbers(at) for at in (joined, joined + 1, left, left + 1)] == [
        [1, 2, 3, 4], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [1, 2, 3, 5]
    ]


def test_changes_and_shares_at_a_glance(
    fednode: Fednode, changing: RoundWorld, root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "chain.fnx"
    path.write_bytes(write(changing))
    for source in (("--home", root, "chain"), ("chain",)):
        more = () if "--home" in source else ("--export", path)
        changes = ask(fednode, *source, "members", "--changes", *more)["changes"]
        assert [(row["from_height"], row["change"], row["id"]) for row in changes] == [
            (changing.changes["joined"] + 1, "joined", 5), (changing.changes["rotated"] + 1, "new sign key", 2),
            (changing.changes["left"] + 1, "left", 4),
        ]
        assert changes[0]["name"] == "fifth" and changes[1]["name"] != "?"
        total = len(changing.blocks)
        table = ask(fednode, *source, "participation", *more)["members"]
        assert {row["id"]: (row["of"], row["share"]) for row in table} == {
            1: (total, 1.0), 2: (total, 1.0), 3: (total, 1.0), 4: (changing.changes["left"], 1.0),
            5: (total - changing.changes["joined"], 1.0),
        }
        assert "?" not in [row["name"] for row in table]
    assert "never changed" not in fednode("--home", root, "chain", "members", "--changes").out
    assert fednode("--home", root, "chain", "members", "--changes", "--at", "3").code == 2


def test_blocks_transactions_and_versions_of_an_export(
    fednode: Fednode, changing: RoundWorld, root: Path, tmp_path: Path
) -> None:
    """What the store shows of a block, the export shows too: an auditor has no node."""
    path = tmp_path / "chain.fnx"
    path.write_bytes(write(changing))
    late = tmp_path / "late.fnx"
    late.write_bytes(write(changing, 40))
    home = ("--home", root, "chain")
    joined = changing.changes["joined"]
    for at in ("latest", str(joined), changing.blocks[joined].block.hash.hex(), f"{joined}..{joined + 2}"):
        assert ask(fednode, "chain", "show", at, "--export", path) == ask(fednode, *home, "show", at)
    assert ask(fednode, "chain", "show", "41", "--export", late) == ask(fednode, *home, "show", "41")
    assert f"blocks 40 to {len(changing.blocks)}" in fednode("chain", "show", "3", "--export", late).err
    assert fednode("chain", "show", "1..90", "--export", path).code == 2
    txid = changing.blocks[joined].receipts[0].txid.hex()
    assert ask(fednode, "chain", "tx", txid, "--export", path) == ask(fednode, *home, "tx", txid)
    assert fednode("chain", "tx", "00" * 32, "--export", path).code == 2
    shown = ask(fednode, "chain", "version", "show", "--export", path)
    assert (shown["in_force"], shown["planned"], shown["source"]) == (1, None, "export")


def test_a_stopped_node_lists_the_members_of_its_chain(fednode: Fednode, root: Path) -> None:
    listed = ask(fednode, "--home", root, "member", "list")
    assert [(entry["id"], entry["double_votes"]) for entry in listed] == [(1, 0), (2, 0), (3, 0), (5, 0)]
    shown = fednode("--home", root, "member", "list")
    assert "fifth" in shown.out and "/ip4/10.0.0.3/tcp/7700" in shown.out
    assert "from the stored chain up to block" in shown.err


def test_proofs_and_checkpoints_reach_over_the_changes(
    fednode: Fednode, changing: RoundWorld, root: Path, tmp_path: Path
) -> None:
    home, chain = ("--home", root), ("--chain-id", changing.chain_id.hex())
    old, new, between = (tmp_path / name for name in ("old.json", "new.json", "between.json"))
    ask(fednode, *home, "chain", "checkpoint", "--at", changing.changes["joined"] - 1, "-o", old)
    ask(fednode, *home, "chain", "checkpoint", "-o", new)
    ask(fednode, *home, "chain", "proof", "consistency", old, new, "-o", between)
    checked = ask(fednode, "chain", "verify-proof", between, "--checkpoint", old, "--checkpoint", new, *chain)
    assert checked["ok"]
    last = changing.blocks[-1]
    for name, arguments in (
        ("tx", (last.receipts[0].txid.hex(),)), ("state", ("members",)), ("header", (len(changing.blocks),)),
    ):
        path = tmp_path / f"{name}.json"
        ask(fednode, *home, "chain", "proof", name, *arguments, "-o", path)
        assert ask(fednode, "chain", "verify-proof", path, *chain)["ok"]


@pytest.mark.parametrize("what", ["joined", "rotated", "left"])
def test_an_export_that_hides_a_change_or_names_others_is_refused(
    fednode: Fednode, changing: RoundWorld, root: Path, tmp_path: Path, what: str
) -> None:
    path = tmp_path / "bad.fnx"
    records = records_of(write(changing))
    at = [place for place, record in enumerate(records) if isinstance(record, ExportBlock)][changing.changes[what] - 1]
    for claimed, levels in ((None, (1, 2, 3)), (changing.sets[0], (1, 2, 3, 4))):
        changed = list(records)
        changed[at] = replace(records[at], next_members=claimed)
        path.write_bytes(assemble(changed))
        for level in levels:
            arguments = ("chain", "import", "--verify-only", "--level", level, path, "--format", "json")
            result = fednode("--home", root, *arguments)
            assert result.code == 12, level
            assert f"block {changing.changes[what]} does not hold" in json.loads(result.out)["problem"]
