"""The auditor's commands, each on all three sources: a stopped store, a daemon's answers over its socket, an export."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from fednode.chain.block import Block, compute_evidence_root
from fednode.chain.leveldb import LevelDbStore, open_store
from fednode.chain.store import DecidedBlock
from fednode.chain.vote import NO_VIEW, PRECOMMIT, Vote, make_certificate, make_evidence, sign_bytes
from fednode.cli import chain_files, chain_look, chain_proof
from fednode.cli.chain import chain as chain_group
from fednode.cli.site import Command
from fednode.crypto import Domain
from fednode.desk import chain_query
from fednode.desk.audit_calls import AuditCalls
from fednode.desk.calls import EVERYBODY, Arguments, Handlers, once
from fednode.desk.control import serve_control
from fednode.desk.read_models import ChainView, MemberView
from fednode.home.files import Home, HomeLock
from fednode.ledger.bodies import Memo
from fednode.ledger.genesis import genesis_to_toml
from tests.audit.chain import RoundWorld, assemble, play, records_of, replace_block, with_new_member, write
from tests.cli.conftest import Fednode, filled


@pytest.fixture(scope="module")
def world() -> RoundWorld:
    return play(2)


def make_home(root: Path, world: RoundWorld, blocks: list[DecidedBlock]) -> Path:
    """Make the home of a stopped daemon whose store holds these blocks."""
    home = Home(root)
    home.create()
    network = '[network]\nlisten = ["/ip4/127.0.0.1/tcp/1"]\n'
    home.config.write_text(f'format = 1\n[node]\nname = "anna"\nhome = ".."\n{network}')
    home.genesis.write_text(genesis_to_toml(world.genesis))
    store = open_store(home.chain, world.genesis)
    for decided in blocks:
        store.append(decided)
    store.close()
    return root


@pytest.fixture(scope="module")
def stopped(world: RoundWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("stopped") / "home", world, world.blocks)


class Daemon:
    """Answers over the real socket with the real handlers, on a real store; consensus is the test's."""

    def __init__(self, home: Home, world: RoundWorld, store: LevelDbStore) -> None:
        self.home, self.world, self.store = home, world, store
        identity = SimpleNamespace(member=2, signer=world.signers[2])
        self.chain = SimpleNamespace(state=world.state, height=store.tip.height)
        core = SimpleNamespace(chain=self.chain, identity=identity)
        reactor = SimpleNamespace(core=core, parts=SimpleNamespace(store=store), wait_block=self._wait)
        self.node: Any = SimpleNamespace(reactor=reactor, genesis=world.genesis, state=world.state)
        self._stored = trio.Event()
        self.ready = threading.Event()

    async def _wait(self) -> None:
        await self._stored.wait()

    async def _status(self, args: Arguments) -> Any:
        end = chain_query.describe_chain(self.store.tip, self.world.state, self.world.genesis, "daemon")
        return filled(ChainView, vars(end))

    async def _blocks(self, args: Arguments) -> Any:
        return chain_query.chain_blocks(self.store, args.number("first", 1))

    async def _members(self, args: Arguments) -> Any:
        members = enumerate(self.world.genesis.members, 1)
        return [filled(MemberView, {"id": number, "name": card.name}) for number, card in members]

    async def main(self) -> None:
        audit = AuditCalls(self.node)
        calls = {"chain_status": self._status, "chain_blocks": self._blocks, "member_list": self._members}
        handlers = Handlers({name: once(call, EVERYBODY) for name, call in calls.items()} | audit.offers())
        with trio.CancelScope() as self.scope:
            self.token = trio.lowlevel.current_trio_token()
            async with trio.open_nursery() as nursery:
                await nursery.start(partial(serve_control, self.home, handlers))
                self.ready.set()

    def append(self, decided: DecidedBlock) -> None:
        """Decide a block while the daemon runs."""

        def store() -> None:
            self.store.append(decided)
            self.chain.height, self.chain.state = self.store.tip.height, self.world.maker.state
            stored, self._stored = self._stored, trio.Event()
            stored.set()

        self.token.run_sync_soon(store)


@contextmanager
def running(root: Path, world: RoundWorld) -> Iterator[Daemon]:
    """Serve the home as its daemon would."""
    home = Home(root)
    lock = HomeLock.acquire(home)
    store = open_store(home.chain, world.genesis)
    daemon = Daemon(home, world, store)
    thread = threading.Thread(target=trio.run, args=(daemon.main,))
    thread.start()
    try:
        assert daemon.ready.wait(10)
        yield daemon
    finally:
        daemon.token.run_sync_soon(daemon.scope.cancel)
        thread.join(10)
        store.close()
        lock.release()


@pytest.fixture(params=["store", "daemon", "export"])
def source(
    request: pytest.FixtureRequest, world: RoundWorld, stopped: Path, tmp_path: Path
) -> Iterator[tuple[str, list[object], list[object]]]:
    """Return the name of a source, the options that choose the home, and those that choose the export if it is one."""
    if request.param == "export":
        path = tmp_path / "chain.fnx"
        path.write_bytes(write(world))
        yield "export", ["--home", tmp_path / "nobody"], ["--export", path]
    elif request.param == "store":
        yield "store", ["--home", stopped], []
    else:
        root = Path(shutil.copytree(stopped, tmp_path / "home"))
        with running(root, world):
            yield "daemon", ["--home", root], []


def ask(fednode: Fednode, *arguments: object) -> Any:
    result = fednode(*arguments, "--format", "json")
    assert result.code == 0, result.err
    return json.loads(result.out)


# --- help ------------------------------------------------------------------------------------------------------

def test_every_command_has_an_example_and_json() -> None:
    found = [*chain_look.COMMANDS, *chain_files.COMMANDS, chain_proof.verify_proof_command, chain_proof.checkpoint]
    found += chain_proof.proof.commands.values()
    assert set(chain_group.commands) >= {
        "find", "votes", "participation", "evidence", "members", "wait", "export", "import", "compare", "proof",
        "verify-proof", "checkpoint",
    }
    for command in found:
        assert isinstance(command, Command) and command.example.startswith("fednode chain "), command.name
        assert any(parameter.name == "as_json" for parameter in command.params), command.name


# --- looking ---------------------------------------------------------------------------------------------------

def test_find(fednode: Fednode, world: RoundWorld, source) -> None:
    name, home, export = source
    shown = ask(fednode, *home, "chain", "find", "--kind", "result", *export)
    assert (shown["source"], shown["first"], shown["last"]) == (name, 1, len(world.blocks))
    expected = [
        (d.block.height, r.txid.hex()) for d in world.blocks for r in d.receipts
    ]
    results = [(row["height"], row["id"]) for row in shown["transactions"]]
    assert results and set(results) <= set(expected) and all(row["kind"] == "result" for row in shown["transactions"])
    by_two = ask(fednode, *home, "chain", "find", "--sender", "2", "--study", world.study.hex()[:8], *export)
    assert {row["sender"] for row in by_two["transactions"]} == {2}
    named = ask(fednode, *home, "chain", "find", "--sender", world.genesis.members[1].name, *export)
    assert named["transactions"] == ask(fednode, *home, "chain", "find", "--sender", "2", *export)["transactions"]
    few = ask(fednode, *home, "chain", "find", "--from", "3", "--to", "9", "--limit", "2", *export)
    assert [row["height"] for row in few["transactions"]] == [3, 4]
    assert ask(fednode, *home, "chain", "find", "--since", "2020-01-01", *export)["transactions"] == []
    early = ask(fednode, *home, "chain", "find", "--until", "1970-01-01T00:00:01.100Z", *export)["transactions"]
    assert {row["height"] for row in early} == set(range(1, 10))
    assert ask(fednode, *home, "chain", "find", "--refused", *export)["transactions"] == []


def test_votes_participation_members_evidence(fednode: Fednode, world: RoundWorld, source) -> None:
    name, home, export = source
    shown = ask(fednode, *home, "chain", "votes", "5", *export)
    assert (shown["source"], shown["hash"]) == (name, world.blocks[4].block.hash.hex())
    assert (shown["signers"], shown["missing"]) == ([1, 2, 3, 4], [])
    assert [row["proposed"] for row in shown["members"]].count(True) == 1
    assert ask(fednode, *home, "chain", "votes", *export)["height"] == len(world.blocks)
    table = ask(fednode, *home, "chain", "participation", "--last", "8", *export)
    assert table["blocks"] == 8 and sum(row["proposed"] for row in table["members"]) == 8
    assert {row["signed"] for row in table["members"]} == {8} and table["views"] == {"0": 8}
    members = ask(fednode, *home, "chain", "members", "--at", "3", *export)
    assert members["members_hash"] == world.genesis.member_set.hash.hex()
    assert [row["name"] for row in members["members"]] == [card.name for card in world.genesis.members]
    assert ask(fednode, *home, "chain", "evidence", *export)["evidence"] == []
    for arguments in (("votes", "999"), ("members", "--at", "999"), ("find", "--from", "999")):
        assert fednode(*home, "chain", *arguments, *export).code == 2
    for arguments in (("votes",), ("participation",), ("members",), ("evidence",), ("find", "--limit", "3")):
        result = fednode(*home, "chain", *arguments, *export)
        assert result.code == 0 and name in result.out


def test_a_member_that_missed_a_block_is_shown(fednode: Fednode, tmp_path: Path) -> None:
    world = play(0)
    decided = world.blocks[-1]
    message = sign_bytes(world.chain_id, PRECOMMIT, decided.block.height, 2, NO_VIEW, decided.block.hash)
    signatures = {m: world.signers[m].sign(Domain.PRECOMMIT, message) for m in (1, 2, 4)}
    place = (PRECOMMIT, decided.block.height, 2, NO_VIEW, decided.block.hash)
    votes = [Vote(*place, member, signature) for member, signature in signatures.items()]
    late = DecidedBlock(
        decided.block, make_certificate(world.genesis.member_set, votes), decided.tip, decided.receipts, decided.changes
    )
    home = make_home(tmp_path / "home", world, [late])
    shown = ask(fednode, "--home", home, "chain", "votes", "1")
    assert (shown["signers"], shown["missing"], shown["view"]) == ([1, 2, 4], [3], 2)
    assert "passed over" in fednode("--home", home, "chain", "votes").out


def test_a_double_vote_and_a_new_member_are_shown(fednode: Fednode, world: RoundWorld, tmp_path: Path) -> None:
    last = world.blocks[-1].block
    place = (PRECOMMIT, last.height, 0, NO_VIEW)
    values = (bytes(32), bytes(31) + b"\x01")
    messages = [sign_bytes(world.chain_id, *place, value) for value in values]
    signatures = [world.signers[3].sign(Domain.PRECOMMIT, message) for message in messages]
    one, other = (Vote(*place, value, 3, signature) for value, signature in zip(values, signatures, strict=True))
    piece = make_evidence(one, other)
    header = replace(last.header, evidence_root=compute_evidence_root((piece,)))
    block = Block(header, last.transactions, (piece,), last.parent_certificate)
    path = tmp_path / "double.fnx"
    path.write_bytes(assemble(replace_block(world, records_of(write(world)), last.height, block)))
    (found,) = ask(fednode, "chain", "evidence", "--export", path)["evidence"]
    assert (found["member"], found["height"], found["kind"]) == (3, last.height, "precommit")
    assert (found["first"]["value"], found["second"]["value"]) == (None, values[1].hex())
    assert "nil" in fednode("chain", "evidence", "--export", path).out
    path.write_bytes(assemble(with_new_member(world)))
    before = ask(fednode, "chain", "members", "--at", last.height, "--export", path)
    after = ask(fednode, "chain", "members", "--export", path)
    assert (before["count"], after["count"], after["members"][-1]["name"]) == (4, 5, "fifth")
    table = ask(fednode, "chain", "participation", "--last", "3", "--export", path)
    assert {row["id"]: row["signed"] for row in table["members"]} == {1: 2, 2: 3, 3: 3, 4: 3, 5: 1}


