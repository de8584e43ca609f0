"""Consensus messages: the wire, and the check every message passes before a replica sees it."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.chain.consensus import messages as m
from fednode.chain.vote import NIL, NO_VIEW, PRECOMMIT, PREVOTE, PROPOSAL, Vote, make_evidence
from fednode.codec import encode
from fednode.crypto import Domain
from fednode.errors import Rejected
from fednode.ids import Height, MemberId, View
from tests.chain.test_block import CHECK, MEMBERS, TIP, certify, make_block, make_vote
from tests.sim.keys import CHAIN_ID

BLOCK = make_block(TIP, b"tx")
OTHER = make_block(TIP, b"other")
POLKA = m.Polka(tuple(make_vote(PREVOTE, 1, BLOCK.hash, sender) for sender in (1, 2, 3)))
GOOD: list[m.ConsensusMessage] = [
    m.Proposal(make_vote(PROPOSAL, 1, BLOCK.hash, 1), BLOCK),
    make_vote(PREVOTE, 1, BLOCK.hash, 1, view=2, valid_view=1),
    make_vote(PRECOMMIT, 1, NIL, 1),
    m.Decision(BLOCK, certify(BLOCK)),
    POLKA,
    m.ViewCertificate((make_vote(PRECOMMIT, 1, NIL, 1), make_vote(PREVOTE, 1, NIL, 1, view=1))),
    m.VoteSummary(Height(1), View(0), True, b"\x03", b"\x00"),
    m.BlockRequest(Height(1), BLOCK.hash),
    m.BlockResponse(BLOCK),
    make_evidence(make_vote(PREVOTE, 1, NIL, 1), make_vote(PREVOTE, 1, BLOCK.hash, 1)),
    m.Status(1, CHAIN_ID, Height(3), BLOCK.hash),
]


@pytest.mark.parametrize("message", GOOD, ids=lambda message: type(message).__name__)
def test_good_messages_survive_the_wire_and_the_check(message: m.ConsensusMessage) -> None:
    data = m.encode_message(message)
    again = m.decode_message(data)
    assert again == message
    m.verify_message(again, MEMBERS, CHAIN_ID, CHECK)
    with pytest.raises(Rejected):
        m.decode_message(data + b"\x00")
    with pytest.raises(Rejected):
        m.decode_message(encode(message))  # without its number


@given(st.sampled_from(GOOD), st.data())
def test_a_flipped_bit_never_passes(message: m.ConsensusMessage, data: st.DataObject) -> None:
    raw = bytearray(m.encode_message(message))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        again = m.decode_message(bytes(raw))
        m.verify_message(again, MEMBERS, CHAIN_ID, CHECK)
    except Rejected:
        return
    # These are unsigned: nothing rests on them.
    assert isinstance(again, m.VoteSummary | m.BlockRequest | m.BlockResponse | m.Status)


BAD: list[m.ConsensusMessage] = [
    m.Proposal(make_vote(PROPOSAL, 1, OTHER.hash, 1), BLOCK),
    m.Proposal(make_vote(PROPOSAL, 1, BLOCK.hash, 1), dataclasses.replace(BLOCK, transactions=(b"x",))),
    make_vote(PROPOSAL, 1, BLOCK.hash, 1),
    dataclasses.replace(make_vote(PREVOTE, 1, NIL, 1), signature=bytes(64)),
    m.Decision(BLOCK, certify(OTHER)),
    m.Decision(dataclasses.replace(BLOCK, transactions=(b"x",)), certify(BLOCK)),
    m.Polka(POLKA.votes[:2]),
    m.Polka((*POLKA.votes[:2], dataclasses.replace(POLKA.votes[2], signature=bytes(64)))),
    m.ViewCertificate((make_vote(PREVOTE, 1, NIL, 1), dataclasses.replace(POLKA.votes[1], signature=bytes(64)))),
    m.ViewCertificate((make_vote(PROPOSAL, 1, BLOCK.hash, 1),)),
    m.BlockResponse(dataclasses.replace(BLOCK, transactions=(b"x",))),
    make_evidence(
        make_vote(PREVOTE, 1, NIL, 1), dataclasses.replace(make_vote(PREVOTE, 1, BLOCK.hash, 1), signature=bytes(64))
    ),
]


@pytest.mark.parametrize("message", BAD, ids=lambda message: type(message).__name__)
def test_bad_messages_do_not(message: m.ConsensusMessage) -> None:
    with pytest.raises(Rejected):
        m.verify_message(message, MEMBERS, CHAIN_ID, CHECK)


def test_impossible_messages_cannot_be_made() -> None:
    prevote = make_vote(PREVOTE, 1, BLOCK.hash, 1)
    impossible = [
        lambda: m.Proposal(prevote, BLOCK),
        lambda: m.Proposal(make_vote(PROPOSAL, 2, BLOCK.hash, 1), BLOCK),
        lambda: m.Polka((prevote, prevote)),
        lambda: m.Polka((prevote, make_vote(PREVOTE, 1, NIL, 2))),
        lambda: m.ViewCertificate((prevote, make_vote(PREVOTE, 2, NIL, 2))),
        lambda: m.ViewCertificate((prevote, make_vote(PREVOTE, 1, NIL, 2), prevote)),
        lambda: m.ViewCertificate((prevote, dataclasses.replace(prevote, signature=bytes(64)))),
        lambda: m.ViewCertificate(tuple(make_vote(PREVOTE, 1, bytes([value]) * 32, 1) for value in range(3))),
        lambda: m.Decision(BLOCK, dataclasses.replace(certify(BLOCK), height=Height(2))),
        lambda: Vote(PREVOTE, Height(1), View(1), View(1), NIL, prevote.sender, prevote.signature),
        lambda: Vote(PRECOMMIT, Height(1), View(1), View(0), NIL, prevote.sender, prevote.signature),
        lambda: Vote(PROPOSAL, Height(1), View(1), NO_VIEW, NIL, prevote.sender, prevote.signature),
    ]
    for make in impossible:
        with pytest.raises(ValueError, match=r"\w"):
            make()


# --- what one message may cost --------------------------------------------------------------------------------

class Counted:
    """The check, counting."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, key: bytes, domain: Domain, message: bytes, signature: bytes) -> bool:
        self.count += 1
        return CHECK(key, domain, message, signature)


