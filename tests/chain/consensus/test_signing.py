"""The rule that keeps a member from voting twice."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.chain.consensus.messages import Polka
from fednode.chain.consensus.recovery import (
    SignRecord,
    Valid,
    VoteSigner,
    decode_record,
    encode_record,
    initial_record,
)
from fednode.chain.vote import NIL, NO_VIEW, PRECOMMIT, PREVOTE, Vote, domain_of
from fednode.crypto import is_signature_valid
from fednode.errors import StorageError
from fednode.ids import Height, MemberId, View
from tests.chain.test_block import TIP, make_block, make_vote
from tests.sim.keys import CHAIN_ID, make_members

_, REAL, _ = make_members(4, is_real=True)
ME = MemberId(1)
X = b"x" * 32


def make_signer(record: SignRecord | None = None) -> VoteSigner:
    return VoteSigner(CHAIN_ID, ME, REAL[ME], record or initial_record(CHAIN_ID, REAL[ME].public_key))


def sign(signer: VoteSigner, height: int, view: int, kind: int, value: bytes = NIL) -> Vote | None:
    return signer.sign(kind, Height(height), View(view), NO_VIEW, value, lambda: (NO_VIEW, NIL, None))


def test_signature_holds_and_the_record_knows_it() -> None:
    signer = make_signer()
    vote = sign(signer, 1, 0, PREVOTE, X)
    assert is_signature_valid(REAL[ME].public_key, domain_of(PREVOTE), vote.signed_bytes(CHAIN_ID), vote.signature)
    assert signer.record.place == (1, 0, PREVOTE)
    assert signer.record.signature == vote.signature


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3), st.integers(1, 3), st.sampled_from([NIL, X]))))
def test_no_two_signatures_at_one_place_in_any_order_of_requests(
    requests: list[tuple[int, int, int, bytes]],
) -> None:
    signer, last, signed = make_signer(), (0, 0, 0), {}
    for height, view, kind, value in requests:
        vote = sign(signer, height, view, kind, value if kind != 1 else X)
        if vote is None:
            assert (height, view, kind) <= last
            continue
        assert signed.setdefault((height, view, kind), vote) == vote
        assert (height, view, kind) >= last
        last = (height, view, kind)


def test_identical_bytes_return_the_stored_signature() -> None:
    signer = make_signer()
    vote = sign(signer, 1, 0, PREVOTE, X)
    again = make_signer(signer.record)
    record = again.record
    assert sign(again, 1, 0, PREVOTE, X) == vote
    assert again.record is record
    assert sign(again, 1, 0, PREVOTE, NIL) is None


def test_what_binds_the_member_is_in_the_record() -> None:
    signer = make_signer()
    block = make_block(TIP, b"tx")
    polka = Polka(tuple(make_vote(PREVOTE, 1, block.hash, sender) for sender in (1, 2, 3)))
    valid = Valid(View(0), block, polka)
    signer.sign(PRECOMMIT, Height(1), View(0), NO_VIEW, block.hash, lambda: (View(0), block.hash, valid))
    assert signer.record is not None
    again = decode_record(encode_record(signer.record))
    assert again == signer.record
    assert (again.locked_view, again.locked_value, again.valid) == (0, block.hash, valid)


def test_every_damaged_byte_is_noticed() -> None:
    signer = make_signer()
    sign(signer, 1, 0, PREVOTE, X)
    assert signer.record is not None
    data = encode_record(signer.record)
    for index in range(len(data)):
        with pytest.raises(StorageError):
            decode_record(data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :])
        with pytest.raises(StorageError):
            decode_record(data[:index])
    with pytest.raises(StorageError):
        decode_record(data + b"\x00")


def test_missing_or_foreign_records_refuse_and_say_why() -> None:
    fresh = initial_record(CHAIN_ID, REAL[ME].public_key)
    refusals = {
        VoteSigner(CHAIN_ID, ME, REAL[ME], None).refusal,
        make_signer(dataclasses.replace(fresh, chain_id=b"x" * 32)).refusal,
        VoteSigner(CHAIN_ID, None, None, None).refusal,
    }
    assert len(refusals) == 3
    assert None not in refusals
    assert make_signer(dataclasses.replace(fresh, public_key=b"x" * 32)).refusal is not None
    assert sign(VoteSigner(CHAIN_ID, ME, REAL[ME], None), 1, 0, PREVOTE) is None


def test_a_newer_signature_of_ours_stops_signing() -> None:
    for height, view, step, signed, is_stopped in (
        (1, 0, PREVOTE, None, False), (1, 0, PREVOTE, b"other", True), (1, 0, PRECOMMIT, None, True),
        (2, 0, PREVOTE, None, True), (0, 9, PRECOMMIT, b"old", False),
    ):
        signer = make_signer()
        sign(signer, 1, 0, PREVOTE, X)
        signer.notice(height, view, step, signed)
        assert (signer.refusal is not None) is is_stopped
        assert (sign(signer, 9, 0, PREVOTE) is None) is is_stopped
