"""Tables in files of separated text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fednode.crypto import Entropy
from fednode.learn.jobs import DataAt
from fednode.learn.layout import Scaling
from fednode.learn.rows import Rows
from fednode.learn.tables.check import Checked, check_table
from fednode.learn.tables.kind import Tables, claim_statistics
from fednode.learn.tables.patients import Patients, read_patients
from fednode.learn.tables.schema import standardise
from fednode.learn.tables.site_map import SiteMap
from fednode.learn.tables.suggest import suggest
from fednode.sums.measures import Claims
from fednode.worker.datasets import read_table


class TableReader:
    """One table a hospital."""

    def check(self, kind: Tables, data: DataAt, shows_cells: bool = False) -> Checked:
        """Return a verdict for each column, and the labelled rows if none is an error."""
        return check_table(kind, read_table(kind, Path(data.path), data.site), data.site, shows_cells)

    def suggest(self, kind: Tables, data: DataAt) -> SiteMap | None:
        """Return a map with which more of the table can be read."""
        return suggest(kind, read_table(kind, Path(data.path), data.site), data.site)

    def claim_statistics(self, kind: Tables, rows: Rows, entropy: Entropy | None) -> Claims:
        """Return moments of each number and shares of each category's levels."""
        return claim_statistics(kind.columns, rows, entropy)

    def scale(self, rows: Rows, scaling: Scaling) -> NDArray[np.float32]:
        """Return the rows with missing values filled, standardised, float32 (n, features)."""
        return standardise(rows, scaling)

    def read_patients(self, kind: Tables, data: DataAt, id_column: str) -> Patients:
        """Return every row of the file after its header."""
        return read_patients(kind, read_table(kind, Path(data.path), data.site), id_column, data.site)
