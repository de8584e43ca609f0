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
from fednode.learn.layout import Scaling
from fednode.learn.measures import claim_closing, claim_quality, measure
from fednode.learn.model_file import StoredModel, check_model
from fednode.learn.rows import Rows
from fednode.learn.study import StudySpec
from fednode.learn.tables.kind import MAX_COLUMNS
from fednode.sums.measures import Claims
from fednode.worker.algorithms import trainer_of
from fednode.worker.data import reader_of
from fednode.worker.evaluate import compute_logits, evaluate, probabilities
from fednode.worker.flatten import check_network
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
            return jobs.StatisticsComputed(_claim_statistics(job.spec, prepared).tobytes(), prepared.seen)
        case jobs.Train():
            return _train(job, cache)
        case jobs.Evaluate():
            model = _model(job.spec, job.scaling, job.model)
            prepared = cache.get(job.spec, job.data)
            logits = compute_logits(job.spec, model, job.scaling, prepared.validation)
            labels = prepared.validation.labels
            claims = claim_closing(job.spec, logits, labels, _FRESH)
            return jobs.Evaluated(measure(logits, labels), claims.tobytes(), prepared.seen)
        case jobs.Predict():
            return _predict(job)
        case _:
            assert_never(job)


def _claim_statistics(spec: StudySpec, prepared: Prepared) -> Claims:
    return reader_of(spec).claim_statistics(spec.data, prepared.rows, _FRESH)


def _check(job: jobs.CheckData) -> jobs.DataChecked:
    check_network(job.spec)  # a member that could not train is told now, not in a round
    trainer_of(job.spec)
    reader = reader_of(job.spec)
    checked = reader.check(job.spec.data, job.data, job.shows_cells)
    if checked.rows is None:
        fix = reader.suggest(job.spec.data, job.data) if job.shows_cells else None
        return jobs.DataChecked(checked.verdicts, 0, 0, checked.class_rows, fix=fix)
    prepared = Prepared.of(job.spec, checked.rows, checked.verdicts)
    rows, train_rows = len(prepared.rows.labels), len(prepared.training.labels)
    return jobs.DataChecked(checked.verdicts, rows, train_rows, checked.class_rows, prepared.seen)


def _train(job: jobs.Train, cache: DataCache) -> jobs.Trained:
    model = _model(job.spec, job.scaling, job.model)
    prepared = cache.get(job.spec, job.data)
    started = time.monotonic()
    seed = batch_seed(job.study, job.round_number, job.member)
    update = train(job.spec, model, job.scaling, prepared.training, seed, job.own)
    metrics = evaluate(job.spec, model, job.scaling, prepared.validation)
    return jobs.Trained(
        delta=update.delta.astype("<f4", copy=False).data.cast("B"),
        train_rows=update.train_rows,
        claims=claim_quality(metrics, _FRESH).tobytes(),
        norm_ppm=min(round(update.norm * 1_000_000), _NORM_LIMIT_PPM),
        milliseconds=round(1000 * (time.monotonic() - started)),
        seen=prepared.seen,
        own=update.own,
    )


def _predict(job: jobs.Predict) -> jobs.Predicted:
    model = _open(job.model)
    found = reader_of(model.spec).read_patients(model.spec.data, job.data, job.id_column)
    count = len(found.lines)
    if count > jobs.MAX_PREDICTED_ROWS:
        raise DataError(f"the file has {count} rows, at most {jobs.MAX_PREDICTED_ROWS} at once; split it")
    usable = Rows(found.rows.features[found.is_usable], found.rows.labels[found.is_usable])
    classes = len(model.spec.data.classes)
    shares = np.full((count, classes), np.nan, np.float32)
    shares[found.is_usable] = probabilities(compute_logits(model.spec, model.load(), model.scaling, usable))
    return jobs.Predicted(
        classes, shares.astype("<f4").tobytes(), np.array(found.lines, "<u4").tobytes(),
        found.rows.labels.astype(np.int8).tobytes(), found.ids, found.notes, found.remarks[:MAX_COLUMNS],
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
