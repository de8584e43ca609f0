from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.codec import Rejected, decode, encode, pack, to_plain
from fednode.crypto import Domain, Ed25519Signer, Secret, is_signature_valid, sha256
from fednode.ids import Height, MemberId
from fednode.ledger import transactions as tx
from fednode.ledger.bodies import Body, Memo
from fednode.ledger.studies.bodies import (
    MAX_SPEC_BYTES,
    Expire,
    Figure,
    Metrics,
    Outcome,
    Ready,
    Result,
    StudyAction,
    StudyCreate,
    StudyPause,
    StudyVote,
    Weights,
    compute_study_id,
)
from fednode.sums import bodies
from fednode.sums.bodies import MAX_CONFIRM_BYTES, MAX_HELD_BYTES
from tests.ledger.world import TERMS

CHAIN, OTHER_CHAIN = bytes(32), bytes([1]) * 32
SIGNER = Ed25519Signer(Secret(bytes(range(32))))
S, H = bytes([7]) * 32, bytes([8]) * 32

BODIES: list[Body] = [
    StudyCreate(TERMS, b"spec"),
    StudyVote(S, StudyAction.STOP),
    StudyPause(S, "people must look at this"),
    Ready(S, H, H),
    bodies.Acknowledge(S, 1, 0, (MemberId(2), MemberId(4))),
    bodies.Answer(S, 1, 0, ((MemberId(2), H, H),)),
    bodies.Commit(S, 1, 0, H, 12),
    bodies.Commit(S, 1, 0, H, 0, (("labels", H), ("weights", S))),
    bodies.Roster(S, 1, 0, 1, ((0, MemberId(2)), (1, MemberId(1)))),
    bodies.Digest(S, 1, 0, ((0, H), (3, H))),
    bodies.SumAck(S, 1, 0, H),
    bodies.SumAck(S, 1, 0, None, (2,)),
    bodies.Reveal(S, 1, 0, H, ((MemberId(1), H),), ((MemberId(3), H),)),
    Result(S, 1, 0, Outcome.OK, "", H, H, 3, Metrics(10, 9, 8, 7, (Figure("auc", 5, 9),))),
    Result(S, 1, 0, Outcome.FAILED, "out of bounds", H, bytes(32), 0),
    Expire(S, 1, 0, 17),
    bodies.Coin(S, 1, 0, H),
    bodies.ShareRoot(S, 1, 0, bytes(1024), H, H),
    bodies.Proof(S, 1, 0, 0, bodies.SumCheck.RIGHT, bytes(1072)),
    bodies.Recheck(S, 1, 0, ((0, H), (3, H)), ((MemberId(2), H),), (MemberId(1), MemberId(4))),
    bodies.Recheck(S, 1, 0),
    bodies.Keys(S, 1, 0, (H,), (H,), bytes(64), bytes(64), ((MemberId(2), b"box"),), H, H, bytes(64)),
    bodies.Redeal(S, 1, 0, MemberId(2), bytes(2072)),
    bodies.Confirm(S, 1, 0, bytes(16)),
    bodies.Expose(S, 1, 0, MemberId(2), H, bytes(64)),
    StudyVote(S, StudyAction.READMIT),
    Memo("ethics vote 17/2026"),
]


def signed(body: Body = BODIES[1], chain: bytes = CHAIN) -> tx.Transaction:
    return tx.sign_transaction(SIGNER, chain, MemberId(1), 5, Height(100), body)


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_every_kind_survives_its_encoding(body: Body) -> None:
    transaction = signed(body)
    again = tx.decode_transaction(transaction.data)
    assert again == transaction and again.txid == transaction.txid == sha256(transaction.data)
    assert again.data == encode(again, tx.Transaction)
    tx.verify_transaction(CHAIN, SIGNER.public_key, again)


def test_the_signature_is_over_chain_and_canonical_fields() -> None:
    transaction = signed()
    head = (1, 5, 100, to_plain(Body, transaction.body))
    assert is_signature_valid(SIGNER.public_key, Domain.TRANSACTION, CHAIN + pack(head), transaction.signature)


@pytest.mark.parametrize("change", [{"sender": 2}, {"nonce": 6}, {"valid_until": 101}, {"body": BODIES[2]}])
def test_nothing_in_a_transaction_can_be_changed(change: dict[str, object]) -> None:
    changed = replace(signed(), **change)
    with pytest.raises(Rejected, match="signature"):
        tx.verify_transaction(CHAIN, SIGNER.public_key, changed)


def test_a_transaction_is_worthless_on_another_chain() -> None:
    with pytest.raises(Rejected, match="signature"):
        tx.verify_transaction(OTHER_CHAIN, SIGNER.public_key, signed())


@given(st.data())
def test_no_changed_byte_is_accepted(data: st.DataObject) -> None:
    good = bytearray(signed(BODIES[11]).data)
    place = data.draw(st.integers(0, len(good) - 1))
    good[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Rejected):
        tx.verify_transaction(CHAIN, SIGNER.public_key, tx.decode_transaction(bytes(good)))


def test_too_large_a_transaction_is_refused_at_both_ends() -> None:
    with pytest.raises(Rejected):
        signed(StudyCreate(TERMS, bytes(MAX_SPEC_BYTES + 1)))
    with pytest.raises(Rejected, match="at most"):
        tx.decode_transaction(bytes(tx.MAX_TRANSACTION_BYTES + 1))
    assert len(signed(StudyCreate(TERMS, bytes(MAX_SPEC_BYTES))).data) <= tx.MAX_TRANSACTION_BYTES