def votes_of(views: int, senders: int = 4, values: int = 2) -> list[Vote]:
    """Genuine votes of both kinds, all different."""
    return [
        make_vote(kind, 1, bytes([value]) * 32, sender, view=view)
        for view in range(views) for kind in (PREVOTE, PRECOMMIT) for sender in range(1, senders + 1)
        for value in range(values)
    ]


def test_a_bundle_costs_no_more_checks_than_members_times_kinds_times_two() -> None:
    bound = m.bundle_bound(len(MEMBERS))
    assert bound == len(MEMBERS) * 2 * 2
    checks = Counted()
    m.verify_message(m.ViewCertificate(tuple(votes_of(1))), MEMBERS, CHAIN_ID, checks)
    assert checks.count == bound
    one_more = m.ViewCertificate((*votes_of(1), make_vote(PREVOTE, 1, NIL, 1, view=9)))
    checks = Counted()
    with pytest.raises(Rejected, match="in a bundle"):
        m.verify_message(one_more, MEMBERS, CHAIN_ID, checks)
    assert checks.count == 0


@pytest.mark.parametrize("message", GOOD, ids=lambda message: type(message).__name__)
def test_no_message_costs_more_checks_than_a_bundle(message: m.ConsensusMessage) -> None:
    checks = Counted()
    m.verify_message(message, MEMBERS, CHAIN_ID, checks)
    assert checks.count <= m.bundle_bound(len(MEMBERS))


def test_a_vote_repeated_in_a_bundle_is_refused_before_anything_is_checked() -> None:
    vote = make_vote(PREVOTE, 1, NIL, 1)
    good = m.encode_message(m.ViewCertificate((vote, make_vote(PREVOTE, 1, NIL, 2))))
    once = m.encode_message(vote)[2:]
    assert good.count(once) == 1
    twice = good.replace(m.encode_message(make_vote(PREVOTE, 1, NIL, 2))[2:], once)
    with pytest.raises(Rejected, match="twice"):
        m.decode_message(twice)


def test_a_stranger_among_the_votes_costs_no_check() -> None:
    checks = Counted()
    stranger = dataclasses.replace(make_vote(PREVOTE, 1, NIL, 1), sender=MemberId(77))
    with pytest.raises(Rejected, match="77"):
        m.verify_message(m.ViewCertificate((*votes_of(1)[:9], stranger)), MEMBERS, CHAIN_ID, checks)
    assert checks.count == 0


@given(st.lists(st.sampled_from(votes_of(4)), min_size=1, max_size=150))
def test_bundles_hold_every_vote_once_and_pass_the_check(votes: list[Vote]) -> None:
    bundles = m.make_bundles(votes, len(MEMBERS))
    assert [vote for bundle in bundles for vote in bundle.votes] == list(dict.fromkeys(votes))
    for bundle in bundles:
        assert len(bundle.votes) <= m.bundle_bound(len(MEMBERS))
        assert m.decode_message(m.encode_message(bundle)) == bundle
        m.verify_message(bundle, MEMBERS, CHAIN_ID, lambda *asked: True)
