"""Blocks, certificates, member sets and the rota."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.chain.block import (
    MAX_EVIDENCE_AGE,
    Block,
    BlockContext,
    Execution,
    Tip,
    advance,
    assemble,
    check_form,
    check_link,
    check_outcome,
    decode_block,
    genesis_tip,
)
from fednode.chain.state import EMPTY_ROOT
from fednode.chain.vote import (
    NIL,
    NO_VIEW,
    PRECOMMIT,
    PREVOTE,
    Certificate,
    Evidence,
    Member,
    MemberSet,
    Rota,
    Vote,
    domain_of,
    make_certificate,
    make_evidence,
    sign_bytes,
    verify_certificate,
    verify_evidence,
    verify_vote,
)
from fednode.codec import decode, encode
from fednode.errors import Rejected
from fednode.ids import Height, MemberId, View, fault_bound, quorum
from tests.sim.keys import CHAIN_ID, GENESIS_MS, make_members
from tests.sim.ledger import PARAMS

MEMBERS, SIGNERS, CHECK = make_members(4)
TIP = genesis_tip(CHAIN_ID, MEMBERS, GENESIS_MS)


def make_vote(kind: int, height: int, value: bytes, sender: int, view: int = 0, valid_view: int = NO_VIEW) -> Vote:
    message = sign_bytes(CHAIN_ID, kind, height, view, valid_view, value)
    signature = SIGNERS[MemberId(sender)].sign(domain_of(kind), message)
    return Vote(kind, Height(height), View(view), View(valid_view), value, MemberId(sender), signature)


def make_block(
    tip: Tip, *transactions: bytes, certificate: Certificate | None = None, evidence: tuple[Evidence, ...] = ()
) -> Block:
    context = BlockContext(CHAIN_ID, Height(tip.height + 1), tip.time_ms + 5, tip.proposer(0), evidence)
    done = Execution(transactions, EMPTY_ROOT, EMPTY_ROOT, PARAMS, MEMBERS)
    return assemble(tip, context, done, certificate)


def certify(block: Block, senders: tuple[int, ...] = (1, 2, 3), view: int = 0) -> Certificate:
    return make_certificate(
        MEMBERS, [make_vote(PRECOMMIT, block.header.height, block.hash, sender, view) for sender in senders]
    )


# --- quorums and turns ----------------------------------------------------------------------------------------

def test_two_quorums_share_an_honest_member_and_the_honest_are_a_quorum() -> None:
    for n in range(4, 201):
        f, q = fault_bound(n), quorum(n)
        assert 2 * q - n >= f + 1
        assert n - f >= q
        assert q == n - f


def test_below_four_everybody_is_needed() -> None:
    assert [(quorum(n), fault_bound(n)) for n in (1, 2, 3)] == [(1, 0), (2, 0), (3, 0)]


@given(st.integers(1, 40), st.integers(1, 10_000))
def test_turns_are_fair(count: int, first: int) -> None:
    members = MemberSet(tuple(Member(MemberId(i), i.to_bytes(32, "big")) for i in range(1, count + 1)))
    leaders = Counter(Rota().order(members, CHAIN_ID, Height(first + i))[0] for i in range(3 * count))
    assert set(leaders.values()) == {3}
    order = Rota().order(members, CHAIN_ID, Height(first))
    assert sorted(order) == list(members.ids)
    if count > 1:
        assert order[0] != Rota().order(members, CHAIN_ID, Height(first + 1))[0]


def test_skipped_leader_goes_to_the_end_until_it_signs_again() -> None:
    order = TIP.next_order
    others = frozenset(order[1:])
    rota = Rota().after(MEMBERS, others, 1, order)
    assert rota.skipped == (order[0],)
    for height in range(3, 12):
        assert rota.order(MEMBERS, CHAIN_ID, Height(height))[-1] == order[0]
        rota = rota.after(MEMBERS, others, 0, rota.order(MEMBERS, CHAIN_ID, Height(height)))
    rota = rota.after(MEMBERS, frozenset(MEMBERS.ids), 0, order)
    assert rota == Rota()


def test_member_absent_from_2n_certificates_goes_to_the_end() -> None:
    rota, present = Rota(), frozenset(MEMBERS.ids[1:])
    for _ in range(7):
        rota = rota.after(MEMBERS, present, 0, TIP.next_order)
    assert rota.order(MEMBERS, CHAIN_ID, Height(9)) == Rota().order(MEMBERS, CHAIN_ID, Height(9))
    rota = rota.after(MEMBERS, present, 0, TIP.next_order)
    assert {rota.order(MEMBERS, CHAIN_ID, Height(h))[-1] for h in range(9, 14)} == {MEMBERS.ids[0]}


def test_member_set_refuses_repeats_and_disorder() -> None:
    one, two = MEMBERS.members[:2]
    for bad in ((), (one, one), (two, one), (one, Member(MemberId(9), one.sign_key))):
        with pytest.raises(ValueError, match="member"):
            MemberSet(bad)


# --- votes and evidence ---------------------------------------------------------------------------------------

def test_signature_is_worthless_in_any_other_place() -> None:
    vote = make_vote(PREVOTE, 5, b"v" * 32, 1, view=3, valid_view=1)
    verify_vote(vote, MEMBERS, CHAIN_ID, CHECK)
    with pytest.raises(Rejected):
        verify_vote(vote, MEMBERS, b"x" * 32, CHECK)
    moved = [
        {"kind": PRECOMMIT, "valid_view": NO_VIEW}, {"height": 6}, {"view": 4}, {"valid_view": 2}, {"value": NIL},
        {"sender": 2}, {"sender": 99},
    ]
    for changes in moved:
        with pytest.raises(Rejected):
            verify_vote(dataclasses.replace(vote, **changes), MEMBERS, CHAIN_ID, CHECK)  # type: ignore[arg-type]


def test_evidence_needs_two_contradicting_signed_votes() -> None:
    one, other = make_vote(PREVOTE, 5, NIL, 1), make_vote(PREVOTE, 5, b"v" * 32, 1)
    evidence = make_evidence(other, one)
    assert evidence == make_evidence(one, other)
    assert decode(Evidence, encode(evidence), 1000) == evidence
    verify_evidence(evidence, MEMBERS, CHAIN_ID, CHECK)
    with pytest.raises(ValueError, match="contradict"):
        make_evidence(one, one)
    with pytest.raises(ValueError, match="contradict"):
        make_evidence(one, make_vote(PREVOTE, 6, b"v" * 32, 1))
    with pytest.raises(ValueError, match="order"):
        Evidence(other, one)
    with pytest.raises(Rejected):
        verify_evidence(
            make_evidence(one, dataclasses.replace(other, signature=bytes(64))), MEMBERS, CHAIN_ID, CHECK
        )


# --- certificates ---------------------------------------------------------------------------------------------

def test_certificate_of_a_quorum_holds() -> None:
    block = make_block(TIP)
    for senders in ((1, 2, 3), (1, 3, 4), (1, 2, 3, 4)):
        certificate = certify(block, senders)
        assert decode(Certificate, encode(certificate), 1000) == certificate
        assert verify_certificate(certificate, MEMBERS, CHAIN_ID, CHECK) == senders


def test_broken_certificates_do_not() -> None:
    good = certify(make_block(TIP))
    bad = [
        dataclasses.replace(good, bitmap=b"\x03", signatures=good.signatures[:2]),
        dataclasses.replace(good, bitmap=b"\x0f"),
        dataclasses.replace(good, bitmap=b"\x17"),
        dataclasses.replace(good, bitmap=b"\x07\x00"),
        dataclasses.replace(good, bitmap=b"\x0e"),
        dataclasses.replace(good, signatures=(good.signatures[0],) * 3),
        dataclasses.replace(good, signatures=good.signatures[::-1]),
        dataclasses.replace(good, view=View(1)),
        dataclasses.replace(good, height=Height(2)),
        dataclasses.replace(good, block_hash=b"x" * 32),
    ]
    for certificate in bad:
        with pytest.raises(Rejected):
            verify_certificate(certificate, MEMBERS, CHAIN_ID, CHECK)


def test_known_signatures_are_not_checked_again_but_compared() -> None:
    certificate = certify(make_block(TIP))
    known = {MemberId(i): certificate.signatures[i - 1] for i in (1, 2, 3)}
    verify_certificate(certificate, MEMBERS, CHAIN_ID, lambda *args: False, known)
    with pytest.raises(Rejected):
        verify_certificate(certificate, MEMBERS, CHAIN_ID, lambda *args: False, {**known, MemberId(2): bytes(64)})


# --- blocks ---------------------------------------------------------------------------------------------------

def test_block_survives_its_encoding() -> None:
    first = make_block(TIP, b"one", b"two")
    tip = advance(TIP, first, MEMBERS)
    evidence = make_evidence(make_vote(PREVOTE, 1, NIL, 1), make_vote(PREVOTE, 1, b"v" * 32, 1))
    second = make_block(tip, b"three", certificate=certify(first), evidence=(evidence,))
    for block in (first, second):
        again = decode_block(block.encoded)
        assert again == block
        assert again.hash == block.hash
    check_link(TIP, first)
    check_link(tip, second)


def test_hash_covers_everything_through_the_header() -> None:
    first = make_block(TIP, b"one")
    tip = advance(TIP, first, MEMBERS)
    block = make_block(tip, b"one", certificate=certify(first))
    check_form(block)
    evidence = make_evidence(make_vote(PREVOTE, 1, NIL, 1), make_vote(PREVOTE, 1, b"v" * 32, 1))
    for changes in (
        {"transactions": (b"two",)}, {"transactions": (b"one", b"one")}, {"transactions": ()},
        {"evidence": (evidence,)}, {"parent_certificate": None}, {"parent_certificate": certify(first, (2, 3, 4))},
    ):
        with pytest.raises(Rejected):
            check_form(dataclasses.replace(block, **changes))  # type: ignore[arg-type]
    for field in dataclasses.fields(block.header):
        value = getattr(block.header, field.name)
        other = value + 1 if isinstance(value, int) else b"y" * 32
        changed = dataclasses.replace(block.header, **{field.name: other})
        assert dataclasses.replace(block, header=changed).hash != block.hash, field.name


def test_links_are_checked() -> None:
    first = make_block(TIP, b"one")
    tip = advance(TIP, first, MEMBERS)
    block = make_block(tip, certificate=certify(first))
    other = make_block(TIP, b"other")
    for changes in (
        {"chain_id": b"x" * 32}, {"height": 3}, {"parent_hash": b"x" * 32}, {"time_ms": tip.time_ms},
        {"members_hash": b"x" * 32}, {"proposer": 77},
    ):
        header = dataclasses.replace(block.header, **changes)  # type: ignore[arg-type]
        with pytest.raises(Rejected):
            check_link(tip, dataclasses.replace(block, header=header))
    with pytest.raises(Rejected):
        check_link(tip, make_block(tip, certificate=certify(other)))


def test_an_offence_is_recorded_once_and_not_for_ever() -> None:
    first = make_block(TIP)
    tip = advance(TIP, first, MEMBERS)
    certificate = certify(first)
    evidence = make_evidence(make_vote(PREVOTE, 1, NIL, 1), make_vote(PREVOTE, 1, b"v" * 32, 1))
    block = make_block(tip, certificate=certificate, evidence=(evidence,))
    check_link(tip, block)
    tip = advance(tip, block, MEMBERS)
    assert tip.offences == ((1, 1),)
    other = make_evidence(make_vote(PRECOMMIT, 1, NIL, 1), make_vote(PRECOMMIT, 1, b"v" * 32, 1))
    to_come = make_evidence(make_vote(PREVOTE, 9, NIL, 1), make_vote(PREVOTE, 9, b"v" * 32, 1))
    for piece in (evidence, other, to_come):
        with pytest.raises(Rejected):
            check_link(tip, make_block(tip, certificate=certify(block), evidence=(piece,)))
    for _ in range(MAX_EVIDENCE_AGE):
        certificate = certify(block)
        block = make_block(tip, certificate=certificate)
        tip = advance(tip, block, MEMBERS)
    assert tip.offences == ()
    with pytest.raises(Rejected, match="old"):
        check_link(tip, make_block(tip, certificate=certify(block), evidence=(evidence,)))


def test_outcome_must_be_the_one_the_header_names() -> None:
    block = make_block(TIP)
    good = Execution((), EMPTY_ROOT, EMPTY_ROOT, PARAMS, MEMBERS)
    check_outcome(block, good)
    fewer = MemberSet(MEMBERS.members[:3])
    for changes in (
        {"state_root": b"x" * 32}, {"receipts_root": b"x" * 32}, {"params_hash": b"x" * 32}, {"next_members": fewer},
        {"version": 2},
    ):
        with pytest.raises(Rejected):
            check_outcome(block, dataclasses.replace(good, **changes))  # type: ignore[arg-type]


def test_tip_survives_its_encoding() -> None:
    first = make_block(TIP)
    tip = advance(TIP, first, MEMBERS)
    tip = advance(tip, make_block(tip, certificate=certify(first, view=1)), MEMBERS)
    assert tip.rota.skipped == (TIP.next_order[0],)
    again = decode(Tip, encode(tip), 100_000)
    assert again == tip
    assert again.next_order == tip.next_order
