"""Study files: TOML in, `StudySpec` out, and back again.

Every key is known and every value checked here, so that a person reads one sentence with the place of the
mistake. Decimals are read exactly (never through a float): at most six places.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TypeVar, cast

from fednode.codec import MAX_NAME
from fednode.documents import toml_of
from fednode.errors import ConfigError, Rejected
from fednode.learn.algorithms.fedavg import FedAvg
from fednode.learn.models import ModelKind
from fednode.learn.models.logistic import Logistic
from fednode.learn.models.mlp import Mlp
from fednode.learn.study import (
    DAY_S,
    MAX_START_AFTER_S,
    Optimiser,
    StopRule,
    StudySpec,
    Timeouts,
    decode_study,
    study_bytes,
    tensors_of,
)
from fednode.learn.tables.columns import (
    MAX_TOKEN_BYTES,
    RULE_OPERATORS,
    CategoryColumn,
    Column,
    LabelColumn,
    LabelRule,
    NumberColumn,
)
from fednode.learn.tables.kind import MAX_COLUMNS, OUTSIDE_RULES, Tables
from fednode.learn.units import MAX_MEMBERS, MICRO, UNIT

FILE_FORMAT = 1
DEFAULT_MAX_WEIGHT = 1023
_T = TypeVar("_T")
_REQUIRED = object()


class _Table:
    """One TOML table being read: every key must be taken, and `done` complains about the ones that were not."""

    def __init__(self, values: Mapping[str, object], place: str, source: str) -> None:
        self._values = dict(values)
        self._known: list[str] = []
        self._place = place
        self._source = source

    def fail(self, message: str) -> ConfigError:
        return ConfigError(f"{self._source}: {self._place}{message}")

    def absent(self, key: str) -> ConfigError:
        """Return the error for a missing key, naming a present one that looks like a slip of the pen."""
        near = difflib.get_close_matches(key, [name for name in self._values if name not in self._known], n=1)
        return self.fail(f"'{key}' is missing; " + (f"is '{near[0]}' meant to be it?" if near else "add it"))

    def take(self, key: str, kind: type[_T], default: object = _REQUIRED) -> _T:
        """Return the value of `key`, exactly of type `kind`."""
        self._known.append(key)
        value = self._values.pop(key, default)
        if value is _REQUIRED:
            raise self.absent(key)
        if type(value) is not kind and value is not default:
            expected = {int: "a whole number", str: "a text in quotes", list: "a list", dict: "a table"}
            raise self.fail(f"'{key}' must be {expected.get(kind, kind.__name__)}, not {_shown(value)}")
        return cast(_T, value)  # a default may be of another type, and then says that there is none

    def take_text(self, key: str, low: int, high: int, default: str | None = None) -> str:
        """Return a text of `low` to `high` UTF-8 bytes."""
        text = self.take(key, str, _REQUIRED if default is None else default)
        if not low <= len(text.encode()) <= high:
            raise self.fail(f"'{key}' must have {low} to {high} bytes, not {len(text.encode())}; change it")
        return text

    def take_name(self, key: str) -> str:
        """Return a text of 1 to 64 characters."""
        text = self.take(key, str)
        if not 1 <= len(text) <= MAX_NAME:
            raise self.fail(f"'{key}' must have 1 to {MAX_NAME} characters, not {len(text)}; change it")
        return text

    def take_int(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """Return a whole number within [low, high]."""
        value = self.take(key, int, _REQUIRED if default is None else default)
        if not low <= value <= high:
            raise self.fail(f"'{key}' is {value}; choose a value from {low} to {high}")
        return value

    def take_micro(self, key: str, low: str, high: str, default: str | None = None) -> int:
        """Return a decimal within [low, high] in millionths."""
        self._known.append(key)
        value = self._values.pop(key, None if default is None else Decimal(default))
        if value is None:
            raise self.absent(key)
        micro = to_micro(value)
        if micro is None:
            raise self.fail(f"'{key}' must be a number with at most six decimals, not {_shown(value)}")
        if not Decimal(low) * MICRO <= micro <= Decimal(high) * MICRO:
            raise self.fail(f"'{key}' is {value}; choose a value from {low} to {high}")
        return micro

    def take_tokens(self, key: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """Return a list of cell texts; one text stands for a list of one, numbers for their decimal form."""
        self._known.append(key)
        value = self._values.pop(key, _REQUIRED if default is None else list(default))
        if value is _REQUIRED:
            raise self.absent(key)
        items = value if isinstance(value, list) else [value]
        if any(isinstance(item, bool) or not isinstance(item, (str, int, Decimal)) for item in items):
            raise self.fail(f"'{key}' must be a list of texts or numbers, not {_shown(value)}")
        tokens = tuple(str(item) for item in items)
        if any(len(token.encode()) > MAX_TOKEN_BYTES for token in tokens):
            raise self.fail(f"a text of '{key}' has more than {MAX_TOKEN_BYTES} bytes; shorten it")
        return tokens

    def table(self, key: str, optional: bool = False) -> _Table:
        values = self.take(key, dict, {} if optional else _REQUIRED)
        return _Table(values, f"[{key}] ", self._source)

    def has(self, key: str) -> bool:
        return key in self._values

    def done(self) -> None:
        """Refuse keys nobody asked for, naming the nearest known one."""
        for key in self._values:
            near = difflib.get_close_matches(key, self._known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(sorted(self._known))}"
            raise self.fail(f"unknown key '{key}'; {hint}")


def to_micro(value: object) -> int | None:
    """Return an int or Decimal in millionths, or None if it is no number or needs more than six places."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        return None
    number = Decimal(value)
    if not number.is_finite() or (number and not -7 < number.adjusted() < 13):  # looked at before it is computed with
        return None
    scaled = number * MICRO if number else Decimal(0)
    return int(scaled) if abs(scaled) <= 10**18 and scaled == scaled.to_integral_value() else None


