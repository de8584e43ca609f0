from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fednode.crypto import Ed25519Signer, Secret
from fednode.errors import GenesisError
from fednode.ledger.genesis import (
    GenesisStudy,
    describe_members,
    genesis_to_toml,
    make_genesis,
    parse_genesis,
)
from fednode.ledger.members.identity import card_to_toml, check_card, make_identity_card, parse_card
from fednode.ledger.members.reading import get_chain, get_members
from fednode.ledger.studies.bodies import Weights
from fednode.ledger.studies.records import StudyStatus, get_spec, get_studies, get_study
from tests.ledger.world import SPEC, TERMS, make_test_genesis
from tests.support.cards import make_card, make_cards
from tests.support.seeds import seed_of


def test_a_card_survives_its_file_and_proves_both_keys() -> None:
    card = make_card("Universitätsklinikum \"Nord\" \\ 1")
    assert parse_card(card_to_toml(card)) == card


@pytest.mark.parametrize(
    "field",
    ["name", "sign_key", "network_key", "addresses", "sign_proof", "network_proof"],
)
def test_nothing_on_a_card_can_be_exchanged(field: str) -> None:
    mine, other = make_card("mine"), make_card("other")
    value = ("/ip4/192.0.2.1/tcp/1",) if field == "addresses" else getattr(other, field)
    with pytest.raises(GenesisError):
        check_card(replace(mine, **{field: value}))


@pytest.mark.parametrize("key", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32, b"\xec" + b"\xff" * 30 + b"\x7f"])
def test_keys_of_small_order_or_not_canonical_are_refused(key: bytes) -> None:
    with pytest.raises(GenesisError, match="canonical key"):
        check_card(replace(make_card("a"), sign_key=key))


@pytest.mark.parametrize("name", ["", " ", "tab\there", "bell\x07", "x" * 65, "\u202eevil"])
def test_names_that_could_deceive_a_terminal_are_refused(name: str) -> None:
    with pytest.raises(GenesisError, match="the name of a member"):
        make_card(name)


def test_an_address_that_is_no_multiaddr_is_refused() -> None:
    with pytest.raises(GenesisError, match="no address of a TCP socket"):
        check_card(replace(make_card("a"), addresses=("192.0.2.1:4001",)))


def test_the_chain_id_depends_on_content_and_not_on_the_order_of_cards() -> None:
    cards = make_cards(4)
    ids = set()
    for seed in range(5):
        shuffled = random.Random(seed).sample(cards, 4)
        ids.add(make_genesis("x", shuffled, [], 5).chain_id)
    assert len(ids) == 1
    others = {make_genesis("y", cards, [], 5).chain_id, make_genesis("x", cards, [], 6).chain_id,
              make_genesis("x", make_cards(5), [], 5).chain_id, make_test_genesis(4, TERMS).chain_id}
    assert len(ids | others) == 5


def test_members_are_numbered_by_their_sign_keys() -> None:
    genesis = make_test_genesis(5)
    keys = [record.sign_key for record in get_members(genesis.first_state())]
    assert keys == sorted(keys)
    assert [genesis.member_of(key) for key in keys] == [1, 2, 3, 4, 5]
    with pytest.raises(GenesisError, match="not among the 5 members"):
        genesis.member_of(bytes(32))


def test_a_genesis_survives_its_file() -> None:
    genesis = make_test_genesis(4, TERMS, replace(TERMS, weights=Weights.EQUAL, weight_bound=1))
    text = genesis_to_toml(genesis)
    again = parse_genesis(text)
    assert again == genesis and again.chain_id == genesis.chain_id
    assert genesis.chain_id.hex() in text and "f = 1" in text


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "test"', 'name = "tested"', "chain id differs"),
        ("format = 1", "format = 2", "format 2"),
        ("protocol_version = 1", "protocol_version = 9", "protocol version 9"),
        ("time_ms = 1000", "time_ms = 'x'", "whole number"),
        ("time_ms = 1000", "", "'time_ms' is missing"),
        ("time_ms = 1000", "time_ms = 1000\nextra = 1", "unknown key 'extra'"),
        ("[[member]]", "[[member", "not valid TOML"),
        ('sign_key = "', 'sign_key = "zz', "not hexadecimal"),
        ('sign_key = "', 'sign_key = "00', "33 bytes"),
        ('spec = "', 'spec = "00', "chain id differs"),
        ('terms = "9', 'terms = "8', "cannot be read"),
    ],
)
def test_a_changed_genesis_file_is_refused_in_one_sentence(old: str, new: str, words: str) -> None:
    text = genesis_to_toml(make_test_genesis(3, TERMS))
    assert old in text
    with pytest.raises(GenesisError, match=words) as caught:
        parse_genesis(text.replace(old, new, 1))
    assert "\n" not in str(caught.value)


def test_one_card_cannot_be_two_members() -> None:
    cards = make_cards(3)
    with pytest.raises(GenesisError, match="names look alike"):
        make_genesis("x", [*cards, cards[0]], [], 1)


def test_two_members_cannot_share_a_key() -> None:
    sign, network = (Ed25519Signer(Secret(seed_of(kind))) for kind in ("s", "n"))
    cards = [make_identity_card(name, (), Ed25519Signer(Secret(seed_of(name))), network) for name in ("a", "b")]
    with pytest.raises(GenesisError, match=r"key appears twice \("):
        make_genesis("x", cards, [], 1)
    same = make_identity_card("c", (), sign, sign)
    with pytest.raises(GenesisError, match="key appears twice"):
        make_genesis("x", [same], [], 1)


def test_too_few_or_too_many_members() -> None:
    with pytest.raises(GenesisError, match="1 to 100 members"):
        make_genesis("x", [], [], 1)
    with pytest.raises(GenesisError, match="at least 3 members"):
        make_genesis("x", make_cards(2), [GenesisStudy(TERMS, SPEC)], 1)
    with pytest.raises(GenesisError, match="given twice"):
        make_genesis("x", make_cards(3), [GenesisStudy(TERMS, SPEC)] * 2, 1)


@pytest.mark.parametrize(
    ("count", "words"),
    [(1, "No training"), (2, "No training"), (3, "every loss voids the round"), (4, "f = 1 that is away"),
     (7, "f = 2 that are away"), (10, "T = 7")],
)
def test_words_say_what_the_number_of_members_means(count: int, words: str) -> None:
    assert words in " ".join(describe_members(count))


def test_the_first_state_holds_members_and_approved_studies() -> None:
    genesis = make_test_genesis(4, TERMS)
    state = genesis.first_state()
    assert get_chain(state).chain_id == genesis.chain_id
    (study,) = get_studies(state)
    record = get_study(state, study)
    assert record is not None and record.status == StudyStatus.WAITING and record.creator == 0
    assert get_spec(state, study) == SPEC
