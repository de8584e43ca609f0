"""Tables as a kind of data: columns, what becomes of values outside their range, and the label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fednode.codec import Named, Size
from fednode.learn.declared import Default, Entries, OneOf
from fednode.learn.scaling import Scaling
from fednode.learn.tables import statistics
from fednode.learn.tables.columns import COLUMNS, CategoryColumn, Column, LabelColumn, NumberColumn
from fednode.learn.units import MAX_FEATURES
from fednode.sums.measures import Plan, Tally

MAX_COLUMNS = 2048

OUTSIDE_RULES = ("missing", "clip", "refuse")
"""What happens to a number outside its column's range, in training and in prediction alike: it counts as missing, it is
moved to the nearer end, or the table (the row, in prediction) is refused."""


@dataclass(frozen=True, slots=True)
class Tables:
    """One table a hospital, with these columns in any order; one of them is the label."""

    columns: Annotated[
        tuple[Annotated[Column, Named("column kind", COLUMNS)], ...], Size(2, MAX_COLUMNS), Entries("missing")
    ]
    outside: Annotated[str, Size(1, 8), OneOf(OUTSIDE_RULES), Default(OUTSIDE_RULES[0])] = OUTSIDE_RULES[0]

    def __post_init__(self) -> None:
        if self.outside not in OUTSIDE_RULES:
            raise ValueError(f"outside '{self.outside}' is none of {', '.join(OUTSIDE_RULES)}")
        if sum(isinstance(column, LabelColumn) for column in self.columns) != 1:
            raise ValueError("a schema has exactly one column of kind label")
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise ValueError(f"two columns are named '{next(n for n in names if names.count(n) > 1)}'")
        if not 1 <= (count := self.features) <= MAX_FEATURES:
            raise ValueError(f"the schema gives {count} features, between 1 and {MAX_FEATURES} are possible")

    @property
    def label(self) -> LabelColumn:
        """The one label column."""
        return next(column for column in self.columns if isinstance(column, LabelColumn))

    @property
    def classes(self) -> tuple[str, ...]:
        """The label's levels."""
        return self.label.levels

    @property
    def features(self) -> int:
        """Number of model inputs: one per number, one per level of a category."""
        numbers = sum(isinstance(column, NumberColumn) for column in self.columns)
        return numbers + sum(len(column.levels) for column in self.columns if isinstance(column, CategoryColumn))

    @property
    def inputs(self) -> tuple[int, ...]:
        """Shape of one input: (features,)."""
        return (self.features,)

    def statistics_plan(self) -> Plan:
        """Return what is claimed of the columns in round 0."""
        return statistics.statistics_plan(self.columns)

    def scaling_from(self, sums: Sequence[Tally]) -> Scaling:
        """Return mean and deviation of each feature over hospitals."""
        return statistics.scaling_from(self.columns, sums)
