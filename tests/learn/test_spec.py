from __future__ import annotations

from dataclasses import replace

import pytest

from fednode.codec import encode, pack, unpack
from fednode.errors import Rejected
from fednode.learn.layout import Layout, he_uniform
from fednode.learn.models.logistic import Logistic
from fednode.learn.models.mlp import Mlp
from fednode.learn.study import (
    Optimiser,
    StudySpec,
    decode_study,
    spec_hash,
    study_bytes,
    weight_of,
    with_model,
)
from fednode.learn.tables.kind import LabelColumn, LabelRule, NumberColumn, Tables
from fednode.learn.units import MAX_CLIP_Q24, MAX_MEMBERS
from fednode.sums.bounds import SCALE


def test_canonical_bytes_come_back_as_the_same_study(spec: StudySpec) -> None:
    assert decode_study(study_bytes(spec)) == spec


def test_every_field_changes_the_hash(spec: StudySpec, tables: Tables) -> None:
    others = [
        replace(spec, name="other"),
        with_model(spec, Logistic()),
        replace(spec, rounds=4),
        replace(spec, seed=1),
        replace(spec, clip_q24=spec.clip_q24 + 1),
        replace(spec, data=replace(tables, columns=(replace(tables.columns[0], high_micro=99), *tables.columns[1:]))),
        replace(spec, optimiser=replace(spec.optimiser, momentum_micro=0)),
    ]
    assert len({spec_hash(study) for study in (spec, *others)}) == 1 + len(others)


def test_layout_lists_tensors_in_state_dict_order_without_gaps(spec: StudySpec) -> None:
    layout = Layout.of(spec)
    assert [(t.name, t.shape, t.initial, t.offset) for t in layout.tensors] == [
        ("layers.0.weight", (4, 4), he_uniform(4), 0),
        ("layers.0.bias", (4,), he_uniform(4), 16),
        ("layers.1.weight", (2, 4), he_uniform(4), 20),
        ("layers.1.bias", (2,), he_uniform(4), 28),
    ]
    assert layout.size == 30 == sum(tensor.size for tensor in layout.tensors)


def test_logistic_is_one_layer(spec: StudySpec) -> None:
    assert Layout.of(with_model(spec, Logistic())).size == 2 * spec.data.features + 2


def test_the_largest_federation_cannot_wrap_a_32_bit_sum() -> None:
    assert MAX_MEMBERS * SCALE <= 1 << 31 < (MAX_MEMBERS + 1) * SCALE


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"max_weight": 1000}, "2\\^b - 1"),
        ({"weights": "secret"}, "neither hidden nor public nor equal"),
        ({"weights": "equal", "max_weight": 3}, "max_weight is 1"),
    ],
)
def test_contradictory_weights_are_refused(spec: StudySpec, change: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        replace(spec, **change)  # type: ignore[arg-type]


def test_a_schema_needs_one_label_and_distinct_names(tables: Tables) -> None:
    number = tables.columns[0]
    with pytest.raises(ValueError, match="exactly one column of kind label"):
        replace(tables, columns=tables.columns[:-1])
    with pytest.raises(ValueError, match="exactly one column of kind label"):
        replace(tables, columns=(*tables.columns, replace(tables.label, name="second")))
    with pytest.raises(ValueError, match="two columns are named 'age'"):
        replace(tables, columns=(number, *tables.columns))
    with pytest.raises(ValueError, match="0 features"):
        replace(tables, columns=(tables.label,))


def test_a_model_too_large_for_one_frame_is_refused(spec: StudySpec) -> None:
    with pytest.raises(ValueError, match="parameters"):
        with_model(spec, Mlp((4096, 4096, 4096)))


def test_parts_check_themselves() -> None:
    with pytest.raises(ValueError, match="low must be below high"):
        NumberColumn("x", "", 5, 5, ())
    with pytest.raises(ValueError, match="two outcomes"):
        LabelColumn("y", ("a", "b", "c"), LabelRule(">", 0), ())
    with pytest.raises(ValueError, match="label rule '~'"):
        LabelRule("~", 0)
    with pytest.raises(ValueError, match="listed twice"):
        LabelColumn("y", ("a", "a"), None, ())
    with pytest.raises(ValueError, match="neither sgd nor adam"):
        Optimiser("lion", 1, 0, 0, 1)
    with pytest.raises(ValueError, match="its own momentum"):
        Optimiser("adam", 1, 1, 0, 1)


def test_foreign_bytes_meet_the_same_checks(spec: StudySpec) -> None:
    fields = list(unpack(study_bytes(spec), 10_000))  # type: ignore[arg-type]
    position = fields.index(spec.clip_q24)
    for bad in (0, MAX_CLIP_Q24 + 1, -1, "1", None):
        with pytest.raises(Rejected):
            decode_study(pack((*fields[:position], bad, *fields[position + 1 :])))
    with pytest.raises(Rejected):
        decode_study(pack(tuple(fields[:-1])))
    with pytest.raises(Rejected):
        decode_study(encode(spec) + b"\x00")


def test_weights_are_rows_up_to_the_bound(spec: StudySpec) -> None:
    assert [weight_of(spec, rows) for rows in (0, 1, 500, 10**6)] == [1, 1, 500, spec.max_weight]
    equal = replace(spec, weights="equal", max_weight=1)
    assert [weight_of(equal, rows) for rows in (1, 500)] == [1, 1]


@pytest.mark.parametrize("text", ["\x1b[2J", "a\x07", "\u202eevil", "two\nlines", "\x00"])
def test_texts_that_could_play_with_a_terminal_are_refused(spec: StudySpec, tables: Tables, text: str) -> None:
    """A study is proposed by one member and shown in the terminals of the others."""
    column = tables.columns[0]
    for change in (
        lambda: replace(spec, name=text), lambda: replace(column, name=text), lambda: replace(column, missing=(text,))
    ):
        with pytest.raises(ValueError, match="must be printable"):
            change()
    if "\n" not in text:
        with pytest.raises(ValueError, match="must be printable"):
            replace(spec, description=text)
    assert replace(spec, description="two\nlines \u00e4\u00f6").description
