"""Kinds of data a study can name: how the training process reads, checks and scales each."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fednode.crypto import Entropy
from fednode.learn import data as kinds
from fednode.learn.jobs import DataAt
from fednode.learn.layout import Scaling
from fednode.learn.rows import Rows
from fednode.learn.study import StudySpec
from fednode.learn.tables.check import Checked
from fednode.learn.tables.patients import Patients
from fednode.learn.tables.site_map import SiteMap
from fednode.sums.measures import Claims
from fednode.worker.data.tables import TableReader
from fednode.worker.registry import counterpart


class DataReader(Protocol):
    """Reads one kind of data; `kind` is the study's declaration of it, of the class registered under the same name.

    Whatever cannot be read is a `DataError` in one sentence with cause and fix.
    """

    def check(self, kind: Any, data: DataAt, shows_cells: bool = False) -> Checked:
        """Return the verdicts, and the labelled rows if none of them is an error."""

    def suggest(self, kind: Any, data: DataAt) -> SiteMap | None:
        """Return a map with which more of the data can be read, None if there is none."""

    def claim_statistics(self, kind: Any, rows: Rows, entropy: Entropy | None) -> Claims:
        """Return this hospital's claims of round 0, for `kind.statistics_plan()`."""

    def scale(self, rows: Rows, scaling: Scaling) -> NDArray[np.float32]:
        """Return inputs of the model, float32 (n, *kind.inputs)."""

    def read_patients(self, kind: Any, data: DataAt, id_column: str) -> Patients:
        """Return the rows a model is applied to."""


READERS: dict[str, DataReader] = {"tables": TableReader()}
"""Readers by the names of `learn.data.DATA`."""


def reader_of(spec: StudySpec) -> DataReader:
    """Return the reader of a study's data; raise `Rejected` if the training process has none."""
    return counterpart("data kind", kinds.DATA, READERS, spec.data)
