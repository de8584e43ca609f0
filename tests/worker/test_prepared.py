from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fednode.errors import DataError
from fednode.learn.jobs import DataAt
from fednode.learn.rows import Rows
from fednode.learn.study import StudySpec
from fednode.worker.prepared import DataCache, Prepared, load_rows, validation_mask

Labels = st.lists(st.integers(0, 3), min_size=1, max_size=80)


def rows_of(labels: list[int]) -> Rows:
    random = np.random.default_rng(len(labels))
    features = random.random((len(labels), 3))
    features[random.random(features.shape) < 0.1] = np.nan
    return Rows(features, np.array(labels, np.int64))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=Labels)
def test_a_fifth_of_each_class_measures_and_the_rest_trains(spec: StudySpec, labels: list[int]) -> None:
    rows = rows_of(labels)
    prepared = Prepared.of(spec, rows)
    assert len(prepared.training.labels) + len(prepared.validation.labels) == len(labels)
    assert len(prepared.training.labels) >= 1
    counts = np.bincount(labels, minlength=4)
    fifths = counts // 5
    if fifths.any():
        assert np.bincount(prepared.validation.labels, minlength=4).tolist() == fifths.tolist()
    elif len(labels) > 1:
        assert prepared.validation.labels.tolist() == [counts.argmax()]
    else:
        assert len(prepared.validation.labels) == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=Labels, seed=st.integers(0, 100))
def test_the_choice_does_not_depend_on_the_order_of_rows(spec: StudySpec, labels: list[int], seed: int) -> None:
    rows = rows_of(labels)
    order = np.random.default_rng(seed).permutation(len(labels))
    shuffled = Rows(rows.features[order], rows.labels[order])
    np.testing.assert_array_equal(validation_mask(spec, rows)[order], validation_mask(spec, shuffled))


def test_another_seed_chooses_other_rows(spec: StudySpec) -> None:
    rows = rows_of([0, 1] * 40)
    assert (validation_mask(spec, rows) != validation_mask(replace(spec, seed=5), rows)).any()


def test_a_file_is_prepared_once_until_it_changes(spec: StudySpec, data_file: Path) -> None:
    cache, data = DataCache(), DataAt(str(data_file))
    first = cache.get(spec, data)
    assert cache.get(spec, data) is first
    assert cache.get(replace(spec, seed=9), data) is not first
    status = data_file.stat()
    data_file.write_text(data_file.read_text().replace("left", "right", 1))
    os.utime(data_file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    again = cache.get(spec, data)
    assert again.rows.labels.sum() == first.rows.labels.sum() + 1


def test_a_missing_or_wrong_file_is_a_data_error(spec: StudySpec, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        DataCache().get(spec, DataAt(str(tmp_path / "none.csv")))
    path = tmp_path / "bad.csv"
    path.write_text("x,y,group\n1,far,left\n")
    with pytest.raises(DataError, match="column 'y': 1 cell without a number, first in line 2"):
        load_rows(spec, DataAt(str(path)))