def parse_study(text: str | bytes, source: str = "study file") -> StudySpec:
    """Read the text of a study file; raise `ConfigError` naming the place and the fix."""
    root = _Table(toml_of(text, source, ConfigError, "correct it there"), "", source)
    if (number := root.take("format", int)) != FILE_FORMAT:
        raise root.fail(f"format {number} is not known; this version reads format = {FILE_FORMAT}")
    name, description = root.take_name("name"), root.take_text("description", 0, 1000, "")
    model, data, stop = root.table("model"), root.table("data"), root.table("stop", optional=True)
    training, timeouts = root.table("training"), root.table("timeouts", optional=True)
    try:
        optimiser = _optimiser(training)
        weights, max_weight = _weights(training)
        chosen = _model(model)
        tables = Tables(_columns(data, source), data.take_text("outside", 1, 8, OUTSIDE_RULES[0]))
        spec = StudySpec(
            name=name,
            description=description,
            model=chosen,
            layout=tensors_of(chosen, tables),
            data=tables,
            algorithm=FedAvg(),
            metrics=("auc",),
            optimiser=optimiser,
            local_epochs=training.take_int("local_epochs", 1, 1000),
            rounds=training.take_int("rounds", 1, 10_000),
            clip_q24=_clip(training),
            weights=weights,
            max_weight=max_weight,
            stop=StopRule(
                stop.take_micro("accuracy", "0", "1", "0") * 10_000 // MICRO,
                stop.take_int("no_improvement_rounds", 0, 1000, 0),
            ),
            timeouts=Timeouts(
                timeouts.take_int("start_after_s", 1, MAX_START_AFTER_S, DAY_S),
                timeouts.take_int("train_timeout_s", 1, 86_400, 60),
                timeouts.take_int("phase_timeout_s", 1, 3600, 5),
            ),
            seed=training.take_int("seed", 0, 2**32 - 1, 0),
        )
        for table in (model, data, training, stop, timeouts, root):
            table.done()
        return decode_study(study_bytes(spec))  # the codec's own bounds: lengths of texts and lists
    except ValueError as error:
        raise ConfigError(f"{source}: {error}; correct the study file") from None
    except Rejected as error:
        raise ConfigError(f"{source}: {error.reason}; shorten or correct the study file") from None


