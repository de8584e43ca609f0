"""A member that signs twice: real daemons put both signatures on the chain, and everybody can see and check them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fednode.chain.vote import domain_of, sign_bytes
from fednode.crypto import is_signature_valid
from tests.e2e.federation import Hospital, make_federation, running

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "verify_export.py"
KINDS = {"proposal": 1, "prevote": 2, "precommit": 3}

TWO_FACED = """
import sys
from dataclasses import replace
from fednode.chain.consensus.messages import Proposal
from fednode.chain.consensus.replica import Replica
from fednode.chain.vote import Vote, domain_of, sign_bytes
from fednode.effects import Broadcast

handle = Replica.handle

def other(replica, vote, value):
    signed = sign_bytes(replica.tip.chain_id, vote.kind, vote.height, vote.view, vote.valid_view, value)
    signature = replica._driver.signer._signer.sign(domain_of(vote.kind), signed)
    return replace(vote, value=value, signature=signature)

def handle_twice(replica, event):
    effects = []
    for effect in handle(replica, event):
        effects.append(effect)
        message = effect.message if isinstance(effect, Broadcast) else None
        if isinstance(message, Vote) and message.sender == replica._driver.signer.member:
            effects.append(Broadcast(other(replica, message, bytes(31) + b"\\x07")))
        elif isinstance(message, Proposal):
            header = message.block.header
            block = replace(message.block, header=replace(header, time_ms=header.time_ms + 1))
            effects.append(Broadcast(Proposal(other(replica, message.vote, block.hash), block)))
    return effects

Replica.handle = handle_twice
from fednode.cli.main import main
main(sys.argv[1:])
"""
"""Every proposal and every vote is followed by another one for the same place, as from a key that runs twice."""


def test_double_proposals_and_votes_end_on_the_chain(tmp_path: Path) -> None:
    federation = make_federation(tmp_path, None)
    federation[4].program = ("-c", TWO_FACED)
    with running(federation):
        one = federation[1]
        for number in range(12):
            one.call("submit_memo", text=f"line {number}")
        height = one.status()["chain"]["height"]
        found = json.loads(one.cli("chain", "evidence", "--format", "json").stdout)["evidence"]
        assert {piece["member"] for piece in found} == {4}
        assert {piece["kind"] for piece in found} >= {"proposal", "prevote"}, found
        key = bytes.fromhex(one.call("member_list")[3]["sign_key"])
        for piece in found:
            for name in ("first", "second"):
                assert is_signed(federation.genesis.chain_id, key, piece, piece[name])
        check_shown(one, len(found))
        assert height <= 40, "each proof is worth one block at most, not a chain of its own"
        quiet = one.status()["chain"]["height"]
        one.pause(3)
        assert one.status()["chain"]["height"] == quiet, "nobody can make an idle chain grow by signing twice"
        check_offline(one, tmp_path / "chain.fnx", federation.genesis.chain_id.hex())
        federation.await_equal_chains()


def is_signed(chain_id: bytes, key: bytes, piece: dict[str, object], said: dict[str, object]) -> bool:
    kind = KINDS[str(piece["kind"])]
    value = bytes.fromhex(str(said["value"])) if said["value"] is not None else bytes(32)
    signed = sign_bytes(chain_id, kind, piece["height"], piece["view"], said["valid_view"], value)
    return is_signature_valid(key, domain_of(kind), signed, bytes.fromhex(str(said["signature"])))


def check_shown(hospital: Hospital, count: int) -> None:
    listed = json.loads(hospital.cli("member", "list", "--format", "json").stdout)
    assert [entry["double_votes"] > 0 for entry in listed] == [False, False, False, True]
    assert listed[3]["double_votes"] >= count
    table = hospital.cli("member", "list").stdout
    assert "fednode chain evidence" in table and "double" in table
    assert "Hospital" in table or "hospital" in table


def check_offline(hospital: Hospital, path: Path, chain_id: str) -> None:
    """The export carries the proofs; an auditor without fednode checks their signatures too."""
    done = hospital.cli("chain", "export", "-o", str(path))
    assert done.returncode == 0, done.stderr
    verified = subprocess.run(
        [sys.executable, "-I", str(SCRIPT), "--chain-id", chain_id, str(path)],
        capture_output=True, text=True, check=False, cwd="/",
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr
