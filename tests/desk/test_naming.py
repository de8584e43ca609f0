"""Names and their beginnings: one meaning, or a refusal that lists what was meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.crypto import Domain, tagged_hash
from fednode.desk.naming import candidates, named
from fednode.desk.views import choose_study
from fednode.errors import Refused
from fednode.ids import StudyId

NAMES = {1: "St. Anna", 2: "St. Berta", 3: "St. Ann", 4: "Dora"}


@pytest.mark.parametrize(("text", "found"), [
    ("St. Ann", [3]),           # exact, although another name begins so
    ("St. Anna", [1]),
    ("st. b", [2]),
    ("D", [4]),
    ("St.", [1, 2, 3]),
    ("Berta", []),              # the beginning of a name, not a part of it
    ("", []),
])
def test_a_name_goes_before_its_beginning(text: str, found: list[int]) -> None:
    assert named(NAMES, text) == found


@given(st.dictionaries(st.integers(0, 9), st.text(max_size=4), max_size=6), st.text(max_size=4))
def test_what_is_found_begins_so(names: dict[int, str], text: str) -> None:
    found = named(names, text)
    assert all(names[key].casefold().startswith(text.casefold()) for key in found)
    if text in names.values():
        assert {names[key] for key in found} == {text}


def test_an_error_lists_what_was_meant_or_what_there_is() -> None:
    assert candidates(NAMES, [1, 3]) == "'St. Anna', 'St. Ann'"
    assert candidates(NAMES, []).count("'") == 8
    assert candidates({}, []) == "none yet"


def study(text: str) -> StudyId:
    return StudyId(tagged_hash(Domain.STUDY, text.encode()))


def test_a_study_is_chosen_by_name_beginning_or_id() -> None:
    heart, heart2, liver = study("a"), study("b"), study("c")
    names = {heart: "heart", heart2: "heart-2", liver: "liver-disease"}
    called = {"heart": heart, "heart-": heart2, "liver": liver, liver.hex(): liver, heart.hex()[:8]: heart}
    for text, meant in called.items():
        assert choose_study(names, text, Refused) == meant
    for text, why in {"h": "2 studies are", "kidney": "no study is", "": "no study is"}.items():
        with pytest.raises(Refused, match=f"{why} called '{text}'"):
            choose_study(names, text, Refused)


def test_a_beginning_that_fits_a_name_and_an_id_is_refused() -> None:
    first = study("a")
    names = {first: "liver", study("b"): first.hex()[:6] + "-study"}
    with pytest.raises(Refused, match="2 studies"):
        choose_study(names, first.hex()[:4], Refused)
