"""Damaged and lost files of real daemons: named, kept, fetched again; and no key ever votes twice."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fednode.home.files import Home
from tests.e2e.federation import Federation, Hospital, make_federation, running, study_of, study_toml
from tests.e2e.test_bad_input import start_fails

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """Four hospitals in a study that does not end; tests stop, spoil and restart the third."""
    federation = make_federation(tmp_path_factory.mktemp("storage"), study_toml(rounds=10_000, start_after_s=2))
    federation.start()
    yield federation
    federation.kill()


@pytest.fixture
def victim(training: Federation) -> Hospital:
    training.start()
    training[1].wait(lambda s: study_of(s)["rounds_done"] >= 2, 90, "two rounds")
    return training[3]


def trains_again(federation: Federation) -> None:
    """The victim has the others' chain, votes, and is counted in a new round; nobody has voted twice."""
    begin = study_of(federation[1].status())["next_round"]
    federation[1].wait_counted([3], begin, 90)
    assert federation[3].status()["chain"]["is_signing"] is True
    federation.await_equal_chains()
    assert all(entry["double_votes"] == 0 for entry in federation[1].call("member_list"))


def aside(home: Home) -> list[Path]:
    return sorted(path for path in home.var.iterdir() if path.name.startswith("chain-damaged-"))


@pytest.mark.parametrize("pattern", ["*.ldb", "MANIFEST-*", "CURRENT"])
def test_damaged_store_is_named_kept_and_fetched_again(
    training: Federation, victim: Hospital, pattern: str
) -> None:
    assert victim.stop() == 0
    before = aside(victim.home)
    if not list(victim.home.chain.glob("*.ldb")):  # the log becomes a table when the store is opened again
        victim.start()
        assert victim.stop() == 0
    file = max(victim.home.chain.glob(pattern), key=lambda path: path.stat().st_size)
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4] = bytes(byte ^ 0xFF for byte in data[middle : middle + 4])
    file.write_bytes(data)
    start_fails(victim, 6, str(victim.home.chain), "damaged", "start --resync")
    assert aside(victim.home) == before and file.read_bytes() == bytes(data), "nothing is moved without being asked"
    signed = {path.name: path.read_bytes() for path in victim.home.sign_state.iterdir()}
    victim.start("--resync")
    [kept] = set(aside(victim.home)) - set(before)
    assert (kept / file.name).read_bytes() == bytes(data), "the damaged store is kept as it was"
    assert set(signed) == {path.name for path in victim.home.sign_state.iterdir()}
    problems = victim.status()["problems"]
    assert any("damaged" in text and str(kept) in text for text in problems), problems
    trains_again(training)
    found = victim.cli("chain", "verify", "--level", "4")
    assert found.returncode == 0, found.stderr


def test_resync_leaves_a_whole_store_alone(training: Federation, victim: Hospital) -> None:
    assert victim.stop() == 0
    before = aside(victim.home)
    victim.start("--resync")
    assert aside(victim.home) == before and victim.status()["chain"]["height"] > 2
    trains_again(training)


def test_damaged_model_and_journal_are_named_and_kept(training: Federation, victim: Hospital) -> None:
    assert victim.stop() == 0
    models = list(victim.home.blobs.glob("*.safetensors"))
    for model in models:
        data = bytearray(model.read_bytes())
        data[-9] ^= 1
        model.write_bytes(data)
    journal = bytearray(victim.home.journal.read_bytes())
    journal[-200] ^= 1
    victim.home.journal.write_bytes(journal)
    victim.start()
    status = victim.poll(lambda s: any("model" in text for text in s["problems"]), 60, "the damaged model")
    problems = status["problems"]
    assert any("journal" in text and "damaged" in text for text in problems), problems
    kept = list(victim.home.journal.parent.glob("journal.jsonl-damaged-*"))
    assert [path.read_bytes() for path in kept] == [bytes(journal)]
    assert list(victim.home.blobs.glob("*-damaged-*"))
    trains_again(training)
    for path in victim.home.blobs.glob("*-damaged-*"):
        path.unlink()


def test_damaged_round_record_means_one_round_without(training: Federation, victim: Hospital) -> None:
    victim.wait(lambda s: study_of(s)["round"] is not None and bool(victim.round_records()), 60, "a record")
    victim.kill()
    for path in victim.home.rounds.iterdir():
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
    victim.start()
    trains_again(training)


EFFECTS = (
    "Persist[SignRecord]", "StoreBlock", "Persist[KeptPart]", "ForgetRound", "StoreModel", "SendToAll", "SendBlob",
)

DEATH = """
import os, signal, sys
import fednode.node.reactor as reactor
from fednode.core.effects import name_of
kind, side, count = sys.argv.pop(1).split(":")
left, perform = [int(count)], reactor.Reactor._perform
def dying(self, effect):
    counts = name_of(effect) == kind
    left[0] -= counts
    dies = counts and left[0] < 0
    if dies and side == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    perform(self, effect)
    if dies:
        os.kill(os.getpid(), signal.SIGKILL)
reactor.Reactor._perform = dying
from fednode.cli.main import main
main(sys.argv[1:])
"""


