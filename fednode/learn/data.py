"""What a study must say of a kind of data, whatever it is: tables today. The worker has its reader of the same name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fednode.learn.layout import Scaling
from fednode.learn.tables.kind import Tables
from fednode.sums.measures import Plan, Tally


class DataKind(Protocol):
    """The part [data] of a study: a frozen dataclass that the codec can encode."""

    @property
    def inputs(self) -> tuple[int, ...]:
        """Shape of one input of the model."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that are predicted, in order."""

    @property
    def features(self) -> int:
        """How many means and deviations the scaling has."""

    def statistics_plan(self) -> Plan:
        """Return what each hospital claims of its rows in round 0."""

    def scaling_from(self, sums: Sequence[Tally]) -> Scaling:
        """Return the scaling of inputs from the opened sums of round 0, in exact integers."""


DATA: dict[str, type[DataKind]] = {"tables": Tables}
"""Kinds of data by the name that a study gives under [data]."""
