"""Proofs and checkpoints: what they show, what they refuse, and the published RFC 6962 proofs through both."""

from __future__ import annotations

import base64
import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode.audit.proofs import (
    PROOF_FORMAT,
    Base,
    Finality,
    Proof,
    Trust,
    claim_state,
    claim_transaction,
    verify_proof,
)
from fednode.chain.block import compute_block_hash, receipts_data
from fednode.chain.checkpoint import (
    CHECKPOINT_FORMAT,
    CONSISTENCY_FORMAT,
    Checkpoint,
    CheckpointSignature,
    Consistency,
    LogPath,
    add_signatures,
    check_consistency,
    check_signatures,
    make_checkpoint,
    make_consistency,
    prove_in_log,
    sign_checkpoint,
)
from fednode.chain.light import LightRules
from fednode.chain.state import hash_leaf, verify_inclusion
from fednode.codec import encode
from fednode.crypto import sha256
from fednode.errors import Rejected
from fednode.ids import Height
from fednode.json_form import from_json, parse_json, to_json
from fednode.ledger.members.reading import MEMBERS_KEY
from fednode.ledger.studies.records import RoundReport, report_key
from fednode.ledger.versions import VERSIONS
from tests.audit.chain import RoundWorld, play
from tests.support.seeds import seed_of

NOW_MS = 10**12


@pytest.fixture(scope="module")
def world() -> RoundWorld:
    return play(2)


def leaves(world: RoundWorld, size: int | None = None) -> list[bytes]:
    return [hash_leaf(decided.block.hash) for decided in world.blocks[:size]]


def checkpoint(world: RoundWorld, height: int) -> Checkpoint:
    return make_checkpoint(world.blocks[height - 1].block.header, leaves(world, height))


def header_proof(world: RoundWorld, height: int, log_size: int | None = None, **claim: Any) -> Proof:
    block = world.blocks[height - 1].block
    finality = Finality(world.genesis, None, (world.light(height),))
    log = prove_in_log(leaves(world, log_size), height)
    return Proof(PROOF_FORMAT, world.chain_id, block.header, finality, log, **claim)


def transaction_proof(world: RoundWorld, height: int) -> Proof:
    decided = world.blocks[height - 1]
    claim = claim_transaction(decided.block.transactions, receipts_data(decided.receipts), 0)
    return header_proof(world, height, transaction=claim)


def state_proof(world: RoundWorld, key: bytes) -> Proof:
    return header_proof(world, len(world.blocks), state=claim_state(world.state, key))


def check(proof: Proof, *, chain_id: bytes | None = None, by: Checkpoint | None = None, rules=None, now_ms=NOW_MS):
    """Check what has been through a file, as an auditor does."""
    again = from_json(Proof, parse_json(json.dumps(to_json(proof))))
    assert again == proof
    return verify_proof(again, Trust(chain_id, by), now_ms, rules or LightRules(VERSIONS))


# --- what is proven --------------------------------------------------------------------------------------------

def test_a_transaction_is_proven_by_the_chain_id_alone(world: RoundWorld) -> None:
    proven = check(transaction_proof(world, 7), chain_id=world.chain_id)
    assert proven.anchors == ("genesis",) and proven.signers == (1, 2, 3, 4)
    assert proven.transaction is not None and proven.receipt is not None
    assert proven.transaction.data == world.blocks[6].block.transactions[0]
    assert proven.receipt == world.blocks[6].receipts[0]
    assert proven.block_hash == world.blocks[6].block.hash


def test_every_transaction_of_a_block_is_proven(world: RoundWorld) -> None:
    several = max(world.blocks, key=lambda decided: len(decided.receipts))
    items, receipts = several.block.transactions, receipts_data(several.receipts)
    for index in range(len(items)):
        claim = claim_transaction(items, receipts, index)
        proof = header_proof(world, several.block.height, transaction=claim)
        assert check(proof, chain_id=world.chain_id).receipt == several.receipts[index]


def test_a_round_report_is_proven_by_the_state(world: RoundWorld) -> None:
    key = report_key(world.study, 1)
    proven = check(state_proof(world, key), chain_id=world.chain_id)
    assert proven.record == encode(world.report(1), RoundReport)


def test_that_a_key_is_absent_is_proven_too(world: RoundWorld) -> None:
    for number in range(2, 40):
        proven = check(state_proof(world, report_key(world.study, 100 + number)), chain_id=world.chain_id)
        assert proven.record is None


def test_a_checkpoint_vouches_for_every_block_up_to_it(world: RoundWorld) -> None:
    proof = replace(header_proof(world, 5, log_size=20), finality=None)
    assert check(proof, by=checkpoint(world, 20)).anchors == ("checkpoint",)
    both = header_proof(world, 5, log_size=20)
    assert check(both, chain_id=world.chain_id, by=checkpoint(world, 20)).anchors == ("checkpoint", "genesis")
    own = replace(header_proof(world, 20, log_size=30), finality=None)
    assert check(own, by=checkpoint(world, 20)).anchors == ("checkpoint",)


def test_certificates_lead_on_from_a_checkpoint(world: RoundWorld) -> None:
    base = Base(world.blocks[9].block.header, world.genesis.member_set)
    proof = Proof(
        PROOF_FORMAT, world.chain_id, world.blocks[29].block.header, Finality(None, base, (world.light(30),)), None
    )
    assert check(proof, by=checkpoint(world, 10)).anchors == ("checkpoint",)
    with pytest.raises(Rejected, match="not the checkpoint's"):
        check(proof, by=checkpoint(world, 11))
    with pytest.raises(Rejected, match="not the checkpoint's"):
        check(proof, chain_id=world.chain_id)
    old = LightRules(VERSIONS, trusting_period_ms=1000)
    with pytest.raises(Rejected, match="trusting period"):
        check(proof, by=checkpoint(world, 10), rules=old)
    time_ms = world.blocks[29].block.header.time_ms
    assert check(proof, by=checkpoint(world, 10), rules=old, now_ms=time_ms).anchors == ("checkpoint",)


# --- what is refused -------------------------------------------------------------------------------------------

def refused(proof: Proof, says: str, world: RoundWorld, **trust: Any) -> None:
    with pytest.raises(Rejected, match=says):
        check(proof, **(trust or {"chain_id": world.chain_id}))


def test_proofs_of_other_chains(world: RoundWorld) -> None:
    refused(header_proof(world, 5), "another chain", world, chain_id=bytes(32))
    refused(replace(header_proof(world, 5), chain_id=bytes(32)), "another chain", world, chain_id=bytes(32))
    good = header_proof(world, 5)
    assert good.finality is not None
    other = replace(world.genesis, time_ms=world.genesis.time_ms + 1)
    refused(replace(good, finality=replace(good.finality, genesis=other)), "not that of its chain", world)


def test_certificates_that_lead_elsewhere(world: RoundWorld) -> None:
    good = header_proof(world, 5)
    other = Finality(world.genesis, None, (world.light(6),))
    refused(replace(good, finality=other, log=None), "to another block", world)
    refused(replace(good, finality=Finality(world.genesis, None, ()), log=None), "to another block", world)
    refused(replace(good, finality=None), "starts from a checkpoint", world)
    light = world.light(5)
    thin = replace(light.certificate, bitmap=b"\x03", signatures=light.certificate.signatures[:2])
    forged = Finality(world.genesis, None, (replace(light, certificate=thin),))
    refused(replace(good, finality=forged), "2 of the 4 trusted|2 signatures", world)


def test_a_changed_transaction_receipt_or_place(world: RoundWorld) -> None:
    good = transaction_proof(world, 7)
    claim = good.transaction
    assert claim is not None
    other = transaction_proof(world, 8).transaction
    for change, says in (
        ({"data": other.data}, "transaction is not in the block"),
        ({"receipt": other.receipt}, "receipt is not in the block"),
        ({"index": 1}, "outside the tree"),
        ({"path": (bytes(32),)}, "too long"),
    ):
        refused(replace(good, transaction=replace(claim, **change)), says, world)


def test_a_receipt_of_another_transaction_of_the_block(world: RoundWorld) -> None:
    several = max(world.blocks, key=lambda decided: len(decided.receipts))
    items, receipts = several.block.transactions, receipts_data(several.receipts)
    first, second = (claim_transaction(items, receipts, index) for index in (0, 1))
    mixed = replace(first, receipt=second.receipt, receipt_path=second.receipt_path)
    refused(header_proof(world, several.block.height, transaction=mixed), "receipt is not in the block", world)


def test_a_changed_bucket(world: RoundWorld) -> None:
    key = report_key(world.study, 1)
    good = state_proof(world, key)
    claim = good.state
    assert claim is not None
    kept = tuple(leaf for leaf in claim.bucket if leaf[1] != key)
    wrong = tuple((kind, name, data + b"\x00") for kind, name, data in claim.bucket)
    kinds = tuple((kind + 1, name, data) for kind, name, data in claim.bucket)
    strange = tuple(sorted((*claim.bucket, (2, MEMBERS_KEY, b"")), key=lambda leaf: leaf[1]))
    for bucket, says in (
        (kept, "not in the state"), (wrong, "not in the state"), (kinds, "not in the state"),
        ((*claim.bucket, claim.bucket[-1]), "is not one"), (strange, "is not one"),
    ):
        refused(replace(good, state=replace(claim, bucket=bucket)), says, world)
    elsewhere = replace(claim, key=report_key(world.study, 0))
    refused(replace(good, state=elsewhere), "is not one", world)


def test_a_checkpoint_of_another_history(world: RoundWorld) -> None:
    proof = header_proof(world, 5, log_size=20)
    forked = replace(checkpoint(world, 20), log_root=bytes(32))
    refused(proof, "two histories", world, by=forked)
    refused(header_proof(world, 20, log_size=30), "two histories", world,
            by=replace(checkpoint(world, 20), block_hash=bytes(32)))
    refused(proof, "does not refer to this checkpoint", world, by=checkpoint(world, 21))
    refused(proof, "another chain", world, by=replace(checkpoint(world, 20), chain_id=bytes(32)))


def test_a_block_that_is_not_in_its_log(world: RoundWorld) -> None:
    good = header_proof(world, 5, log_size=20)
    assert good.log is not None
    refused(replace(good, log=replace(good.log, size=4)), "too long|outside", world)
    refused(replace(good, log=prove_in_log(leaves(world, 20), 6)), "another root", world)


@pytest.mark.slow
@settings(max_examples=60)
@given(st.data())
def test_no_single_change_of_a_proof_survives(data: st.DataObject) -> None:
    """Whatever hexadecimal digit of the file is changed, the proof is refused or still proves the same."""
    world = WORLDS.setdefault(0, play(1))
    proof = replace(transaction_proof(world, 6), log=None)  # without a checkpoint nobody vouches for a log
    text = json.dumps(to_json(proof))
    places = [i for i, letter in enumerate(text) if letter in "0123456789abcdef"]
    at = places[data.draw(st.integers(0, len(places) - 1))]
    changed = text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :]
    if parse_or_none(changed) in (None, json.loads(text)):
        return
    with pytest.raises(Rejected):
        check(from_json(Proof, parse_json(changed)), chain_id=world.chain_id)


WORLDS: dict[int, RoundWorld] = {}


def parse_or_none(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


# --- checkpoints -----------------------------------------------------------------------------------------------

def test_members_sign_the_same_checkpoint(world: RoundWorld) -> None:
    plain = checkpoint(world, 30)
    signed = sign_checkpoint(plain, 2, world.signers[2])
    both = add_signatures(sign_checkpoint(plain, 1, world.signers[1]), signed.signatures)
    assert check_signatures(both, world.genesis.member_set.keys) == (1, 2)
    assert from_json(Checkpoint, parse_json(json.dumps(to_json(both)))) == both
    moved = replace(both, time_ms=both.time_ms + 1)
    with pytest.raises(Rejected, match="member 1 under the checkpoint"):
        check_signatures(moved)
    with pytest.raises(Rejected, match="not that of member 2"):
        check_signatures(replace(signed, signatures=(replace(signed.signatures[0], sign_key=bytes(32)),)),
                         world.genesis.member_set.keys)


def test_checkpoints_that_cannot_be(world: RoundWorld) -> None:
    good = to_json(sign_checkpoint(checkpoint(world, 3), 1, world.signers[1]))
    assert isinstance(good, dict)
    for change, says in (
        ({"format": "x"}, "not known"), ({"height": 4}, "one leaf per block"), ({"extra": 1}, "unknown field"),
        ({"log_root": "AB" * 32}, "lower-case"), ({"log_root": "ab"}, "length"), ({"height": "3"}, "of type int"),
        ({"signatures": good["signatures"] * 2}, "one per member"), ({"signatures": {}}, "must be a list"),
    ):
        with pytest.raises(Rejected, match=says):
            from_json(Checkpoint, {**good, **change})
    del good["height"]
    with pytest.raises(Rejected, match="no field 'height'"):
        from_json(Checkpoint, good)
    with pytest.raises(Rejected, match="twice"):
        parse_json('{"a": 1, "a": 2}')


def test_a_signature_under_a_checkpoint_is_worthless_elsewhere(world: RoundWorld) -> None:
    header = world.blocks[2].block.header
    first = world.light(3).certificate.signatures[0]
    forged = CheckpointSignature(1, world.signers[1].public_key, first)
    with pytest.raises(Rejected, match="does not hold"):
        check_signatures(add_signatures(make_checkpoint(header, leaves(world, 3)), (forged,)))


def test_later_checkpoints_continue_earlier_ones(world: RoundWorld) -> None:
    total = len(world.blocks)
    for old in (1, 2, 7, 8, total - 1, total):
        proof = make_consistency(world.chain_id, leaves(world), old)
        check_consistency(proof, checkpoint(world, old), checkpoint(world, total))
    proof = make_consistency(world.chain_id, leaves(world), 8)
    with pytest.raises(Rejected, match="two histories"):
        check_consistency(proof, replace(checkpoint(world, 8), log_root=bytes(32)))
    with pytest.raises(Rejected, match="the proof is about 8"):
        check_consistency(proof, checkpoint(world, 9))
    with pytest.raises(Rejected, match="another chain"):
        check_consistency(proof, replace(checkpoint(world, 8), chain_id=bytes(32)))
    with pytest.raises(Rejected, match="another root"):
        check_consistency(replace(proof, old_root=bytes(32)))


# --- published proofs ------------------------------------------------------------------------------------------

def load(shared_dir: Path, kind: str) -> list[tuple[str, dict[str, Any]]]:
    folder = shared_dir / "vectors" / "rfc6962-merkle-proofs" / "testdata" / kind
    found = [(str(path.relative_to(folder)), json.loads(path.read_text())) for path in sorted(folder.rglob("*.json"))]
    assert found
    return found


def nodes(items: list[str | None] | None) -> tuple[bytes, ...]:
    return tuple(base64.b64decode(item or "") for item in items or [])


def through_json(form: type, value: object) -> Any:
    return from_json(form, parse_json(json.dumps(to_json(value))))


def test_published_inclusion_proofs_as_a_log_path(shared_dir: Path) -> None:
    for _, case in load(shared_dir, "inclusion"):
        leaf, root = nodes([case["leafHash"], case["root"]])
        with pytest.raises(Rejected) if case["wantErr"] else nullcontext():
            log = through_json(LogPath, LogPath(case["treeSize"], root, nodes(case["proof"])))
            verify_inclusion(leaf, case["leafIdx"], log.size, log.path, log.root)


def test_published_consistency_proofs_between_checkpoints(shared_dir: Path) -> None:
    chain_id = seed_of("published")
    for _, case in load(shared_dir, "consistency"):
        # roots of which the case says that they do not matter are texts; ours have 32 bytes
        roots = [root if len(root) == 32 else sha256(root) for root in nodes([case["root1"], case["root2"]])]
        sizes = case["size1"], case["size2"]
        with pytest.raises(Rejected) if case["wantErr"] else nullcontext():
            path = nodes(case["proof"])
            made = Consistency(CONSISTENCY_FORMAT, chain_id, sizes[0], roots[0], sizes[1], roots[1], path)
            proof = through_json(Consistency, made)
            ends = [
                Checkpoint(CHECKPOINT_FORMAT, chain_id, Height(size), bytes(32), 1, size, root)
                for size, root in zip(sizes, roots, strict=True)
            ]
            check_consistency(proof, ends[0], ends[1])


def test_a_header_of_the_block_hash_is_what_votes_name(world: RoundWorld) -> None:
    for decided in world.blocks[:3]:
        assert compute_block_hash(decided.block.header) == decided.certificate.block_hash