def _model(table: _Table) -> ModelKind:
    kind = table.take("kind", str)
    if kind == "logistic":
        return Logistic()
    if kind != "mlp":
        raise table.fail(f"model kind '{kind}' is not known; choose mlp or logistic")
    hidden = table.take("hidden", list, [64, 32])
    if not hidden or any(type(width) is not int or not 1 <= width <= 4096 for width in hidden):
        raise table.fail("'hidden' must be a list of layer widths from 1 to 4096, for example [64, 32]")
    return Mlp(tuple(hidden))


def _optimiser(table: _Table) -> Optimiser:
    kind = table.take("optimiser", str, "sgd")
    return Optimiser(
        kind=kind,
        learning_rate_micro=table.take_micro("learning_rate", "0.000001", "100"),
        momentum_micro=table.take_micro("momentum", "0", "0.999999", "0"),
        weight_decay_micro=table.take_micro("weight_decay", "0", "10", "0"),
        batch_size=table.take_int("batch_size", 1, 65536, 16),
    )


def _weights(table: _Table) -> tuple[str, int]:
    weights = table.take("weights", str, "hidden")
    return weights, table.take_int("max_weight", 1, 65535, 1 if weights == "equal" else DEFAULT_MAX_WEIGHT)


def _clip(table: _Table) -> int:
    micro = table.take_micro("clip", "0.000001", "1024")
    return (micro * UNIT + MICRO // 2) // MICRO


def _columns(data: _Table, source: str) -> tuple[Column, ...]:
    """Read [[data.columns]]; `repeat = n` stands for n columns name_0 ... name_(n-1)."""
    everywhere = data.take_tokens("missing", ())
    entries = data.take("columns", list)
    columns: list[Column] = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise data.fail("'columns' must be written as [[data.columns]] tables")
        name = entry.get("name")
        table = _Table(entry, f"column {number} ({name}): " if name else f"column {number}: ", source)
        repeat = table.take_int("repeat", 1, MAX_COLUMNS, 1)
        column = _column(table, everywhere)
        table.done()
        many = (replace(column, name=f"{column.name}_{index}") for index in range(repeat))
        columns += many if repeat > 1 else [column]
    return tuple(columns)


def _column(table: _Table, everywhere: tuple[str, ...]) -> Column:
    name, kind = table.take_name("name"), table.take("kind", str)
    missing = tuple(dict.fromkeys((*everywhere, *table.take_tokens("missing", ()))))
    if kind == "number":
        low, high = (table.take_micro(key, "-1000000000000", "1000000000000") for key in ("low", "high"))
        return NumberColumn(name, table.take_text("unit", 0, 32, ""), low, high, missing)
    if kind == "category":
        return CategoryColumn(name, table.take_tokens("levels"), missing)
    if kind != "label":
        raise table.fail(f"kind '{kind}' is not known; choose number, category or label")
    if not table.has("rule"):
        return LabelColumn(name, table.take_tokens("levels"), None, missing)
    rule = _rule(table)
    text = f"{name} {rule.operator} {_decimal(rule.threshold_micro)}"
    return LabelColumn(name, table.take_tokens("levels", (f"not {text}", text)), rule, missing)


def _rule(table: _Table) -> LabelRule:
    text = table.take("rule", str)
    operator = next((op for op in RULE_OPERATORS if text.strip().startswith(op)), "")
    try:
        micro = to_micro(Decimal(text.strip()[len(operator):].strip()))
    except ArithmeticError:
        micro = None
    if not operator or micro is None:
        raise table.fail(f"rule '{text}' must be a comparison with a number, for example \"> 0\"")
    return LabelRule(operator, micro)


def _shown(value: object) -> str:
    return f"'{value}'" if isinstance(value, (str, int, Decimal)) else type(value).__name__


# --- and back -----------------------------------------------------------------------------------------------

def to_toml(spec: StudySpec) -> str:
    """Return the text of a study file that `parse_study` reads back to the same value."""
    model = spec.model
    assert isinstance(spec.data, Tables)
    clip = Decimal(((spec.clip_q24 * MICRO * 2) // UNIT + 1) // 2)
    lines = [
        f"format = {FILE_FORMAT}",
        f"name = {_quoted(spec.name)}",
        f"description = {_quoted(spec.description)}",
        "",
        "[model]",
        'kind = "mlp"' if isinstance(model, Mlp) else 'kind = "logistic"',
        *([f"hidden = {list(model.hidden)}"] if isinstance(model, Mlp) else []),
        "",
        "[training]",
        f"optimiser = {_quoted(spec.optimiser.kind)}",
        f"learning_rate = {_decimal(spec.optimiser.learning_rate_micro)}",
        f"momentum = {_decimal(spec.optimiser.momentum_micro)}",
        f"weight_decay = {_decimal(spec.optimiser.weight_decay_micro)}",
        f"batch_size = {spec.optimiser.batch_size}",
        f"local_epochs = {spec.local_epochs}",
        f"rounds = {spec.rounds}",
        f"clip = {_decimal(int(clip))}",
        f"weights = {_quoted(spec.weights)}",
        f"max_weight = {spec.max_weight}",
        f"seed = {spec.seed}",
        "",
        "[stop]",
        f"accuracy = {_decimal(spec.stop.accuracy_permyriad * MICRO // 10_000)}",
        f"no_improvement_rounds = {spec.stop.no_improvement_rounds}",
        "",
        "[timeouts]",
        f"start_after_s = {spec.timeouts.start_after_s}",
        f"train_timeout_s = {spec.timeouts.train_timeout_s}",
        f"phase_timeout_s = {spec.timeouts.phase_timeout_s}",
        "",
        "[data]",
        f"outside = {_quoted(spec.data.outside)}",
    ]
    for column in spec.data.columns:
        lines += ["", "[[data.columns]]", *_column_lines(column)]
    return "\n".join(lines) + "\n"


def _column_lines(column: Column) -> list[str]:
    lines = [f"name = {_quoted(column.name)}"]
    if isinstance(column, NumberColumn):
        lines += ['kind = "number"', f"unit = {_quoted(column.unit)}"]
        lines += [f"low = {_decimal(column.low_micro)}", f"high = {_decimal(column.high_micro)}"]
    else:
        kind = "category" if isinstance(column, CategoryColumn) else "label"
        lines += [f'kind = "{kind}"', f"levels = [{', '.join(_quoted(level) for level in column.levels)}]"]
    if isinstance(column, LabelColumn) and column.rule is not None:
        lines.append(f'rule = "{column.rule.operator} {_decimal(column.rule.threshold_micro)}"')
    if column.missing:
        lines.append(f"missing = [{', '.join(_quoted(token) for token in column.missing)}]")
    return lines


def _decimal(micro: int) -> str:
    sign, (whole, places) = "-" if micro < 0 else "", divmod(abs(micro), MICRO)
    return f"{sign}{whole}" + (f".{places:06d}".rstrip("0") if places else "")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def check_members(members: int) -> None:
    """Raise `ConfigError` if the secure sum of this many members could wrap, or could not hide anything."""
    if members > MAX_MEMBERS:
        text = f"{members} members could overflow the 32-bit sum; at most {MAX_MEMBERS} can train together"
        raise ConfigError(text)
    if members < 3:
        text = f"{members} members cannot train: each would learn the others' update; 3 are the least"
        raise ConfigError(text)
