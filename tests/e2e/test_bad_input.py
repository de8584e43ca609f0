"""What goes wrong at one hospital's door, with a real daemon behind it: one sentence, one exit code, nothing lost."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fednode.home.files import Home, write_atomic
from fednode.ledger.genesis import genesis_to_toml, make_genesis
from tests.e2e.federation import Federation, Hospital, make_federation, running, study_of, study_toml
from tests.support.folders import contents_of, small_disk

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    """Four homes that have finished a small study and stand still."""
    federation = make_federation(tmp_path_factory.mktemp("ended"), study_toml(rounds=1))
    with running(federation):
        for hospital in federation:
            hospital.wait(lambda s: study_of(s)["status"] == "finished", 90, "the end of the study")
        federation.await_equal_chains()
        for hospital in federation:
            hospital.poll(lambda s: study_of(s)["has_model"], 30)
            assert hospital.stop() == 0
    return federation


@pytest.fixture
def hospital(ended: Federation, tmp_path: Path) -> Iterator[Hospital]:
    """A copy of one of the homes, that a test may spoil."""
    original = ended[2]
    made = Hospital(Home(Path(shutil.copytree(original.home.root, tmp_path / "home"))), original.port, original.port)
    yield made
    made.kill()


def start_fails(hospital: Hospital, code: int, *says: str) -> str:
    """Start the daemon, which must end at once with this code and one sentence."""
    begin = len(hospital.last_words())
    ready = hospital.launch()
    try:
        assert hospital.wait_end() == code, hospital.last_words()
        assert os.read(ready, 16) == b"", "it said it was ready"
    finally:
        os.close(ready)
    text = hospital.output.read_text()[begin:]
    is_one_sentence(text, code)
    for part in says:
        assert part in text, text
    return text


def is_one_sentence(text: str, code: int) -> None:
    assert "Traceback" not in text, text
    assert text.startswith("error: ") and text.endswith(f"(exit code {code})\n") and text.count("\n") == 1, text


def test_port_that_another_program_has(hospital: Hospital) -> None:
    with socket.create_server(("127.0.0.1", hospital.port)):
        start_fails(hospital, 9, str(hospital.port), "nother program")
    hospital.start()
    assert hospital.stop() == 0


def test_second_daemon_on_one_home(hospital: Hospital) -> None:
    hospital.start()
    second = Hospital(hospital.home, hospital.port, hospital.port)
    text = start_fails(second, 10, "already runs on the home", "fednode --home")
    assert str(hospital.pid) in text
    assert hospital.status()["chain"]["height"] > 0
    assert hospital.stop() == 0


def test_genesis_of_another_chain_with_the_same_members(hospital: Hospital, ended: Federation) -> None:
    other = make_genesis("another", ended.genesis.members, ended.genesis.studies, 1_700_000_000_000)
    kept = contents_of(hospital.home.sign_state)
    write_atomic(hospital.home.genesis, genesis_to_toml(other).encode())
    start_fails(hospital, 6, "another chain", "another")
    assert contents_of(hospital.home.sign_state) == kept
    write_atomic(hospital.home.genesis, genesis_to_toml(ended.genesis).encode())
    hospital.start()
    assert hospital.stop() == 0


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes_in_the_store(hospital: Hospital, seed: int) -> None:
    """A damaged store is told, or the damage was of no consequence; a wrong chain is never served."""
    drawn = random.Random(seed)
    files = [path for path in hospital.home.chain.iterdir() if path.suffix in (".log", ".ldb") and path.stat().st_size]
    path = max(files, key=lambda file: file.stat().st_size)
    data = bytearray(path.read_bytes())
    for _ in range(8):
        data[drawn.randrange(len(data))] ^= 1 << drawn.randrange(8)
    path.write_bytes(data)
    text = start_fails(hospital, 6, str(hospital.home.chain), "start --resync")
    assert "fednode" in text or "start again" in text
    assert path.read_bytes() == bytes(data), "the damaged file was changed"
    found = hospital.cli("chain", "verify")
    assert found.returncode == 6
    is_one_sentence(found.stderr, 6)


def test_store_moved_away_is_fetched_again(ended: Federation, tmp_path: Path) -> None:
    with running(ended):
        victim = ended[3]
        height = victim.status()["chain"]["height"]
        assert victim.stop() == 0
        shutil.move(victim.home.chain, tmp_path / "away")
        victim.start()
        victim.wait_height(height)
        status = victim.status()
        assert status["chain"]["is_signing"] is True, "its sign-state is whole, so it may vote"
        for hospital in ended:
            assert hospital.stop() == 0


def test_lost_sign_state_is_never_made_anew(hospital: Hospital) -> None:
    shutil.rmtree(hospital.home.sign_state)
    hospital.start()
    chain = hospital.status()["chain"]
    assert chain["is_signing"] is False
    assert "sign-state" in chain["not_signing_reason"] and "missing" in chain["not_signing_reason"]
    shown = hospital.cli("status")
    assert "NOT SIGNING" in shown.stdout
    assert hospital.stop() == 0
    assert not [path for path in hospital.home.sign_state.glob("slot*") if path.stat().st_size]


def test_damaged_sign_state_is_told(hospital: Hospital) -> None:
    slots = sorted(hospital.home.sign_state.iterdir())
    assert len(slots) == 2
    whole = [slot.read_bytes() for slot in slots]
    slots[0].write_bytes(b"\0" * 100 + whole[0][100:])
    hospital.start()
    assert any("sign-state" in text and "damaged" in text for text in hospital.status()["problems"])
    assert hospital.stop() == 0
    for slot, data in zip(slots, whole, strict=True):
        slot.write_bytes(data[:10] + b"\0" + data[11:])
    hospital.start()
    chain = hospital.status()["chain"]
    assert chain["is_signing"] is False and "damaged" in chain["not_signing_reason"]
    assert hospital.stop() == 0


def test_table_that_is_gone_or_does_not_fit(tmp_path: Path) -> None:
    """It never becomes ready and says why; the others vote to begin without it; mended, it joins a later round."""
    table = tmp_path / "table-0.csv"
    federation = make_federation(tmp_path, study_toml(rounds=500, start_after_s=1))
    victim = next(h for h in federation if h.home.root.name == "home-0")
    member = federation.hospitals.index(victim) + 1
    try:
        for content, says in (
            ("x,y,group\n", "no rows"),
            ("", "no rows"),
            ("x,y,group\nlow,1,left\n", "1 cell without a number, first in line 2"),
            ("x,y,group\n1,1,middle\n", "none of the study's levels"),
            (None, "cannot be read"),
            ("x,b,group\n1,2,left\n", "column 'y': not in the header"),
        ):
            table.unlink(missing_ok=True)
            if content is not None:
                table.write_text(content)
            victim.start()
            status = victim.poll(lambda s: study_of(s)["problem"] is not None, 30, says)
            assert says in study_of(status)["problem"], study_of(status)["problem"]
            assert any(says in text for text in status["problems"])
            assert "Traceback" not in victim.last_words()
            if says.startswith("column"):
                break
            assert victim.stop() == 0
        federation.start()
        other = federation.others(member)[0]
        told = other.poll(
            lambda s: study_of(s)["waiting_for"] == [member] and any("has waited" in text for text in s["problems"]),
            60, "people are asked",
        )
        assert study_of(told)["status"] == "waiting"
        for voter in federation.others(member):
            voter.call("study_begin", without=["Hospital 0"])
        other.wait(lambda s: study_of(s)["rounds_done"] >= 1, 60, "the others' first round")
        assert member not in other.reports()[-1]["expected"]
        assert "column 'y': not in the header" in victim.cli("status").stdout
        assert victim.stop() == 0
        table.write_text((tmp_path / "table-1.csv").read_text())
        victim.start()
        begin = study_of(other.status())["next_round"]
        other.wait_counted([member], begin, 60)
    finally:
        federation.kill()


def test_peers_of_another_chain_and_of_another_version(tmp_path: Path) -> None:
    """Refused on both sides, each naming what it is and what the other is; the rest goes on."""
    federation = make_federation(tmp_path, None)
    stranger, modern = federation[3], federation[4]
    other = make_genesis("other", federation.genesis.members, (), federation.genesis.time_ms + 1)
    write_atomic(stranger.home.genesis, genesis_to_toml(other).encode())
    patch = "import sys; import fednode.daemon.daemon as d; d.PROTOCOL_VERSION = 99; " \
            "from fednode.cli.main import main; main(sys.argv[1:])"
    modern.program = ("-c", patch)
    with running(federation):
        one = federation[1]
        status = one.poll(lambda s: s["members"][2]["refused"] and s["members"][3]["refused"], 30, "both refusals")
        chain, version = status["members"][2]["refused"], status["members"][3]["refused"]
        assert federation.genesis.chain_id.hex()[:8] in chain and other.chain_id.hex()[:8] in chain, chain
        assert "99" in version and "1" in version, version
        status = stranger.poll(lambda s: s["members"][0]["refused"], 30)
        assert federation.genesis.chain_id.hex()[:8] in status["members"][0]["refused"]
        status = modern.poll(lambda s: s["members"][0]["refused"], 30)
        assert "99" in status["members"][0]["refused"]
        shown = one.cli("status")
        assert "refused" in shown.stdout
        assert one.status()["connected"] == 1


def test_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "24m") as disk:
        federation = make_federation(tmp_path, study_toml(rounds=5000))
        victim = federation[2]
        root = Path(shutil.move(victim.home.root, disk / "home"))
        victim.home = Home(root)
        with running(federation):
            other = federation[1]
            other.wait(lambda s: study_of(s)["rounds_done"] >= 1, 60)
            filler = disk / "filler"
            with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(bytes(4096)):
                    pass
            code = victim.wait_end(60)
            text = victim.last_words()
            assert code == 8, text
            assert "Traceback" not in text
            assert "disk is full" in text and "free some space" in text
            begin = study_of(other.status())["next_round"]
            other.wait(lambda s: study_of(s)["next_round"] > begin + 2, 60, "the others go on")
            start_fails(victim, 8, "disk is full")
            filler.unlink()
            victim.start()
            begin = study_of(other.status())["next_round"]
            other.wait_counted([2], begin, 60)
            assert victim.status()["chain"]["is_signing"] is True
            federation.await_equal_chains()
        found = victim.cli("chain", "verify", "--format", "json")
        assert json.loads(found.stdout)["ok"] is True
        assert replace(federation.genesis).chain_id == federation.genesis.chain_id
