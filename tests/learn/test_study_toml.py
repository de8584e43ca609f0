from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.errors import ConfigError
from fednode.learn.form import check_members, parse_study, read_study_form, study_form, to_toml
from fednode.learn.study import StudySpec, with_model
from fednode.learn.tables.kind import CategoryColumn, LabelColumn, LabelRule, NumberColumn, Tables
from fednode.learn.units import MAX_CLIP_Q24, MICRO, UNIT, to_micro
from fednode.texts import is_plain
from tests.support.studies import columns_of

GENESIS = Path(__file__).resolve().parents[2] / "genesis"


def test_decimals_are_exact_and_defaults_filled_in(spec: StudySpec, tables: Tables) -> None:
    assert spec.optimiser.learning_rate_micro == 50_000
    assert spec.clip_q24 == 3 * UNIT // 2
    assert tables.columns[1] == NumberColumn("pressure", "", 80_500_000, 200_000_000, ("?", "0"))
    assert tables.columns[2] == CategoryColumn("sex", ("0", "1"), ("?",))
    assert tables.label == LabelColumn("disease", ("not disease > 0", "disease > 0"), LabelRule(">", 0), ("?",))
    assert (spec.weights, spec.max_weight, spec.timeouts.train_timeout_s) == ("hidden", 1023, 60)


def test_written_text_reads_back_equal(spec: StudySpec) -> None:
    assert parse_study(to_toml(spec)) == spec


@given(
    text=st.text(st.characters(codec="utf-8"), min_size=1, max_size=15).filter(is_plain),
    clip=st.integers(1, 1024 * MICRO),
    low=st.integers(-(10**18), 10**18 - 1),
    width=st.integers(1, 10**6),
)
def test_any_text_and_decimal_survives_the_file(text: str, clip: int, low: int, width: int) -> None:
    base = parse_study((GENESIS / "heart.toml").read_text())
    column = NumberColumn(text, text[:8], low, min(low + width, 10**18), (text,))
    label = LabelColumn("\u00a7 label", ("no", "yes"), LabelRule("<=", low), ())
    clip_q24 = (clip * UNIT + MICRO // 2) // MICRO
    spec = replace(base, description=text, clip_q24=clip_q24, data=Tables((column, label)))
    spec = with_model(spec, spec.model)
    assert parse_study(to_toml(spec)) == spec


def test_clip_bounds_agree_between_file_and_record() -> None:
    assert 1024 * UNIT == MAX_CLIP_Q24


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format = 1", "format = 2", "format 2 is not known"),
        ("format = 1", "", "'format' is missing"),
        ("learning_rate = 0.05", "learning_rte = 0.05", "is 'learning_rte' meant to be it"),
        ("batch_size = 4", "batchsize = 4", "unknown key 'batchsize'; did you mean 'batch_size'"),
        ("batch_size = 4", "zzz = 4", "unknown key 'zzz'; known keys: .*batch_size"),
        ("rounds = 3", 'rounds = "3"', "'rounds' must be a whole number, not '3'"),
        ("rounds = 3", "rounds = true", "'rounds' must be a whole number"),
        ("rounds = 3", "rounds = 0", "'rounds' is 0; choose a value from 1 to 10000"),
        ("clip = 1.5", "clip = 1025", "'clip' is 1025; choose a value from 0.000001 to 1024"),
        ("clip = 1.5", "clip = nan", "'clip' must be a number with at most six decimals"),
        ("clip = 1.5", "clip = 0.0000001", "at most six decimals"),
        ('kind = "mlp"', 'kind = "cnn"', r"\[model\] kind 'cnn' is not known; choose mlp or logistic"),
        ("hidden = [4]", "hidden = [0]", r"a list of 1 to 8 whole numbers from 1 to 4096, for example \[64, 32\]"),
        ('kind = "mlp"\nhidden = [4]', 'kind = "logistic"\nhidden = [4]', "unknown key 'hidden'"),
        ('rule = "> 0"', 'rule = "~ 0"', "column 4 \\(disease\\): rule '~ 0' must be a comparison"),
        ('rule = "> 0"', 'rule = "> x"', "must be a comparison"),
        ('unit = "years"', 'units = "years"', "column 1 \\(age\\): unknown key 'units'; did you mean 'unit'"),
        ("high = 100", "high = 0", "column 'age': low must be below high"),
        ('kind = "category"', 'kind = "number"', "column 3 \\(sex\\): 'low' is missing"),
        ("levels = [0, 1]", "levels = [0, 0]", "a level is listed twice"),
        ("levels = [0, 1]", 'levels = [1, "1.0"]', "a level is listed twice"),
        ("levels = [0, 1]", "levels = [[0]]", "must be a list of texts or numbers"),
        ('name = "small"', f'name = "{"x" * 65}"', "'name' must have 1 to 64 characters"),
        ('name = "small"', 'name = ""', "'name' must have 1 to 64 characters"),
        ('unit = "years"', f'unit = "{"µ" * 17}"', "'unit' must have 0 to 32 bytes"),
        ('missing = "?"', f'missing = "{"x" * 65}"', "a text of 'missing' has more than 64 bytes"),
        ("[training]", "[training", "not valid TOML"),
        ("[training]", "[trainig]", "'training' is missing; is 'trainig' meant to be it"),
    ],
)
def test_each_mistake_is_named_with_place_and_fix(study_text: str, old: str, new: str, message: str) -> None:
    assert old in study_text
    with pytest.raises(ConfigError, match=message) as caught:
        parse_study(study_text.replace(old, new, 1), "x.toml")
    assert str(caught.value).startswith("x.toml: ")
    assert "\n" not in str(caught.value)


