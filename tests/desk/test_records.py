"""Read models as JSON and back: what is written is read as the same, and what is not of the form is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from fednode.desk import questions
from fednode.desk.read_models import StudySummary
from fednode.desk.record import Record, extended
from fednode.desk.views import report_view, round_view, study_view
from fednode.documents import Json
from fednode.errors import Rejected
from fednode.ids import StudyId
from fednode.json_form import from_json, to_json
from fednode.sums.phase import Phase
from tests.cli.conftest import filled
from tests.ledger.sum_world import World


class Inner(Record):
    number: int
    text: str | None


class Outer(Inner):
    inner: Inner
    several: tuple[Inner, ...]
    ratio: float
    is_so: bool
    named: Mapping[str, int | float | None]
    anything: object
    maybe: Inner | None


WHOLE = Outer(
    number=2**60, text=None, inner=Inner(number=-1, text="\u00fc"), several=(Inner(number=0, text=""),), ratio=0.5,
    is_so=True, named={"a": 1, "b": None, "c": 0.25}, anything=[1, {"x": None}], maybe=None,
)


def test_a_record_is_read_back_as_itself() -> None:
    assert from_json(Outer, to_json(WHOLE)) == WHOLE
    assert from_json(tuple[Outer, ...], to_json((WHOLE, WHOLE))) == (WHOLE, WHOLE)


def test_a_record_has_every_field_and_no_other_and_never_changes() -> None:
    inner = Inner(number=1, text="a")
    assert inner == Inner(text="a", number=1) != Inner(number=2, text="a")
    assert inner != WHOLE
    assert repr(inner) == "Inner(number=1, text='a')"
    assert extended(Outer, inner, **{k: v for k, v in vars(WHOLE).items() if k not in vars(inner)}).number == 1
    for values in ({"number": 1}, {"number": 1, "text": "a", "more": 2}):
        with pytest.raises(TypeError, match="lacks or does not know: (text|more)"):
            Inner(**values)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        inner.number = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("number", True), ("number", "1"), ("number", 1.0), ("number", None), ("text", 7), ("inner", None),
        ("inner", {"number": 1}), ("several", {}), ("several", [None]), ("ratio", "0.5"), ("ratio", False),
        ("is_so", 1), ("named", []), ("named", {"a": "1"}), ("maybe", []), ("new", 1),
    ],
)
def test_what_is_not_of_the_form_is_refused(name: str, value: Json) -> None:
    whole = to_json(WHOLE)
    assert isinstance(whole, dict)
    with pytest.raises(Rejected, match="must be|has no field|has an unknown field"):
        from_json(Outer, {**whole, name: value})


@pytest.mark.parametrize("asked", [q for q in vars(questions).values() if isinstance(q, questions.Question)], ids=str)
def test_the_form_of_every_question_can_be_read(asked: questions.Question[object]) -> None:
    parts = [part for part in getattr(asked.form, "__args__", (asked.form,)) if part is not Ellipsis]
    values: Any = filled(parts[0], {}) if issubclass(parts[0], Record) else "text"
    answer: Json = [values] if asked.form is not parts[0] else values
    assert to_json(from_json(asked.form, answer)) == answer
    if values == "text":
        return
    del values[next(iter(values))]
    with pytest.raises(Rejected):
        from_json(asked.form, answer)


def test_a_study_with_a_round_and_its_report_are_read_back() -> None:
    world = World(liars={2})
    world.ready_all()
    world.go_to(Phase.SHARE)
    study = study_view(world.state, StudyId(world.study), "heart")
    assert study.round == round_view(world.round)
    summary = extended(
        StudySummary, study, table=None, has_data=True, problem=None, took_no_part_in=(3,), own_part=None,
        has_model=False,
    )
    report = report_view(world.finish_round())
    for view in (study, summary, report):
        assert from_json(type(view), to_json(view)) == view
