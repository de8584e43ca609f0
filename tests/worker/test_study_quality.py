"""What the studies of the genesis folder reach, over the whole integer path but without network and masks.

Each member trains, clips and quantises, the ring adds, the merge is the integer one. The figures are those the
demonstration has to reach, with one of the members away for two rounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fednode.learn.algorithms.averaging import Round
from fednode.learn.form import parse_study
from fednode.learn.jobs import DataAt
from fednode.learn.layout import Layout
from fednode.learn.merge import OpenedSum, Reader, Stretch, initial_model, next_model
from fednode.learn.rows import Rows
from fednode.learn.study import StudySpec, spec_hash, weight_of
from fednode.learn.units import UNIT
from fednode.smpc.vectors import quantise
from fednode.sums import field
from fednode.sums.measures import encode_claims, tally, words_of
from fednode.worker import demo_data
from fednode.worker.data import reader_of
from fednode.worker.evaluate import evaluate
from fednode.worker.prepared import Prepared, load_rows
from fednode.worker.train import batch_seed, train

GENESIS = Path(__file__).resolve().parents[2] / "genesis"
HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")
SEEDS = range(1, 6)
AWAY_ROUNDS = (4, 5)


@dataclass
class Stream:
    """Unpredictable bytes that repeat from run to run."""

    random: np.random.Generator

    def random_bytes(self, count: int) -> bytes:
        return self.random.bytes(count)


def reading(model: NDArray[np.int64]) -> Reader:
    """Read stretches of a model in memory."""

    def read(stretches: Iterable[Stretch]) -> Iterator[NDArray[np.int64]]:
        return (model[start : start + count] for start, count in stretches)

    return read


def federated_accuracy(spec: StudySpec, parts: list[Rows], test: Rows, away: int | None) -> float:
    """Train all rounds; member `away` misses AWAY_ROUNDS."""
    study, layout, entropy = spec_hash(spec), Layout.of(spec), Stream(np.random.default_rng(0))
    plan, reader = spec.data.statistics_plan(), reader_of(spec)
    claims = [reader.claim_statistics(spec.data, part, entropy) for part in parts]
    words = field.total(np.stack([words_of(plan, encode_claims(plan, each)) for each in claims]), 0)
    scaling = spec.data.scaling_from(tally(plan, words.tolist(), len(parts)))
    training = [Prepared.of(spec, part).training for part in parts]
    model = initial_model(layout, study)
    for number in range(1, spec.rounds + 1):
        total = np.zeros(layout.size, np.uint32)
        weights = []
        for member, rows in enumerate(training, 1):
            if member == away and number in AWAY_ROUNDS:
                continue
            update = train(spec, model, scaling, rows, batch_seed(study, number, member))
            weight = weight_of(spec, update.train_rows)
            total += quantise(update.delta, spec.clip_q24 / UNIT, weight, spec.max_weight, entropy).view(np.uint32)
            weights.append(weight)
        opened = OpenedSum(total.view(np.int32), sum(weights), Round(number, len(weights), len(training)))
        model = np.concatenate(list(next_model(spec, reading(model), opened)))
    metrics = evaluate(spec, model, scaling, test)
    return metrics.correct / metrics.rows


def figures(spec: StudySpec, made: dict[str, object], away: int | None) -> tuple[float, float]:
    """Return federated and pooled accuracy on the test file."""
    parts = [load_rows(spec, DataAt(file)) for file in made["members"]]  # type: ignore[attr-defined]
    test = load_rows(spec, DataAt(str(made["test"])))
    pooled = demo_data.central_training(spec, spec_hash(spec), demo_data.pooled_rows(parts), test)
    return federated_accuracy(spec, parts, test, away), pooled.metrics.correct / pooled.metrics.rows


@pytest.mark.slow
@pytest.mark.parametrize("away", [None, 1])
@pytest.mark.parametrize(
    ("file", "dataset", "members", "least", "mean_gap"),
    [("breast_cancer", "breast-cancer", 4, 0.95, 0.02), ("digits", "digits", 7, 0.90, 0.04)],
)
def test_label_skewed_members_come_close_to_pooled_data(
    tmp_path: Path, file: str, dataset: str, members: int, least: float, mean_gap: float, away: int | None
) -> None:
    spec = parse_study((GENESIS / f"{file}.toml").read_text())
    reached = [
        figures(spec, demo_data.prepare_bundled(dataset, members, seed, tmp_path / str(seed)), away) for seed in SEEDS
    ]
    assert min(federated for federated, _ in reached) >= least
    assert max(pooled - federated for federated, pooled in reached) <= 0.04
    assert np.mean([pooled - federated for federated, pooled in reached]) <= mean_gap


@pytest.mark.slow
def test_four_real_hospitals_come_close_to_pooled_data(shared_dir: Path, tmp_path: Path) -> None:
    spec = parse_study((GENESIS / "heart.toml").read_text())
    files = [shared_dir / "data" / "heart_disease" / f"processed.{name}.data" for name in HOSPITALS]
    if not all(file.is_file() for file in files):
        pytest.skip("the four heart disease files are not there")
    reached = [figures(spec, demo_data.prepare_files(spec, files, seed, tmp_path / str(seed)), None) for seed in SEEDS]
    assert min(federated for federated, _ in reached) >= 0.75
    assert max(pooled - federated for federated, pooled in reached) <= 0.04