@pytest.mark.parametrize(
    "body",
    [
        bodies.Keys(S, 1, 0, (H,) * 100, (H,) * 100, bytes(64), bytes(64),
                tuple((MemberId(65_000 + m), bytes(160)) for m in range(256)), H, H, bytes(64)),
        bodies.Roster(S, 1, 0, 0, tuple((60_000 + n, MemberId(65_000)) for n in range(5000))),
        bodies.Reveal(S, 1, 0, H, *[tuple((MemberId(65_000 + m), H) for m in range(256))] * 2),
        bodies.Answer(S, 1, 0, tuple((MemberId(65_000 + m), H, H) for m in range(256))),
        bodies.Proof(S, 1, 0, 0, bodies.SumCheck.RIGHT, bytes(1072)),
        bodies.Redeal(S, 1, 0, MemberId(65_000), bytes(MAX_HELD_BYTES)),
        bodies.Confirm(S, 1, 0, bytes(MAX_CONFIRM_BYTES)),
    ],
    ids=lambda body: type(body).__name__,
)
def test_the_bounds_of_every_body_keep_it_in_a_transaction(body: Body) -> None:
    assert tx.decode_transaction(signed(body).data).body == body


@pytest.mark.parametrize(
    "make",
    [
        lambda: bodies.Acknowledge(S, 1, 0, (MemberId(4), MemberId(2))),
        lambda: bodies.Acknowledge(S, 1, 0, (MemberId(2), MemberId(2))),
        lambda: bodies.Keys(S, 1, 0, (H,), (H,), bytes(64), bytes(64), ((MemberId(2), b"x"), (MemberId(1), b"x")), H, H,
                        bytes(64)),
        lambda: bodies.Answer(S, 1, 0, ((MemberId(2), H, H), (MemberId(2), H, H))),
        lambda: bodies.Roster(S, 1, 0, 0, ((1, MemberId(2)), (0, MemberId(2)))),
        lambda: bodies.Digest(S, 1, 0, ((1, H), (1, H))),
        lambda: bodies.SumAck(S, 1, 0, H, (1,)),
        lambda: bodies.SumAck(S, 1, 0, None, ()),
        lambda: bodies.SumAck(S, 1, 0, None, (2, 1)),
        lambda: bodies.Reveal(S, 1, 0, None, ((MemberId(2), H), (MemberId(1), H))),
        lambda: Result(S, 1, 0, Outcome.OK, "but", H, H, 3),
        lambda: Result(S, 1, 0, Outcome.FAILED, "no", H, H, 0),
        lambda: Result(S, 1, 0, Outcome.FAILED, "no", H, bytes(32), 3),
        lambda: Metrics(5, 5 * 65535 + 1, 5, 0),
        lambda: Metrics(5, 0, 1, 1 << 20),
        lambda: Metrics(5, 0, 5, 0, (Figure("auc", 1, 3), Figure("auc", 2, 3))),
        lambda: Figure("auc\n", 1, 3),
        lambda: StudyPause(S, "red\x1b[31m"),
        lambda: Result(S, 1, 0, Outcome.FAILED, "two\nlines", H, bytes(32), 0),
        lambda: Memo("from the left\u202e"),
        lambda: replace(TERMS, weights=Weights.EQUAL),
        lambda: replace(TERMS, weights=3),
    ],
)
def test_a_body_without_its_form_cannot_be_built(make) -> None:
    with pytest.raises(ValueError):
        make()


@pytest.mark.parametrize(
    "body",
    [
        StudyVote(S, 6),
        StudyVote(S[:31], 1),
        StudyPause(S, "x" * 201),
        bodies.Commit(S, 1, 0, H, 2**16),
        bodies.Commit(S, 1, 0, H, 0, (("", H),)),
        bodies.Commit(S, 1, 0, H, 0, (("short", H[1:]),)),
        bodies.Commit(S, 1, 0, H, 0, tuple((f"root {number}", H) for number in range(bodies.MAX_ROOTS + 1))),
        bodies.Acknowledge(S, 1, 0, (0,)),
        bodies.Keys(S, 1, 0, (), (H,), bytes(64), bytes(64), (), H, H, bytes(64)),
        bodies.Keys(S, 1, 0, (H,) * 101, (H,), bytes(64), bytes(64), (), H, H, bytes(64)),
        bodies.Keys(S, 1, 0, (H,), (H,), bytes(64), bytes(64), ((MemberId(2), bytes(161)),), H, H, bytes(64)),
        Expire(S, 2**32, 0, 1),
    ],
)
def test_values_outside_their_bounds_are_not_signed(body: Body) -> None:
    with pytest.raises(Rejected):
        signed(body)


def test_the_study_id_depends_on_terms_and_specification() -> None:
    ids = {
        compute_study_id(TERMS, b"a"), compute_study_id(TERMS, b"b"),
        compute_study_id(replace(TERMS, rounds=3), b"a"),
    }
    assert len(ids) == 3


def test_roots_of_a_commit_have_names_of_their_own_that_can_be_shown() -> None:
    for names, says in ((("b", "a"), "ascending"), (("a", "a"), "distinct"), (("a\x1b",), "printable")):
        with pytest.raises(ValueError, match=says):
            bodies.Commit(S, 1, 0, H, 0, tuple((name, H) for name in names))
        plain = (S, 1, 0, H, 0, tuple((name, H) for name in names))
        with pytest.raises(Rejected, match=says):
            decode(bodies.Commit, pack(plain), 1000)
