"""Two of four lose what they signed: told at once, and succeeded by a new chain that goes on with the study's model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.federation import Hospital, make_federation, running, study_of, study_toml

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "verify_export.py"


def done(hospital: Hospital, *arguments: str) -> str:
    result = hospital.cli(*arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def refused(hospital: Hospital, *arguments: str) -> str:
    result = hospital.cli(*arguments)
    assert result.returncode == 11 and "Traceback" not in result.stderr, result
    return result.stderr


def test_two_of_four_lost_their_sign_state(tmp_path: Path) -> None:
    federation = make_federation(tmp_path, study_toml(rounds=1))
    succeed = ("federation", "succeed")
    with running(federation):
        federation[1].wait(lambda s: study_of(s)["status"] == "finished", 90, "the study")
        model = study_of(federation[1].status())["model_hash"]
        federation.await_equal_chains()
        for hospital in federation:
            hospital.stop()
        for number in (1, 2):
            shutil.rmtree(federation[number].home.var)
        federation.start()
        top = federation[3].status()["chain"]["height"]
        for hospital in federation:
            hospital.poll(lambda s: s["connected"] == 3 and s["chain"]["height"] == top, 60, "all blocks are here")
            hospital.poll(lambda s: s["chain"]["signing"] == [3, 4], 30, "who signs")
            assert hospital.status()["chain"]["has_quorum"] is False
        told = refused(federation[1], "keys", "rotate", "--sign", "--yes")
        assert "2 of 4 members sign while 3 are needed" in told and "federation succeed" in told
        for hospital in federation:
            hospital.stop()

        files = [str(tmp_path / f"consent-{number}") for number in (1, 2, 3)]
        for number, file in zip((1, 2, 3), files, strict=True):
            done(federation[number], *succeed, "sign", "--yes", "-o", file)
        again = str(tmp_path / "again")
        done(federation[1], *succeed, "sign", "--yes", "-o", again)
        assert Path(again).read_bytes() == Path(files[0]).read_bytes(), "signed once"
        federation[3].start()
        chain = federation[3].status()["chain"]
        assert chain["is_signing"] is False and "succeeded" in chain["not_signing_reason"]
        federation[3].stop()

        successor = str(tmp_path / "successor.toml")
        done(federation[2], *succeed, "assemble", *files, "-o", successor)
        shown = json.loads(done(federation[2], *succeed, "show", successor, "--format", "json"))
        assert [entry["member"] for entry in shown["members"]] == [1, 2, 3] and shown["old_height"] == top
        smaller = str(tmp_path / "smaller.toml")
        done(federation[2], *succeed, "assemble", *files[:2], "-o", smaller)
        for number in (1, 2, 3):
            done(federation[number], *succeed, "join", "--yes", successor)
            done(federation[number], *succeed, "join", "--yes", successor)
        assert "has joined another successor" in refused(federation[1], *succeed, "join", "--yes", smaller)
        assert "has not signed" in refused(federation[4], *succeed, "join", "--yes", successor)

        for number in (1, 2, 3):
            federation[number].start()
        first = federation[1]
        first.poll(lambda s: s["chain"]["signing"] == [1, 2, 3], 30, "all sign on the new chain")
        assert first.status()["chain"]["id"] == shown["chain_id"] != federation.genesis.chain_id.hex()
        assert study_of(first.status())["model_hash"] == model
        assert first.call("submit_memo", text="it goes on")["height"] == 1
        export = str(tmp_path / "chain.fnx")
        done(first, "chain", "verify", "--level", "4")
        done(first, "chain", "export", "-o", export)
        arguments = ["--chain-id", shown["chain_id"], export]
        checked = subprocess.run([sys.executable, str(SCRIPT), *arguments], check=False, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr
