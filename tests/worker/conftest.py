"""A small study with two groups of points that a model can tell apart, as a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fednode.learn.form import parse_study
from fednode.learn.study import StudySpec
from fednode.learn.tables.kind import Tables
from tests.support.studies import points_study

torch.set_num_threads(1)  # as in the worker: with more, tiny steps wait for each other on a busy machine

STUDY = points_study(
    model='kind = "mlp"\nhidden = [8]', missing="?", momentum=0.5, batch_size=4, local_epochs=3, rounds=4
)


def points(seed: int, count: int) -> list[tuple[str, str, str]]:
    """Rows of cells: `count` points, half of each group."""
    random = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        centre, name = ((-1.5, 0.0), "left") if index % 2 else ((1.5, 0.5), "right")
        x, y = random.normal(centre, 0.7)
        rows.append((f"{x:.3f}", f"{y:.3f}", name))
    return rows


@pytest.fixture(scope="session")
def spec() -> StudySpec:
    return parse_study(STUDY)


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    path = tmp_path / "points.csv"
    path.write_text("\n".join(",".join(row) for row in [("x", "y", "group"), *points(1, 60)]))
    return path


@pytest.fixture(scope="session")
def tables(spec: StudySpec) -> Tables:
    assert isinstance(spec.data, Tables)
    return spec.data