def test_an_empty_chain(fednode: Fednode, tmp_path: Path) -> None:
    world = RoundWorld()
    home = make_home(tmp_path / "home", world, [])
    for arguments in (
        ("find",), ("votes",), ("participation",), ("export", "-o", tmp_path / "x"), ("checkpoint",),
        ("proof", "header", "1"), ("proof", "state", "members"),
    ):
        result = fednode("--home", home, "chain", *arguments)
        assert result.code == 2 and "no block yet" in result.err, arguments
    assert not (tmp_path / "x").exists()
    assert ask(fednode, "--home", home, "chain", "evidence")["evidence"] == []


# --- waiting ---------------------------------------------------------------------------------------------------

@pytest.mark.slow
def test_waiting_for_what_is_there(fednode: Fednode, world: RoundWorld, source) -> None:
    name, home, export = source
    if export:
        return
    txid = world.blocks[3].receipts[0].txid.hex()
    shown = ask(fednode, *home, "chain", "wait", "--height", "5")
    assert (shown["source"], shown["height"]) == (name, len(world.blocks))
    assert ask(fednode, *home, "chain", "wait", "--tx", txid)["height"] == 4
    done = ask(fednode, *home, "chain", "wait", "--study", world.study.hex()[:12], "--round", "2")
    assert done["report"]["model_hash"] == world.report(2).model_hash.hex()
    for arguments in ((), ("--height", "1", "--tx", txid), ("--study", "x"), ("--tx", "12")):
        assert fednode(*home, "chain", "wait", *arguments).code == 2
    late = fednode(*home, "chain", "wait", "--height", "9999", "--timeout", "1")
    assert late.code == 8 and ("did not happen within 1 s" if name == "daemon" else "does not have it") in late.err


def test_waiting_for_the_next_block(fednode: Fednode, tmp_path: Path) -> None:
    world = play(0)
    root = make_home(tmp_path / "home", world, world.blocks)
    with running(root, world) as daemon:
        decided = world.maker.decide(world.sign(1, Memo("at last")))
        later = threading.Timer(0.3, daemon.append, [decided])
        later.start()
        shown = ask(fednode, "--home", root, "chain", "wait", "--tx", decided.receipts[0].txid.hex(), "--timeout", "20")
        assert (shown["height"], shown["source"]) == (2, "daemon")
        later.join()


# --- exports ---------------------------------------------------------------------------------------------------

def test_export_import_compare(fednode: Fednode, world: RoundWorld, source, tmp_path: Path) -> None:
    name, home, export = source
    if export:
        return
    path, part = tmp_path / "all.fnx", tmp_path / "part.fnx"
    shown = ask(fednode, *home, "chain", "export", "-o", path)
    assert (shown["source"], shown["last"], shown["bytes"]) == (name, len(world.blocks), path.stat().st_size)
    assert path.read_bytes() == write(world)
    ask(fednode, *home, "chain", "export", "--from", "10", "--to", "20", "-o", part)
    for file, levels in ((path, 5), (part, 4)):
        report = ask(fednode, *home, "chain", "import", "--verify-only", file)
        assert report["ok"] and report["state"] and report["is_chain_id_checked"]
        assert len(report["levels"]) == levels and all(report["levels"].values())
        assert ask(fednode, *home, "chain", "verify", "--export", file)["height"] == report["height"]
    assert ask(fednode, "chain", "compare", home[1], path)["relation"] == "same"
    prefix = ask(fednode, "chain", "compare", part, path)
    assert (prefix["relation"], prefix["compared"]) == ("prefix", [10, 20])
    assert prefix["a"]["source"] == "export"
    assert fednode(*home, "chain", "import", path).code == 2
    assert fednode(*home, "chain", "export", "--from", "9", "--to", "3", "-o", tmp_path / "no").code == 2
    assert sorted(tmp_path.glob(".*")) == []


