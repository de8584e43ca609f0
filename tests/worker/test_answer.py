from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fednode.learn import jobs, measures
from fednode.learn.layout import Layout, Scaling
from fednode.learn.merge import initial_model
from fednode.learn.model_file import ModelFile, write_model
from fednode.learn.study import Optimiser, StudySpec
from fednode.learn.tables.kind import MOMENTS
from fednode.learn.units import UNIT
from fednode.sums.measures import find_impossible
from fednode.worker.answer import answer, failed
from fednode.worker.data import reader_of
from fednode.worker.prepared import DataCache, load_rows

STUDY = bytes(range(32))
SCALING = Scaling((UNIT // 2,) * 2, (UNIT // 4,) * 2)


@pytest.fixture
def start(spec: StudySpec, tmp_path: Path) -> jobs.ModelAt:
    return put(ModelFile(STUDY, 1, spec, SCALING, initial_model(Layout.of(spec), STUDY)), tmp_path / "start")


def put(model: ModelFile, path: Path) -> jobs.ModelAt:
    path.write_bytes(write_model(model))
    return jobs.ModelAt(str(path), model.hash)


def test_a_good_file_is_checked_and_counted(spec: StudySpec, data_file: Path) -> None:
    found = answer(jobs.CheckData(spec, jobs.DataAt(str(data_file))), DataCache())
    assert isinstance(found, jobs.DataChecked)
    assert (found.is_ok, found.rows, found.train_rows) == (True, 60, 48)


def test_a_bad_file_gets_verdicts_and_no_rows(spec: StudySpec, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("x,group\n1,left\n2,up\n")
    found = answer(jobs.CheckData(spec, jobs.DataAt(str(path))), DataCache())
    assert isinstance(found, jobs.DataChecked)
    assert not found.is_ok
    assert [(v.column, v.status) for v in found.verdicts] == [("x", "ok"), ("y", "error"), ("group", "error")]
    assert (found.rows, found.train_rows) == (0, 0)


def test_statistics_cover_all_rows(spec: StudySpec, data_file: Path) -> None:
    found = answer(jobs.ComputeStatistics(spec, jobs.DataAt(str(data_file))), DataCache())
    assert isinstance(found, jobs.StatisticsComputed)
    claims = np.frombuffer(found.claims, "<u4")
    assert find_impossible(spec.data.statistics_plan(), claims) is None
    rows = load_rows(spec, jobs.DataAt(str(data_file)))
    exact, unit = reader_of(spec).claim_statistics(spec.data, rows, None).astype(int), MOMENTS.unit
    assert len(rows.labels) == 60 and (np.abs(claims - exact) <= unit / 20).all() and (claims != exact).any()


def test_training_answers_with_update_and_metrics_of_the_start(
    spec: StudySpec, data_file: Path, start: jobs.ModelAt
) -> None:
    cache = DataCache()

    def train_again() -> bytes:
        found = answer(jobs.Train(spec, STUDY, 1, 1, SCALING, start, jobs.DataAt(str(data_file))), cache)
        assert isinstance(found, jobs.Trained)
        return found.claims

    trained = answer(jobs.Train(spec, STUDY, 1, 1, SCALING, start, jobs.DataAt(str(data_file))), cache)
    measured = answer(jobs.Evaluate(spec, SCALING, start, jobs.DataAt(str(data_file))), cache)
    assert isinstance(trained, jobs.Trained)
    assert isinstance(measured, jobs.Evaluated)
    assert trained.train_rows == 48
    assert memoryview(trained.delta).nbytes == 4 * Layout.of(spec).size
    assert len(trained.claims) == 16 and trained.claims[8:] == measured.claims[8:16], "the loss is exact"
    assert measured.metrics.rows == 12
    claims = np.frombuffer(measured.claims, "<u4")
    assert find_impossible(measures.closing_plan(spec), claims) is None
    exact = measures.claim_quality(measured.metrics, None).astype(int)
    assert abs(claims[0] - exact[0]) <= measures.RIGHT.unit / 22 and not claims[:4][exact == 0].any()
    said = {np.frombuffer(train_again(), "<u4")[0] for _ in range(8)}
    assert len(said) > 1 or exact[0] in (0, measures.RIGHT.unit), "each round says another number"


def test_prediction_needs_the_model_file_alone(spec: StudySpec, tmp_path: Path) -> None:
    model = ModelFile(STUDY, 1, spec, SCALING, initial_model(Layout.of(spec), STUDY))
    path = tmp_path / "new.csv"
    path.write_text("y,x\n1,2\n?,3\n")
    found = answer(jobs.Predict(put(model, tmp_path / "model"), jobs.DataAt(str(path))), DataCache())
    assert isinstance(found, jobs.Predicted)
    shares = np.frombuffer(found.probabilities, "<f4").reshape(found.rows, found.classes)
    assert shares.shape == (2, 2)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)


def test_each_fault_has_its_kind(spec: StudySpec, data_file: Path, start: jobs.ModelAt, tmp_path: Path) -> None:
    path = str(data_file)
    data = jobs.DataAt(path)
    wild = replace(spec, optimiser=Optimiser("sgd", 100_000_000, 999_999, 10_000_000, 1), local_epochs=100)
    hot = put(ModelFile(STUDY, 1, wild, SCALING, initial_model(Layout.of(wild), STUDY)), tmp_path / "hot")
    for job, kind in (
        (jobs.ComputeStatistics(spec, jobs.DataAt(str(tmp_path / "none.csv"))), "data"),
        (jobs.CheckData(spec, jobs.DataAt(str(tmp_path))), "data"),
        (jobs.Train(wild, STUDY, 1, 1, SCALING, hot, data), "numerical"),
        (jobs.Train(spec, STUDY, 1, 1, SCALING, replace(start, hash=bytes(32)), data), "input"),
        (jobs.Train(spec, STUDY, 1, 1, SCALING, replace(start, path=str(tmp_path / "none")), data), "input"),
        (jobs.Train(spec, STUDY, 1, 1, SCALING, replace(start, path=path), data), "input"),
        (jobs.Train(replace(spec, seed=9), STUDY, 1, 1, SCALING, start, data), "input"),
        (jobs.Evaluate(spec, Scaling((1,), (1,)), start, data), "input"),
        (jobs.Predict(replace(start, path=path), data), "input"),
    ):
        found = answer(job, DataCache())
        assert isinstance(found, jobs.Failed)
        assert (found.kind, "\n" in found.text) == (kind, False)
        jobs.encode_answer(found)


def test_a_long_failure_is_cut_to_its_record() -> None:
    assert len(failed("data", "ü" * 3000).text.encode()) == 2000
    assert failed("data", "").text == "data"


PIECES = st.sampled_from([
    "x", "y", "group", "X", "left", "right", "LEFT", "1", "2.5", "1,5", "<2", "5 mg", "1,234", "", ",", ";", "\t", "|",
    '"', "'", "\n", "\r\n", "\n\n", "sep=;", "\u00e4", "\u2212", "\x00", "9" * 400, "a" * 300, " ", "(mg)", "1e999",
])


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    head=st.sampled_from([b"", b"x,y,group\n", b"y;x\n"]),
    content=st.lists(PIECES, max_size=60).map("".join).map(str.encode) | st.binary(max_size=120),
)
def test_any_file_is_an_answer_that_fits_its_record(
    spec: StudySpec, tmp_path: Path, start: jobs.ModelAt, head: bytes, content: bytes
) -> None:
    path = tmp_path / "any.csv"
    path.write_bytes(head + content)
    data = jobs.DataAt(str(path))
    for job in (jobs.CheckData(spec, data, True), jobs.ComputeStatistics(spec, data), jobs.Predict(start, data, "x")):
        frame, _ = jobs.encode_answer(answer(job, DataCache()))
        found = jobs.decode_answer(frame[4:])
        if isinstance(found, jobs.Predicted):
            assert len(found.notes) == len(found.ids) == found.rows == len(found.lines) // 4
