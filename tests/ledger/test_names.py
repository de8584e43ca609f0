"""Names people cannot tell apart never stand beside each other, and names hold nothing that does not show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.errors import GenesisError
from fednode.ledger.bodies import Memo
from fednode.ledger.genesis import make_genesis
from fednode.ledger.members.bodies import MemberPropose
from fednode.ledger.members.names import name_fault, skeletons
from tests.ledger.sum_world import World
from tests.support.cards import make_card, make_cards

ALIKE = [
    ("St. Anna", "ST ANNA"), ("St. Anna", "St.Anna"), ("Anna", "Αnna"), ("Anna", "Аnnа"), ("COPA", "СОРА"),
    ("Charité", "Charite"), ("Klinik 1", "Klinik l"), ("Klinik I", "Klinik 1"), ("Klinik 0", "Klinik O"),
    ("Sternberg", "Stemberg"), ("Weiss", "Weiß"), ("Anna", "Ann\u0430"), ("Öst", "Ost"),
    ("Clinic", "Dinic"), ("Anna", "Anna\u0301"), ("İzmir", "Izmir"), ("Nova", "Νονα"), ("Łódź", "Lodz"),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_what_looks_alike_has_one_skeleton(one: str, other: str) -> None:
    assert skeletons(one) & skeletons(other)


def test_other_names_have_others() -> None:
    names = ["St. Anna", "St. Berta", "St. Clara", "St. Dora", "Klinikum Nord", "Klinikum Süd", "Больница 1", "Клиника",
             "東京病院", "大阪病院", "서울병원", "Άγιος Σάββας", "Klinik 2", "Klinik 3",
             *(f"hospital-{i}" for i in range(200))]
    assert sum(len(skeletons(name)) for name in names) == len(frozenset().union(*map(skeletons, names)))
    assert all(name_fault(name) is None for name in names)


@pytest.mark.parametrize("name", [
    "", " ", " Anna", "Anna ", "...", "An\u200bna", "Anna\u202e", "An\u00adna", "Anna\u3164", "Anna\ufe0f",
    "An\u2800na",
    "Аnna", "Annа", "Ｓt Anna", "𝐀nna", "Anna\n", "Anna\x00", "Anna\ud800", "Anna\ue000", "Anna\U000e0041", "A\u00a0B",
    "ᏚᎢ",
])
def test_names_that_hide_something_are_refused(name: str) -> None:
    assert name_fault(name)


@given(st.text(max_size=64))
def test_any_text_gets_a_verdict_and_a_skeleton_of_its_own(name: str) -> None:
    assert name_fault(name) is None or name_fault(name)
    assert skeletons(name) & skeletons(name.upper()) and skeletons(name) & skeletons(name.lower())
    assert skeletons(f" {name}.") & skeletons(name)


def test_a_genesis_and_the_rules_refuse_them_beside_each_other() -> None:
    with pytest.raises(GenesisError, match="look alike .*hospital-1.*"):
        make_genesis("test", [*make_cards(3), make_card("HOSPITAL-l")], [], 1000)
    world = World(4)
    assert world.refused(1, MemberPropose(make_card("Hospital 1"))) == "name-alike"
    assert world.post(1, MemberPropose(make_card("Clara"))).ok
    assert world.refused(2, MemberPropose(make_card("C1ara"))) == "name-alike"
    assert world.post(2, Memo("on")).ok


def test_a_card_with_such_a_name_is_none() -> None:
    with pytest.raises(GenesisError, match="different scripts"):
        make_card("Аnna")
