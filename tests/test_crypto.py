"""The primitives, against published vectors and against the misuse they must refuse."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode import crypto
from fednode.crypto import GROUP_ORDER, Domain, Ed25519Signer, Secret
from fednode.errors import KeystoreError, Rejected


class SystemEntropy:
    def random_bytes(self, count: int) -> bytes:
        return os.urandom(count)


ENTROPY = SystemEntropy()
WYCHEPROOF = "vectors/wycheproof/testvectors_v1"
SCALARS = st.integers(1, GROUP_ORDER - 1)
LOW_ORDER = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")  # order 8


def test_wycheproof_ed25519(shared_dir: Path) -> None:
    groups = json.loads((shared_dir / WYCHEPROOF / "ed25519_test.json").read_text())["testGroups"]
    checked = 0
    for group in groups:
        key = bytes.fromhex(group["publicKey"]["pk"])
        for case in group["tests"]:
            message, signature = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
            expected = case["result"] == "valid"
            assert crypto.is_raw_signature_valid(key, message, signature) is expected, case["tcId"]
            checked += 1
    assert checked > 100


def test_speccheck_has_libsodiums_verdict(shared_dir: Path) -> None:
    cases = json.loads((shared_dir / "vectors/ed25519-speccheck/cases.json").read_text())
    verdicts = [
        crypto.is_raw_signature_valid(*(bytes.fromhex(case[part]) for part in ("pub_key", "message", "signature")))
        for case in cases
    ]
    assert [number for number, accepted in enumerate(verdicts) if accepted] == [3]


def test_wycheproof_x25519(shared_dir: Path) -> None:
    groups = json.loads((shared_dir / WYCHEPROOF / "x25519_test.json").read_text())["testGroups"]
    for group in groups:
        for case in group["tests"]:
            private, public = Secret(bytes.fromhex(case["private"])), bytes.fromhex(case["public"])
            shared = bytes.fromhex(case["shared"])
            if shared == bytes(32):
                with pytest.raises(Rejected):
                    crypto.x25519(private, public)
            else:
                assert crypto.x25519(private, public) == shared, case["tcId"]


def test_wycheproof_hkdf(shared_dir: Path) -> None:
    groups = json.loads((shared_dir / WYCHEPROOF / "hkdf_sha256_test.json").read_text())["testGroups"]
    for group in groups:
        for case in group["tests"]:
            if case["result"] != "valid" or case["size"] > 8160:
                continue
            key, salt, info = (bytes.fromhex(case[part]) for part in ("ikm", "salt", "info"))
            assert crypto.hkdf_sha256(key, info, case["size"], salt) == bytes.fromhex(case["okm"]), case["tcId"]


def test_a_signature_of_one_domain_is_worthless_in_another() -> None:
    signer = Ed25519Signer(Secret(os.urandom(32)))
    signature = signer.sign(Domain.PREVOTE, b"m")
    assert crypto.is_signature_valid(signer.public_key, Domain.PREVOTE, b"m", signature)
    assert not crypto.is_signature_valid(signer.public_key, Domain.PRECOMMIT, b"m", signature)
    assert not crypto.is_signature_valid(signer.public_key, Domain.PREVOTE, b"n", signature)


def test_domain_tags_are_distinct() -> None:
    assert len({domain.value for domain in Domain}) == len(list(Domain))


def test_small_order_and_foreign_keys_are_not_member_keys() -> None:
    identity = b"\x01" + bytes(31)
    for key in (identity, bytes(32), b"\xff" * 32, b""):
        assert not crypto.is_member_key_valid(key)


def test_sealed_boxes_open_only_for_their_key() -> None:
    mine, other = Secret(os.urandom(32)), Secret(os.urandom(32))
    box = crypto.seal(crypto.x25519_public(mine), b"share")
    assert len(box) == 5 + crypto.SEALED_OVERHEAD_BYTES
    assert crypto.unseal(mine, box) == b"share"
    for key, damaged in ((other, box), (mine, box[:-1] + b"\x00" + box[-1:]), (mine, b""), (mine, bytes(60))):
        with pytest.raises(Rejected):
            crypto.unseal(key, damaged)


def test_files_at_rest_open_only_with_their_key() -> None:
    key = crypto.derive_passphrase_key(Secret(b"passphrase"), bytes(16))
    box = crypto.encrypt_at_rest(key, b"record")
    assert crypto.decrypt_at_rest(key, box) == b"record"
    changed = bytes([box[0] ^ 1]) + box[1:]
    for wrong in (changed, b"", box[:-1]):
        with pytest.raises(KeystoreError):
            crypto.decrypt_at_rest(key, wrong)


def test_secrets_do_not_print() -> None:
    secret = Secret(b"never")
    assert "never" not in f"{secret!r} {secret} {[secret]}"
    with pytest.raises(TypeError, match="never serialised"):
        copy.deepcopy(secret)


@settings(deadline=None, max_examples=25)
@given(st.lists(SCALARS, min_size=1, max_size=4), st.integers(1, 40), SCALARS)
def test_a_share_is_valid_exactly_on_the_polynomial(coefficients: list[int], index: int, delta: int) -> None:
    commitments = [crypto.base_times(value) for value in coefficients]
    share = sum(value * index**power for power, value in enumerate(coefficients)) % GROUP_ORDER
    if share:
        assert crypto.is_share_valid(commitments, index, share)
    assert not crypto.is_share_valid(commitments, index, (share + delta) % GROUP_ORDER)


def test_shares_outside_the_field_and_index_zero_are_invalid() -> None:
    commitments = [crypto.base_times(5)]
    assert crypto.is_share_valid(commitments, 1, 5)
    for index, share in ((0, 5), (1, 0), (1, 5 + GROUP_ORDER), (-1, 5)):
        assert not crypto.is_share_valid(commitments, index, share)


@pytest.mark.parametrize("times", range(1, 8))
def test_a_part_of_small_order_in_a_commitment_changes_no_verdict(times: int) -> None:
    """Its order is 8, 4 or 2: without the factor 8 the verdict would hang on the holder's number."""
    coefficients = [3, 5, 7]
    honest = [crypto.base_times(value) for value in coefficients]
    for at in range(3):
        twisted = list(honest)
        for _ in range(times):
            twisted[at] = crypto.point_add(twisted[at], LOW_ORDER)
        assert not crypto.is_point_valid(twisted[at])
        assert crypto.are_commitments_valid(twisted) == (at > 0), "a key itself has no such part"
        for index in range(1, 17):
            share = sum(value * index**power for power, value in enumerate(coefficients))
            assert crypto.is_share_valid(twisted, index, share)
            assert not crypto.is_share_valid(twisted, index, share + 1)
            assert not crypto.is_share_valid(twisted, index, share + GROUP_ORDER)