def test_whatever_stands_for_a_value_is_a_study_or_a_fault_of_the_file(study_text: str) -> None:
    lines = study_text.splitlines()
    refused = 0
    for number, line in enumerate(lines):
        if "=" not in line or line.lstrip().startswith("#"):
            continue
        for value in ('""', "'a\tb'", '"a\\nb"', '["a\\u0007"]', '["a", "a"]', "0", "-1.5", "nan", "[]", "{}", "1e400"):
            changed = [*lines[:number], f"{line.split('=')[0]}= {value}", *lines[number + 1 :]]
            try:
                parse_study("\n".join(changed))
            except ConfigError:
                refused += 1
    assert refused > len(lines)


def test_all_mistakes_are_told_at_once_each_with_its_place(study_text: str) -> None:
    changes = (
        ("rounds = 3", "rounds = 0"), ("batch_size = 4", "batchsize = 4"), ('unit = "years"', "unit = 3"),
        ("low = 0\n", "lo = 0\n"), ('kind = "mlp"', 'kind = "mpl"'), ('rule = "> 0"', 'rule = "> 0"\nlevel = [1, 2]'),
    )
    for old, new in changes:
        assert old in study_text
        study_text = study_text.replace(old, new, 1)
    with pytest.raises(ConfigError) as caught:
        parse_study(study_text, "x.toml")
    told = str(caught.value)
    for part in (
        "[model] kind 'mpl' is not known; did you mean 'mlp'?", "'rounds' is 0; choose a value from 1 to 10000",
        "column 1 (age): 'unit' must be a text in quotes, not '3'", "column 1 (age): 'low' is missing; is 'lo' meant",
        "[training] unknown key 'batchsize'; did you mean 'batch_size'?",
        "column 4 (disease): unknown key 'level'; did you mean 'levels'?",
    ):
        assert told.count(part) == 1, (part, told)
    assert told.startswith("x.toml: ") and told.count("; ") < 16 and "\n" not in told


def test_the_form_passes_through_json(spec: StudySpec) -> None:
    carried = json.loads(json.dumps(study_form(spec)))
    assert read_study_form(carried) == spec
    assert carried["training"]["learning_rate"] == "0.05" and carried["algorithm"] == {"kind": "fedavg"}


def test_repeat_stands_for_numbered_columns(study_text: str) -> None:
    spec = parse_study(study_text.replace('name = "age"', 'name = "pixel"\nrepeat = 3'))
    assert [column.name for column in columns_of(spec)[:4]] == ["pixel_0", "pixel_1", "pixel_2", "pressure"]


@pytest.mark.parametrize("name", ["breast_cancer.toml", "digits.toml", "heart.toml"])
def test_studies_of_the_genesis_folder_are_valid(name: str) -> None:
    spec = parse_study((GENESIS / name).read_text(), name)
    assert parse_study(to_toml(spec)) == spec
    assert spec.data.features == {"breast_cancer.toml": 30, "digits.toml": 64, "heart.toml": 25}[name]


def test_too_many_or_too_few_members_are_refused() -> None:
    check_members(3)
    check_members(256)
    with pytest.raises(ConfigError, match="overflow"):
        check_members(257)
    with pytest.raises(ConfigError, match="cannot train"):
        check_members(2)


def test_micro_refuses_what_is_no_plain_decimal() -> None:
    assert to_micro(Decimal("0.000001")) == 1
    assert [to_micro(value) for value in (True, "1", 1.0, Decimal("inf"), Decimal("1e-7"), 10**13)] == [None] * 6
