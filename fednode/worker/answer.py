"""What the worker does for each kind of job."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from fednode.errors import DataError, Rejected
from fednode.learn import jobs
from fednode.learn.measures import claim_metrics, claim_quality, claim_statistics
from fednode.learn.model_file import StoredModel, check_model
from fednode.learn.study import MAX_COLUMNS, StudySpec, label_of
from fednode.learn.tables.check import check_table
from fednode.learn.tables.patients import read_patients
from fednode.learn.tables.schema import Rows, Scaling
from fednode.learn.tables.suggest import suggest
from fednode.worker.datasets import read_table
from fednode.worker.evaluate import compute_logits, evaluate, probabilities
from fednode.worker.prepared import DataCache, Prepared
from fednode.worker.train import NumericalFailure, batch_seed, train

MAX_TEXT_BYTES = 2000
_NORM_LIMIT_PPM = 2**63


class _SystemEntropy:
    def random_bytes(self, count: int) -> bytes:
        return os.urandom(count)


_FRESH = _SystemEntropy()


def answer(job: jobs.Job, cache: DataCache) -> jobs.Answer:
    """Do one job; faults of data, numbers, memory or the job itself become `Failed`, anything else is a bug."""
    try:
        return _do(job, cache)
    except DataError as error:
        return failed("data", str(error))
    except NumericalFailure as error:
        return failed("numerical", str(error))
    except Rejected as error:
        return failed("input", f"the job cannot be used: {error.reason}")
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):  # how torch says it
            raise
        return failed("memory", "not enough memory for this job; raise the worker's memory limit or use a smaller file")


def failed(kind: str, text: str) -> jobs.Failed:
    """Return a failure whose text fits its record."""
    return jobs.Failed(kind, text.encode()[:MAX_TEXT_BYTES].decode(errors="ignore") or kind)


def _do(job: jobs.Job, cache: DataCache) -> jobs.Answer:
    match job:
        case jobs.CheckData():
            return _check(job)
        case jobs.ComputeStatistics():
            prepared = cache.get(job.spec, job.data)
            return jobs.StatisticsComputed(claim_statistics(job.spec, prepared.rows, _FRESH).tobytes(), prepared.seen)
        case jobs.Train():
            return _train(job, cache)
        case jobs.Evaluate():
            model = _model(job.spec, job.scaling, job.model)
            prepared = cache.get(job.spec, job.data)
            metrics = evaluate(job.spec, model, job.scaling, prepared.validation)
            return jobs.Evaluated(metrics, claim_metrics(metrics, _FRESH).tobytes(), prepared.seen)
        case jobs.Predict():
            return _predict(job)
        case _:
            assert_never(job)


def _check(job: jobs.CheckData) -> jobs.DataChecked:
    table = read_table(job.spec, Path(job.data.path), job.data.site)
    checked = check_table(job.spec, table, job.data.site, job.shows_cells)
    if checked.rows is None:
        fix = suggest(job.spec, table, job.data.site) if job.shows_cells else None
        return jobs.DataChecked(checked.verdicts, 0, 0, checked.class_rows, fix=fix)
    prepared = Prepared.of(job.spec, checked.rows, checked.verdicts)
    rows, train_rows = len(prepared.rows.labels), len(prepared.training.labels)
    return jobs.DataChecked(checked.verdicts, rows, train_rows, checked.class_rows, prepared.seen)


def _train(job: jobs.Train, cache: DataCache) -> jobs.Trained:
    model = _model(job.spec, job.scaling, job.model)
    prepared = cache.get(job.spec, job.data)
    started = time.monotonic()
    seed = batch_seed(job.study, job.round_number, job.member)
    update = train(job.spec, model, job.scaling, prepared.training, seed)
    metrics = evaluate(job.spec, model, job.scaling, prepared.validation)
    return jobs.Trained(
        delta=update.delta.astype("<f4", copy=False).data.cast("B"),
        train_rows=update.train_rows,
        claims=claim_quality(metrics, _FRESH).tobytes(),
        norm_ppm=min(round(update.norm * 1_000_000), _NORM_LIMIT_PPM),
        milliseconds=round(1000 * (time.monotonic() - started)),
        seen=prepared.seen,
    )


def _predict(job: jobs.Predict) -> jobs.Predicted:
    model = _open(job.model)
    table = read_table(model.spec, Path(job.data.path), job.data.site)
    if len(table.rows) > jobs.MAX_PREDICTED_ROWS:
        raise DataError(f"the file has {len(table.rows)} rows, at most {jobs.MAX_PREDICTED_ROWS} at once; split it")
    found = read_patients(model.spec, table, job.id_column, job.data.site)
    usable = Rows(found.rows.features[found.is_usable], found.rows.labels[found.is_usable])
    classes = len(label_of(model.spec).levels)
    shares = np.full((len(table.rows), classes), np.nan, np.float32)
    shares[found.is_usable] = probabilities(compute_logits(model.spec, model.load(), model.scaling, usable))
    return jobs.Predicted(
        classes, shares.astype("<f4").tobytes(), np.array(found.lines, "<u4").tobytes(),
        found.rows.labels.astype(np.int8).tobytes(), found.ids, found.notes,
        (*table.remarks, *found.remarks)[: MAX_COLUMNS],
    )


def _model(spec: StudySpec, scaling: Scaling, place: jobs.ModelAt) -> NDArray[np.int64]:
    model = _open(place)
    if model.spec != spec or model.scaling != scaling:
        raise Rejected("the model does not belong to this study")
    return model.load()


def _open(place: jobs.ModelAt) -> StoredModel:
    """Check a model file; raise `Rejected` unless it holds the model asked for."""
    path = Path(place.path)
    try:
        model = check_model(lambda: path.open("rb"), place.path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Rejected(f"the model file {path} cannot be read ({reason})") from None
    if model.hash != place.hash:
        raise Rejected("the model file holds another model")
    return model
