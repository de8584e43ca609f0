from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fednode.learn.jobs import DataAt
from fednode.learn.layout import Layout, Scaling
from fednode.learn.measures import Metrics
from fednode.learn.merge import initial_model
from fednode.learn.metrics.auc import area_ppm, count_bins
from fednode.learn.models.logistic import Logistic
from fednode.learn.models.mlp import Mlp
from fednode.learn.rows import Rows
from fednode.learn.study import Optimiser, StudySpec, with_model
from fednode.learn.tables.kind import Tables, claim_statistics, scaling_of_one
from fednode.learn.tables.schema import standardise
from fednode.learn.units import UNIT
from fednode.worker.evaluate import compute_logits, evaluate, probabilities
from fednode.worker.flatten import FlatModel
from fednode.worker.prepared import load_rows
from fednode.worker.train import OPTIMISERS, NumericalFailure, batch_seed, run_epochs, train

STUDY = bytes(range(32))


@pytest.fixture
def rows(spec: StudySpec, data_file: Path) -> Rows:
    return load_rows(spec, DataAt(str(data_file)))


@pytest.fixture
def scaling(tables: Tables, rows: Rows) -> Scaling:
    return scaling_of_one(tables.columns, claim_statistics(tables.columns, rows, None))


def start_of(spec: StudySpec) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return initial_model(Layout.of(spec), STUDY)  # type: ignore[return-value]


def test_parameters_are_views_of_one_vector_in_layout_order(spec: StudySpec) -> None:
    flat, model = FlatModel(spec), start_of(spec)
    flat.load(model)
    for tensor in Layout.of(spec).tensors:
        part = model[tensor.offset : tensor.offset + tensor.size].reshape(tensor.shape) / UNIT
        stored = flat.network.state_dict()[tensor.name].numpy()
        np.testing.assert_array_equal(stored, part.astype(np.float32))
    flat.values.zero_()
    assert all(not parameter.any() for parameter in flat.network.parameters())
    flat.network(torch.ones(1, 2)).sum().backward()
    assert flat.gradient.abs().sum() > 0


def test_the_same_round_gives_the_same_bytes(spec: StudySpec, rows: Rows, scaling: Scaling) -> None:
    seed = batch_seed(STUDY, 3, 2)
    first, second = (train(spec, start_of(spec), scaling, rows, seed) for _ in range(2))
    assert first.delta.tobytes() == second.delta.tobytes()
    other = train(spec, start_of(spec), scaling, rows, batch_seed(STUDY, 3, 1))
    assert other.delta.tobytes() != first.delta.tobytes()


def test_batches_differ_by_study_round_and_member() -> None:
    seeds = {batch_seed(study, n, member) for study in (STUDY, bytes(32)) for n in (0, 1) for member in (1, 2)}
    assert len(seeds) == 8


@pytest.mark.parametrize("clip_q24", [UNIT // 100, UNIT // 3, 1, UNIT << 10])
def test_an_update_is_never_longer_than_the_clip(
    spec: StudySpec, rows: Rows, scaling: Scaling, clip_q24: int
) -> None:
    update = train(replace(spec, clip_q24=clip_q24), start_of(spec), scaling, rows, 1)
    length = float(np.sqrt(np.square(update.delta.astype(np.float64)).sum()))
    assert update.delta.dtype == np.float32
    assert length <= clip_q24 / UNIT
    assert length == pytest.approx(min(update.norm, clip_q24 / UNIT), rel=1e-5)


def test_training_learns(spec: StudySpec, rows: Rows, scaling: Scaling) -> None:
    model = start_of(spec)
    before = evaluate(spec, model, scaling, rows)
    for number in range(4):
        delta = train(spec, model, scaling, rows, number).delta
        model = model + np.rint(delta.astype(np.float64) * UNIT).astype(np.int64)
    after = evaluate(spec, model, scaling, rows)
    assert isinstance(after, Metrics)
    assert after.loss_q16 < before.loss_q16
    assert after.correct > 0.95 * after.rows
    bins = count_bins(compute_logits(spec, model, scaling, rows), rows.labels)
    assert (area_ppm(*(counts.tolist() for counts in bins)) or 0) > 950_000


@pytest.mark.slow
def test_divergence_is_a_numerical_failure(spec: StudySpec, rows: Rows, scaling: Scaling) -> None:
    wild = replace(spec, optimiser=Optimiser("sgd", 100_000_000, 999_999, 10_000_000, 1), local_epochs=100)
    with pytest.raises(NumericalFailure, match="lower the learning rate"):
        train(wild, start_of(wild), scaling, rows, 1)


def test_outputs_that_overflow_are_a_numerical_failure(spec: StudySpec, rows: Rows, scaling: Scaling) -> None:
    deep = with_model(spec, Mlp((64,) * 8))
    model = np.full(Layout.of(deep).size, (1 << 39) - 1, np.int64)
    with pytest.raises(NumericalFailure, match="not finite"):
        compute_logits(deep, model, scaling, Rows(np.ones((2, 2)), np.zeros(2, np.int64)))


def test_probabilities_sum_to_one() -> None:
    shares = probabilities(np.array([[1000.0, 0.0], [0.0, 0.0]]))
    np.testing.assert_allclose(shares, [[1, 0], [0.5, 0.5]])


@pytest.mark.slow  # torch.optim imports the compiler
@pytest.mark.parametrize("kind", sorted(OPTIMISERS))
def test_optimisers_take_the_steps_of_torch(spec: StudySpec, rows: Rows, scaling: Scaling, kind: str) -> None:
    momentum = 900_000 if kind == "sgd" else 0
    study = with_model(replace(spec, optimiser=Optimiser(kind, 10_000, momentum, 20_000, 7)), Logistic())
    inputs, labels = torch.from_numpy(standardise(rows, scaling)), torch.from_numpy(rows.labels)
    ours, theirs = FlatModel(study), FlatModel(study)
    for flat in (ours, theirs):
        flat.load(start_of(study))
    run_epochs(study, ours, inputs, labels, 3, torch.Generator().manual_seed(5))
    parameters = list(theirs.network.parameters())
    if kind == "sgd":
        optimiser: torch.optim.Optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=0.02)
    else:
        optimiser = torch.optim.Adam(parameters, lr=0.01, weight_decay=0.02)
    generator = torch.Generator().manual_seed(5)
    for _ in range(3):
        for batch in torch.split(torch.randperm(len(labels), generator=generator), 7):
            optimiser.zero_grad(set_to_none=False)
            torch.nn.functional.cross_entropy(theirs.network(inputs[batch]), labels[batch]).backward()
            optimiser.step()
    np.testing.assert_allclose(ours.values.numpy(), theirs.values.numpy(), rtol=1e-4, atol=1e-6)
