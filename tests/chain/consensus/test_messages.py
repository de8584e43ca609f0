"""Consensus messages: the wire, and the check every message passes before a replica sees it."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.chain.consensus.messages import (
    BlockRequest,
    BlockResponse,
    ConsensusMessage,
    Decision,
    Polka,
    Proposal,
    Status,
    ViewCertificate,
    VoteSummary,
    bundle_bound,
    decode_message,
    encode_message,
    make_bundles,
    verify_message,
)
from fednode.chain.vote import NIL, NO_VIEW, PRECOMMIT, PREVOTE, PROPOSAL, Vote, make_evidence
from fednode.codec import encode
from fednode.crypto import Domain
from fednode.errors import Rejected
from fednode.ids import Height, MemberId, View
from tests.chain.test_block import CHECK, MEMBERS, TIP, certify, make_block, make_vote
from tests.sim.keys import CHAIN_ID

BLOCK = make_block(TIP, b"tx")
OTHER = make_block(TIP, b"other")
POLKA = Polka(tuple(make_vote(PREVOTE, 1, BLOCK.hash, sender) for sender in (1, 2, 3)))
GOOD: list[ConsensusMessage] = [
    Proposal(make_vote(PROPOSAL, 1, BLOCK.hash, 1), BLOCK),
    make_vote(PREVOTE, 1, BLOCK.hash, 1, view=2, valid_view=1),
    make_vote(PRECOMMIT, 1, NIL, 1),
    Decision(BLOCK, certify(BLOCK)),
    POLKA,
    ViewCertificate((make_vote(PRECOMMIT, 1, NIL, 1), make_vote(PREVOTE, 1, NIL, 1, view=1))),
    VoteSummary(Height(1), View(0), True, b"\x03", b"\x00"),
    BlockRequest(Height(1), BLOCK.hash),
    BlockResponse(BLOCK),
    make_evidence(make_vote(PREVOTE, 1, NIL, 1), make_vote(PREVOTE, 1, BLOCK.hash, 1)),
    Status(1, CHAIN_ID, Height(3), BLOCK.hash),
]


@pytest.mark.parametrize("message", GOOD, ids=lambda message: type(message).__name__)
def test_good_messages_survive_the_wire_and_the_check(message: ConsensusMessage) -> None:
    data = encode_message(message)
    again = decode_message(data)
    assert again == message
    verify_message(again, MEMBERS, CHAIN_ID, CHECK)
    with pytest.raises(Rejected):
        decode_message(data + b"\x00")
    with pytest.raises(Rejected):
        decode_message(encode(message))  # without its number


@given(st.sampled_from(GOOD), st.data())
def test_a_flipped_bit_never_passes(message: ConsensusMessage, data: st.DataObject) -> None:
    raw = bytearray(encode_message(message))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        again = decode_message(bytes(raw))
        verify_message(again, MEMBERS, CHAIN_ID, CHECK)
    except Rejected:
        return
    assert isinstance(again, VoteSummary | BlockRequest | BlockResponse | Status)  # unsigned: nothing rests on them


BAD: list[ConsensusMessage] = [
    Proposal(make_vote(PROPOSAL, 1, OTHER.hash, 1), BLOCK),
    Proposal(make_vote(PROPOSAL, 1, BLOCK.hash, 1), dataclasses.replace(BLOCK, transactions=(b"x",))),
    make_vote(PROPOSAL, 1, BLOCK.hash, 1),
    dataclasses.replace(make_vote(PREVOTE, 1, NIL, 1), signature=bytes(64)),
    Decision(BLOCK, certify(OTHER)),
    Decision(dataclasses.replace(BLOCK, transactions=(b"x",)), certify(BLOCK)),
    Polka(POLKA.votes[:2]),
    Polka((*POLKA.votes[:2], dataclasses.replace(POLKA.votes[2], signature=bytes(64)))),
    ViewCertificate((make_vote(PREVOTE, 1, NIL, 1), dataclasses.replace(POLKA.votes[1], signature=bytes(64)))),
    ViewCertificate((make_vote(PROPOSAL, 1, BLOCK.hash, 1),)),
    BlockResponse(dataclasses.replace(BLOCK, transactions=(b"x",))),
    make_evidence(
        make_vote(PREVOTE, 1, NIL, 1), dataclasses.replace(make_vote(PREVOTE, 1, BLOCK.hash, 1), signature=bytes(64))
    ),
]


@pytest.mark.parametrize("message", BAD, ids=lambda message: type(message).__name__)
def test_bad_messages_do_not(message: ConsensusMessage) -> None:
    with pytest.raises(Rejected):
        verify_message(message, MEMBERS, CHAIN_ID, CHECK)


def test_impossible_messages_cannot_be_made() -> None:
    prevote = make_vote(PREVOTE, 1, BLOCK.hash, 1)
    impossible = [
        lambda: Proposal(prevote, BLOCK),
        lambda: Proposal(make_vote(PROPOSAL, 2, BLOCK.hash, 1), BLOCK),
        lambda: Polka((prevote, prevote)),
        lambda: Polka((prevote, make_vote(PREVOTE, 1, NIL, 2))),
        lambda: ViewCertificate((prevote, make_vote(PREVOTE, 2, NIL, 2))),
        lambda: ViewCertificate((prevote, make_vote(PREVOTE, 1, NIL, 2), prevote)),
        lambda: ViewCertificate((prevote, dataclasses.replace(prevote, signature=bytes(64)))),
        lambda: ViewCertificate(tuple(make_vote(PREVOTE, 1, bytes([value]) * 32, 1) for value in range(3))),
        lambda: Decision(BLOCK, dataclasses.replace(certify(BLOCK), height=Height(2))),
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
    bound = bundle_bound(len(MEMBERS))
    assert bound == len(MEMBERS) * 2 * 2
    checks = Counted()
    verify_message(ViewCertificate(tuple(votes_of(1))), MEMBERS, CHAIN_ID, checks)
    assert checks.count == bound
    one_more = ViewCertificate((*votes_of(1), make_vote(PREVOTE, 1, NIL, 1, view=9)))
    checks = Counted()
    with pytest.raises(Rejected, match="in a bundle"):
        verify_message(one_more, MEMBERS, CHAIN_ID, checks)
    assert checks.count == 0


@pytest.mark.parametrize("message", GOOD, ids=lambda message: type(message).__name__)
def test_no_message_costs_more_checks_than_a_bundle(message: ConsensusMessage) -> None:
    checks = Counted()
    verify_message(message, MEMBERS, CHAIN_ID, checks)
    assert checks.count <= bundle_bound(len(MEMBERS))


def test_a_vote_repeated_in_a_bundle_is_refused_before_anything_is_checked() -> None:
    vote = make_vote(PREVOTE, 1, NIL, 1)
    good = encode_message(ViewCertificate((vote, make_vote(PREVOTE, 1, NIL, 2))))
    once = encode_message(vote)[2:]
    assert good.count(once) == 1
    twice = good.replace(encode_message(make_vote(PREVOTE, 1, NIL, 2))[2:], once)
    with pytest.raises(Rejected, match="twice"):
        decode_message(twice)


def test_a_stranger_among_the_votes_costs_no_check() -> None:
    checks = Counted()
    stranger = dataclasses.replace(make_vote(PREVOTE, 1, NIL, 1), sender=MemberId(77))
    with pytest.raises(Rejected, match="77"):
        verify_message(ViewCertificate((*votes_of(1)[:9], stranger)), MEMBERS, CHAIN_ID, checks)
    assert checks.count == 0


@given(st.lists(st.sampled_from(votes_of(4)), min_size=1, max_size=150))
def test_bundles_hold_every_vote_once_and_pass_the_check(votes: list[Vote]) -> None:
    bundles = make_bundles(votes, len(MEMBERS))
    assert [vote for bundle in bundles for vote in bundle.votes] == list(dict.fromkeys(votes))
    for bundle in bundles:
        assert len(bundle.votes) <= bundle_bound(len(MEMBERS))
        assert decode_message(encode_message(bundle)) == bundle
        verify_message(bundle, MEMBERS, CHAIN_ID, lambda *asked: True)
