from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from fednode.codec import pack
from fednode.errors import Rejected
from fednode.learn import jobs
from fednode.learn.layout import Scaling
from fednode.learn.measures import Metrics
from fednode.learn.study import StudySpec
from fednode.learn.tables.site_map import OtherName, OtherUnit, OtherValue, SiteMap
from fednode.learn.tables.verdicts import Fault, Found, Verdict
from fednode.learn.units import MAX_PARAMETERS

SCALING = Scaling((1,), (2,))
MODEL = jobs.ModelAt("/var/blobs/a.safetensors", b"h" * 32)
DATA = jobs.DataAt("/data/a.csv")
NAME, VALUE, UNIT = OtherName("age", "Alter"), OtherValue("age", "<1", "0.5"), OtherUnit("age", "a", "2")
SITE = SiteMap((NAME,), (VALUE,), (UNIT,), ("-",), ",")
FAULT = Fault("limit", 3, 7, (Found("<1", "0.5", 3, 7),))


def test_every_job_comes_back_from_its_frame(spec: StudySpec) -> None:
    for job in (
        jobs.CheckData(spec, DATA),
        jobs.ComputeStatistics(spec, DATA),
        jobs.Train(spec, bytes(32), 3, 2, SCALING, MODEL, DATA),
        jobs.Evaluate(spec, SCALING, MODEL, DATA),
        jobs.Predict(MODEL, jobs.DataAt("/data/ü.csv", SITE), "patient"),
    ):
        frame = jobs.encode_job(job)
        assert int.from_bytes(frame[:4], "big") == len(frame) - 4
        assert jobs.decode_job(frame[4:]) == job


def test_every_answer_comes_back_from_its_frame() -> None:
    for answer in (
        jobs.DataChecked((Verdict("age", "error", "text", 1, 2, (FAULT,)),), 5, 4, (2, 3)),
        jobs.StatisticsComputed(bytes(8)),
        jobs.Evaluated(Metrics(1, 1, 5), bytes(4)),
        jobs.Predicted(2, bytes(8), bytes(4), b"\xff", ("id",), ("note",), ("remark",)),
        jobs.Failed("data", "why"),
    ):
        frame, tail = jobs.encode_answer(answer)
        assert jobs.decode_answer(frame[4:]) == answer and tail == b""


def test_an_update_follows_the_frame_of_its_answer() -> None:
    update = np.array([1, 2], "<f4").data.cast("B")
    frame, tail = jobs.encode_answer(jobs.Trained(update, 4, bytes(8), 10**9, 12))
    head = jobs.decode_answer(frame[4:])
    assert head == jobs.TrainedHead(8, 4, bytes(8), 10**9, 12) and bytes(tail) == bytes(update)
    assert isinstance(head, jobs.TrainedHead) and head.with_delta(tail).delta == update
    for size in (0, 3, 4 * MAX_PARAMETERS + 4):
        with pytest.raises(Rejected):
            jobs.decode_answer(pack((7, size, 4, bytes(8), 1, 1)))


def test_foreign_records_are_rejected(spec: StudySpec) -> None:
    for record in (b"", b"\x90", pack((99, 1)), jobs.encode_answer(jobs.Failed("data", "x"))[0][4:]):
        with pytest.raises(Rejected):
            jobs.decode_job(record)


def test_data_is_ok_without_errors() -> None:
    verdicts = (Verdict("a", "ok", "", 0, 0), Verdict("b", "warning", "w", 0, 0))
    assert jobs.DataChecked(verdicts, 5, 4).is_ok
    bad = jobs.DataChecked((*verdicts, Verdict("c", "error", "e"), Verdict("", "error", "few")), 0, 0)
    assert not bad.is_ok and bad.complaint == "column 'c': e (and 1 more, 'fednode data check' shows all)"


def test_nothing_the_daemon_needs_of_learning_imports_torch() -> None:
    modules = "fednode.learn.jobs, fednode.learn.form, fednode.node.trainer"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
