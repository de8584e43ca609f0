"""A small study every learning test can use."""

from __future__ import annotations

import pytest

from fednode.learn.form import parse_study
from fednode.learn.study import StudySpec
from fednode.learn.tables.kind import Tables

SMALL_STUDY = """
format = 1
name = "small"
description = "Three columns and a label."

[model]
kind = "mlp"
hidden = [4]

[training]
learning_rate = 0.05
momentum = 0.9
batch_size = 4
local_epochs = 2
rounds = 3
clip = 1.5

[data]
missing = "?"

[[data.columns]]
name = "age"
kind = "number"
unit = "years"
low = 0
high = 100

[[data.columns]]
name = "pressure"
kind = "number"
low = 80.5
high = 200
missing = 0

[[data.columns]]
name = "sex"
kind = "category"
levels = [0, 1]

[[data.columns]]
name = "disease"
kind = "label"
rule = "> 0"
"""


@pytest.fixture(scope="session")
def study_text() -> str:
    return SMALL_STUDY


@pytest.fixture(scope="session")
def spec() -> StudySpec:
    return parse_study(SMALL_STUDY)


@pytest.fixture(scope="session")
def tables(spec: StudySpec) -> Tables:
    assert isinstance(spec.data, Tables)
    return spec.data