def test_killed_before_and_after_every_kind_of_effect(training: Federation, victim: Hospital) -> None:
    """The simulator crashes at every effect; here the process itself dies, with real files, at one of each kind."""
    drawn, whole = random.Random(3), victim.program
    assert victim.stop() == 0
    try:
        for kind in EFFECTS:
            for side in ("before", "after"):
                victim.program = ("-c", DEATH, f"{kind}:{side}:{drawn.randrange(3)}")
                ready = victim.launch()
                assert victim.wait_end(90) == -signal.SIGKILL, victim.last_words()
                os.close(ready)
    finally:
        victim.program = whole
    victim.start()
    trains_again(training)
    assert victim.cli("chain", "verify", "--level", "4").returncode == 0


def test_both_damaged_means_nothing_is_moved_and_nothing_signed(
    training: Federation, victim: Hospital, tmp_path: Path
) -> None:
    """Store and sign-state: the store is not replaced by itself, and what is fetched by hand is followed in silence."""
    assert victim.stop() == 0
    saved = tmp_path / "saved"
    shutil.copytree(victim.home.sign_state, saved)
    (victim.home.chain / "CURRENT").unlink()
    slot = victim.home.sign_state / "slot-a"
    slot.write_bytes(bytes(100) + slot.read_bytes()[100:])
    ready = victim.launch("--resync")
    try:
        assert victim.wait_end() == 6
        assert os.read(ready, 16) == b""
    finally:
        os.close(ready)
    assert "nothing was moved" in victim.last_words() and (victim.home.chain / "LOCK").exists()
    shutil.move(victim.home.chain, tmp_path / "away")
    victim.start()
    victim.wait_height(training[1].status()["chain"]["height"], 90)
    chain = victim.status()["chain"]
    assert chain["is_signing"] is False and "sign-state" in chain["not_signing_reason"], chain
    assert "NOT SIGNING" in victim.cli("status").stdout
    done = victim.cli("keys", "rotate", "--sign", "--yes")
    assert done.returncode == 0, done.stderr
    victim.wait_end()
    victim.start()
    begin = study_of(training[1].status())["next_round"]
    training[1].wait_counted([3], begin, 90)
    assert victim.status()["chain"]["is_signing"] is True


def test_restored_on_a_new_machine(tmp_path: Path) -> None:
    """As the operating manual has it: keys from the backup, the chain from the members, a new sign key, votes again."""
    federation = make_federation(tmp_path, None)
    with running(federation):
        victim, other = federation[2], federation[1]
        other.call("submit_memo", text="before")
        secret = {"FEDNODE_BACKUP_PASSPHRASE": "a passphrase of the backup"}
        made = victim.cli("keys", "backup", "--to", str(tmp_path / "keys.toml"), **secret)
        assert made.returncode == 0, made.stderr
        victim.call("submit_memo", text="signed after the backup was made")
        victim.kill()
        etc = shutil.copytree(victim.home.etc, tmp_path / "etc")
        shutil.rmtree(victim.home.root)
        restored = victim.cli("keys", "restore", "--from", str(tmp_path / "keys.toml"), **secret)
        assert restored.returncode == 0, restored.stderr
        shutil.copytree(etc, victim.home.etc, dirs_exist_ok=True)
        victim.start("--join")
        height = other.call("submit_memo", text="with three")["height"]
        victim.wait_height(height)
        chain = victim.status()["chain"]
        assert chain["is_signing"] is False and "restored from a backup" in chain["not_signing_reason"]
        assert not victim.home.sign_state.exists()
        rotated = victim.cli("keys", "rotate", "--sign", "--yes")
        assert rotated.returncode == 0, rotated.stderr
        victim.wait_end()
        victim.start()
        victim.poll(lambda s: s["connected"] == 3, 30)
        federation[3].kill()  # now its vote is needed
        assert victim.call("submit_memo", text="and it signs")["height"] > height
        assert victim.status()["chain"]["is_signing"] is True
        assert all(entry["double_votes"] == 0 for entry in other.call("member_list"))


@pytest.mark.parametrize("lost", [("joined",), ("joined", "sign-state")])
def test_lost_marks_do_not_let_a_key_begin_anew(tmp_path: Path, lost: tuple[str, ...]) -> None:
    """Without the mark beside the keys the record counts, and without both the blocks are asked."""
    federation = make_federation(tmp_path, None)
    with running(federation):
        federation[2].call("submit_memo", text="everybody signs")
        federation[1].call("submit_memo", text="so that the certificate is on the chain")
        federation[2].wait_height(2)
        assert federation[2].stop() == 0
        for mark in federation[2].home.keystore.parent.glob("joined-*"):
            mark.unlink()
        if "sign-state" in lost:
            shutil.rmtree(federation[2].home.sign_state)
        federation[2].start()
        is_signing = federation[2].status()["chain"]["is_signing"]
        if "sign-state" in lost:
            assert is_signing is False
        else:
            assert is_signing and list(federation[2].home.keystore.parent.glob("joined-*"))


@pytest.mark.parametrize("seed", range(3))
def test_new_network_key_of_a_busy_hospital(training: Federation, victim: Hospital, seed: int) -> None:
    """The others cut the old key off with the block that replaces it; the hospital itself must see that block."""
    before = training[1].call("member_list")[2]["peer_id"]
    done = victim.cli("keys", "rotate", "--network", "--yes")
    assert done.returncode == 0, done.stderr
    victim.wait_end()
    victim.start()
    trains_again(training)
    assert training[1].call("member_list")[2]["peer_id"] != before
