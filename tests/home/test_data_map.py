from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.documents import read_toml
from fednode.errors import ConfigError
from fednode.home.config import load_config
from fednode.home.data_map import DataMap, map_toml
from fednode.learn.tables.site_map import PLAIN, OtherName, OtherUnit, OtherValue, SiteMap

HEAD = """
format = 1
[node]
name = "A"
home = ".."
[data]
default = "all.csv"
"""
Word = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\ufeff"), min_size=1, max_size=15)


@given(
    names=st.dictionaries(Word, Word, max_size=3),
    values=st.dictionaries(Word, st.dictionaries(Word, Word, min_size=1)),
    units=st.dictionaries(Word, st.dictionaries(Word, st.sampled_from(["1", "0.1", "17.1"]), min_size=1), max_size=3),
    missing=st.lists(Word, max_size=3), decimal=st.sampled_from([".", ","]),
)
def test_what_is_offered_is_read_back_as_it_was_tried(
    names: dict[str, str], values: dict[str, dict[str, str]], units: dict[str, dict[str, str]], missing: list[str],
    decimal: str,
) -> None:
    site = SiteMap(
        tuple(OtherName(*pair) for pair in names.items()),
        tuple(OtherValue(c, cell, value) for c, pairs in values.items() for cell, value in pairs.items()),
        tuple(OtherUnit(c, text, factor) for c, several in units.items() for text, factor in several.items()),
        tuple(missing), decimal,
    )
    document = read_toml("\n".join(map_toml("a study", site)))
    assert DataMap.model_validate(document["data"]["map"]["a study"]).site_map() == site


def load(tmp_path: Path, text: str):  # type: ignore[no-untyped-def]
    path = tmp_path / "hospital.toml"
    path.write_text(HEAD + text)
    return load_config(path, {}).values


def test_a_study_has_its_own_map_or_the_default(tmp_path: Path) -> None:
    study = bytes(range(32))
    config = load(tmp_path, f"""
[data.map.default]
decimal = ","
[data.map.liver]
names.age = "Alter"
values.outcome = {{ "2" = "died", dead = "died" }}
missing = [-9, "n.a."]
units.bilirubin = "mg/dl"
units.albumin = {{ text = "g/l", factor = 0.1 }}
[data.map.{study.hex()}]
missing = ["-"]
""")
    assert config.site_map("heart", bytes(32)) == SiteMap(decimal=",")
    assert config.site_map("liver", bytes(32)) == SiteMap(
        (OtherName("age", "Alter"),), (OtherValue("outcome", "2", "died"), OtherValue("outcome", "dead", "died")),
        (OtherUnit("bilirubin", "mg/dl"), OtherUnit("albumin", "g/l", "0.1")), ("-9", "n.a."), ".",
    )
    assert config.site_map("liver", study).missing == ("-",)
    data = config.data_at("liver", study)
    assert data is not None and data.site.missing == ("-",) and data.path.endswith("all.csv")
    assert load(tmp_path, "").site_map("liver", study) == PLAIN


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[data.map.x]\ndecimal = ";"', "decimal"),
        ('[data.map.x]\nname = { age = "A" }', "map.x.name"),
        ('[data.map.x]\nunits.a = { text = "g", factor = 0 }', "factor 0 of column 'a'"),
        ('[data.map.x]\nunits.a = { text = "g", factor = "much" }', "is no number"),
        (f'[data.map.x]\nnames.a = "{"A" * 300}"', "too long"),
        ('[data.map.x]\nnames.a = ""', "empty or too long"),
        ("map = 1", "map"),
    ],
)
def test_a_wrong_map_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)