def test_forks_and_other_chains_are_told(fednode: Fednode, world: RoundWorld, tmp_path: Path) -> None:
    other = RoundWorld()
    other.block((1, other.ready(1)), (2, other.ready(2)))
    other.block((3, other.ready(3)))
    third = RoundWorld(size=5)
    third.block((1, third.ready(1)))
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path, made in zip(paths, (world, other, third), strict=True):
        path.write_bytes(write(made))
    result = fednode("chain", "compare", paths[0], paths[1], "--format", "json")
    shown = json.loads(result.out)
    assert (result.code, shown["relation"], shown["height"], shown["signed_both"]) == (12, "fork", 1, [1, 2, 3, 4])
    assert "block 1 is another one in each" in result.err
    result = fednode("chain", "compare", paths[0], paths[2], "--format", "json")
    assert (result.code, json.loads(result.out)["relation"]) == (12, "other chain")
    assert fednode("chain", "compare", paths[0], tmp_path / "none").code == 2


def test_a_damaged_or_foreign_export_is_refused(fednode: Fednode, world: RoundWorld, tmp_path: Path) -> None:
    data = write(world)
    bad = tmp_path / "bad.fnx"
    bad.write_bytes(data[:-200] + bytes([data[-200] ^ 1]) + data[-199:])
    result = fednode("chain", "import", "--verify-only", bad)
    assert result.code == 12 and "bad.fnx" in result.err
    bad.write_bytes(b"PK something else")
    for arguments in (("import", "--verify-only", bad), ("votes", "--export", bad), ("compare", bad, bad)):
        result = fednode("chain", *arguments)
        assert result.code == 12 and "no fednode export" in result.err, arguments
    good = tmp_path / "good.fnx"
    good.write_bytes(data)
    assert fednode("chain", "import", "--verify-only", "--chain-id", "00" * 32, good).code == 12
    assert fednode("chain", "import", "--verify-only", "--chain-id", "zz", good).code == 2
    nobody = ask(fednode, "chain", "import", "--verify-only", good)
    assert nobody["ok"] and not nobody["is_chain_id_checked"]


# --- proofs ----------------------------------------------------------------------------------------------------

def test_proofs_are_made_here_and_checked_elsewhere(
    fednode: Fednode, world: RoundWorld, source, tmp_path: Path
) -> None:
    name, home, export = source
    if export:
        return
    chain_id, txid, study = world.chain_id.hex(), world.blocks[6].receipts[0].txid.hex(), world.study.hex()
    for kind, arguments in (
        ("tx", ("tx", txid)), ("header", ("header", "9")), ("state", ("state", "report", study[:16], "2")),
        ("state", ("state", "report", study, "77")), ("state", ("state", "members")),
        ("state", ("state", "nonce", "3")), ("state", ("state", "hex", "00ff")),
        ("state", ("state", "spec", study[:8])),
    ):
        path = tmp_path / "proof.json"
        made = ask(fednode, *home, "chain", "proof", *arguments, "-o", path)
        assert made["source"] == name and made["kind"] == kind
        shown = ask(fednode, "chain", "verify-proof", path, "--chain-id", chain_id)
        assert shown["ok"] and shown["kind"] == kind and shown["anchors"] == ["genesis"]
        assert {**made, "ok": True} == {**shown, "bytes": path.stat().st_size, "source": name}
        if "77" in arguments or "hex" in arguments:
            assert not shown["is_there"] and shown["record"] is None
        assert fednode("chain", "verify-proof", path, "--chain-id", "00" * 32).code == 12
        assert fednode("chain", "verify-proof", path).code == 2
    printed = json.loads(fednode(*home, "chain", "proof", "tx", txid).out)
    assert printed["format"] == "fednode-proof-1" and "transaction" in printed
    for arguments in (("tx", "00" * 32), ("tx", "1"), ("header", "999"), ("state", "nonsense")):
        assert fednode(*home, "chain", "proof", *arguments).code == 2, arguments