@pytest.mark.parametrize("bad", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32, b"\x02" + bytes(31), b"short", b""])
def test_what_is_no_commitment_is_refused_anywhere(bad: bytes) -> None:
    points = [crypto.base_times(value) for value in (3, 5, 7)]
    assert crypto.are_commitments_valid(points) and not crypto.are_commitments_valid([])
    for at in range(3):
        assert not crypto.are_commitments_valid([*points[:at], bad, *points[at + 1 :]])
        assert not crypto.is_share_valid([*points[:at], bad, *points[at + 1 :]], 1, 15)


def test_rfc9591_share_vectors(shared_dir: Path) -> None:
    path = shared_dir / "vectors/rfc9591-frost/poc/frost-ed25519-sha512.json"
    vector = json.loads(path.read_text())
    inputs = vector["inputs"]
    secret = int.from_bytes(bytes.fromhex(inputs["group_secret_key"]), "little")
    coefficients = [secret] + [
        int.from_bytes(bytes.fromhex(text), "little") for text in inputs["share_polynomial_coefficients"]
    ]
    commitments = [crypto.base_times(value) for value in coefficients]
    assert commitments[0] == bytes.fromhex(inputs["group_public_key"])
    for participant in inputs["participant_shares"]:
        share = int.from_bytes(bytes.fromhex(participant["participant_share"]), "little")
        assert crypto.is_share_valid(commitments, participant["identifier"], share)


def test_knowledge_of_a_key_cannot_be_borrowed() -> None:
    scalar = crypto.random_scalar(ENTROPY)
    point = crypto.base_times(scalar)
    proof = crypto.prove_knowledge(scalar, b"member 1", ENTROPY)
    assert crypto.is_knowledge_proven(point, b"member 1", proof)
    assert not crypto.is_knowledge_proven(point, b"member 2", proof)
    assert not crypto.is_knowledge_proven(crypto.base_times(scalar + 1), b"member 1", proof)
    for at in range(0, 64, 7):
        changed = proof[:at] + bytes([proof[at] ^ 1]) + proof[at + 1 :]
        assert not crypto.is_knowledge_proven(point, b"member 1", changed)


@pytest.mark.parametrize(("nonce", "times"), [(0, 0), (7, 1), (7, 4), (0, 1)])
def test_a_proof_by_a_point_outside_the_group_is_none(nonce: int, times: int) -> None:
    """The identity, or a part of small order in R: also where the response fits everything else."""
    scalar = 12345
    point = crypto.base_times(scalar)
    commitment = crypto.base_times(nonce) if nonce else b"\x01" + bytes(31)
    for _ in range(times):
        commitment = crypto.point_add(commitment, LOW_ORDER)
    challenge = crypto._schnorr_challenge(point, commitment, b"here")
    response = (nonce + challenge * scalar) % GROUP_ORDER
    assert not crypto.is_point_valid(commitment)
    assert not crypto.is_knowledge_proven(point, b"here", commitment + crypto.scalar_bytes(response))


def test_zero_has_no_point() -> None:
    with pytest.raises(ValueError, match="identity"):
        crypto.base_times(0)
    with pytest.raises(Rejected):
        crypto.scalar_from_bytes(GROUP_ORDER.to_bytes(32, "little"))


def test_a_tagged_hash_may_end_piece_by_piece() -> None:
    digest = crypto.begin_tagged_hash(Domain.ROUND, b"a", b"bc", last_bytes=5)
    digest.update(b"de")
    digest.update(memoryview(b"fgh"))
    assert digest.digest() == crypto.tagged_hash(Domain.ROUND, b"a", b"bc", b"defgh")


@given(st.binary(max_size=300), st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
@settings(max_examples=30)
def test_a_box_sealed_with_a_given_key_is_a_sealed_box(message: bytes, ephemeral: bytes, secret: bytes) -> None:
    recipient = crypto.x25519_public(Secret(secret))
    box = crypto.seal_from(Secret(ephemeral), recipient, message)
    assert crypto.unseal(Secret(secret), box) == message and len(box) == len(message) + crypto.SEALED_OVERHEAD_BYTES
    assert box == crypto.seal_from(Secret(ephemeral), recipient, message)
    assert box[:32] == crypto.x25519_public(Secret(ephemeral))
    with pytest.raises(Rejected):
        crypto.unseal(Secret(secret), box[:-1] + bytes([box[-1] ^ 1]))


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31)])
def test_nothing_is_sealed_to_a_low_order_key(point: bytes) -> None:
    with pytest.raises(Rejected, match="low-order"):
        crypto.seal_from(Secret(b"e" * 32), point, b"message")
