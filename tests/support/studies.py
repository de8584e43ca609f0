"""Studies of tests, as the files that people write."""

from __future__ import annotations

from collections.abc import Mapping

from fednode.learn.study import StudySpec
from fednode.learn.tables.kind import Column, Tables

GROUPS = ("left", "right")


def number(name: str, low: float, high: float, **more: object) -> str:
    """Return the entry of a column of numbers; `more` are further keys of it."""
    return _column(name, "number", {**more, "low": low, "high": high})


def choice(kind: str, name: str, *levels: str) -> str:
    """Return the entry of a column of words: a `category` or the `label`."""
    return _column(name, kind, {"levels": list(levels)})


def _column(name: str, kind: str, keys: Mapping[str, object]) -> str:
    return _lines("[[data.columns]]", {"name": name, "kind": kind, **keys})


def _lines(head: str, keys: Mapping[str, object]) -> str:
    """Return a section. Texts, numbers and lists of them look the same in TOML and in Python, but for the quotes."""
    return "".join([f"{head}\n", *(f"{key} = {value!r}\n".replace("'", '"') for key, value in keys.items())])


def study_file(
    name: str, *columns: str, model: str = 'kind = "logistic"', missing: str | None = None,
    stop: Mapping[str, object] | None = None, timeouts: Mapping[str, object] | None = None, **training: object,
) -> str:
    """Return a study file: its columns are the entries of `number` and `choice`.

    `training` is added to one epoch and one round at rate 0.1 with clip 1, or replaces them; `missing` marks an empty
    cell.
    """
    trained = {"learning_rate": 0.1, "local_epochs": 1, "rounds": 1, "clip": 1, **training}
    sections = [
        _lines("", {"format": 1, "name": name}), f"[model]\n{model}\n", _lines("[training]", trained),
        *([_lines("[stop]", stop)] if stop else []), *([_lines("[timeouts]", timeouts)] if timeouts else []),
        _lines("[data]", {"missing": missing}) if missing is not None else "[data]\n", *columns,
    ]
    return "".join(sections)


def points_study(*more: str, **keys: object) -> str:
    """Return the study of two groups of points in the plane; `more` are columns before the label."""
    columns = (number("x", -4, 4), number("y", -4, 4), *more, choice("label", "group", *GROUPS))
    return study_file("points", *columns, **{"batch_size": 8, "clip": 2, **keys})


def columns_of(spec: StudySpec) -> tuple[Column, ...]:
    """Return the columns of a study on tables."""
    assert isinstance(spec.data, Tables)
    return spec.data.columns