def test_checkpoints(fednode: Fednode, world: RoundWorld, source, tmp_path: Path) -> None:
    name, home, export = source
    if export:
        return
    old, new, grown, header = (tmp_path / f"{word}.json" for word in ("old", "new", "grown", "header"))
    assert ask(fednode, *home, "chain", "checkpoint", "--at", "10", "-o", old)["height"] == 10
    latest = ask(fednode, *home, "chain", "checkpoint", "-o", new)
    assert (latest["height"], latest["source"]) == (len(world.blocks), name)
    ask(fednode, *home, "chain", "proof", "consistency", old, new, "-o", grown)
    for end in (old, new):
        assert ask(fednode, "chain", "verify-proof", grown, "--checkpoint", end)["new_size"] == len(world.blocks)
    assert fednode("chain", "verify-proof", grown).code == 2
    assert fednode(*home, "chain", "proof", "consistency", new, old).code == 2
    for height in ("5", "10", "30"):  # in its log, itself, and led to by certificates
        ask(fednode, *home, "chain", "proof", "header", height, "--checkpoint", old, "-o", header)
        shown = ask(fednode, "chain", "verify-proof", header, "--checkpoint", old)
        assert shown["height"] == int(height) and "checkpoint" in shown["anchors"]
        assert fednode("chain", "verify-proof", header, "--checkpoint", new).code == 12
    expired = fednode("chain", "verify-proof", header, "--checkpoint", old, "--trusting-days", "1")
    assert expired.code == 12 and "trusting period" in expired.err
    genesis = tmp_path / "genesis.toml"
    genesis.write_text(genesis_to_toml(world.genesis))
    for arguments in (  # an option that would be passed over in silence is refused
        (new, "--checkpoint", old), (new, "--trusting-days", "9"), (grown, "--checkpoint", old, "--trusting-days", "9"),
        (header, "--genesis", genesis, "--chain-id", "00" * 32),
    ):
        assert fednode("chain", "verify-proof", *arguments).code == 2, arguments
    founders = ask(fednode, "chain", "verify-proof", old, "--genesis", genesis)
    assert not founders["are_keys_known"], "who of the founders is left at block 10 a genesis does not tell"
    forged = json.loads(old.read_text())
    forged["log_root"] = "00" * 32
    old.write_text(json.dumps(forged))
    result = fednode(*home, "chain", "checkpoint", "--add", old)
    assert result.code == 12 and "two histories" in result.err
    assert fednode(*home, "chain", "proof", "consistency", old).code == 12
    old.write_text("{")
    assert fednode("chain", "verify-proof", header, "--checkpoint", old).code == 12
    signed = fednode(*home, "chain", "checkpoint", "--sign", "--format", "json")
    if name == "store":
        assert signed.code == 8 and "signed by the daemon" in signed.err
    else:
        found = json.loads(signed.out)
        assert [entry["member"] for entry in found["signatures"]] == [2]
        new.write_text(signed.out)
        shown = ask(fednode, *home, "chain", "verify-proof", new)
        assert (shown["signers"], shown["are_keys_known"]) == ([2], True)
        found["signatures"][0]["signature"] = "00" * 64
        new.write_text(json.dumps(found))
        assert fednode(*home, "chain", "verify-proof", new).code == 12
