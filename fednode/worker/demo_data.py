"""Data and yardsticks of the demonstration, as a process of its own: `python -m fednode.worker.demo_data`.

It writes the files the demo's hospitals train on and a test file no daemon ever sees, and afterwards measures
the federation's model beside what each hospital reaches alone and what pooling all data would reach. Every
command prints one JSON object.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fednode.errors import DataError, FednodeError, Rejected
from fednode.learn.form import parse_study
from fednode.learn.jobs import DataAt
from fednode.learn.layout import Layout, Scaling
from fednode.learn.measures import Metrics, measure
from fednode.learn.merge import initial_model
from fednode.learn.metrics.auc import area_ppm, count_bins
from fednode.learn.model_file import ModelFile, read_model
from fednode.learn.rows import Rows
from fednode.learn.study import StudySpec, spec_hash
from fednode.learn.tables.check import check_table
from fednode.learn.tables.kind import Tables, claim_statistics, scaling_of_one
from fednode.learn.tables.schema import encode_table
from fednode.worker.data import reader_of
from fednode.worker.datasets import read_table
from fednode.worker.evaluate import compute_logits
from fednode.worker.flatten import FlatModel
from fednode.worker.prepared import load_rows, usable_rows
from fednode.worker.train import batch_seed, run_epochs

DATASETS = ("breast-cancer", "digits")
DIRICHLET_CONCENTRATION = 0.5
LEAST_ROWS = 10
TEST_SHARE = 4
"""One row in four of each class is held out."""

MAX_DRAWS = 10_000


# --- splitting ----------------------------------------------------------------------------------------------

def load_bundled(dataset: str) -> tuple[tuple[str, ...], list[tuple[str, ...]], NDArray[np.int64]]:
    """Return column names, rows of cells (label last) and labels of a dataset bundled with scikit-learn."""
    from sklearn import datasets  # heavy, and only this command needs it

    if dataset == "breast-cancer":
        bundle = datasets.load_breast_cancer()
        names = tuple(str(name).replace(" ", "_") for name in bundle.feature_names)
        classes, label = [str(name) for name in bundle.target_names], "diagnosis"
    else:
        bundle = datasets.load_digits()
        names = tuple(f"pixel_{index}" for index in range(bundle.data.shape[1]))
        classes, label = [str(digit) for digit in range(10)], "digit"
    labels = bundle.target.astype(np.int64)
    rows = [
        (*(f"{value:.6g}" for value in features), classes[target])
        for features, target in zip(bundle.data, labels, strict=True)
    ]
    return (*names, label), rows, labels


def hold_out(labels: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.bool_]:
    """Return a stratified quarter, bool (n,): of each class one row in four, rounded."""
    mask = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        mask[members[: round(len(members) / TEST_SHARE)]] = True
    return mask


def split_by_label(
    labels: NDArray[np.int64], members: int, random: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Deal rows to members with label skew: per class, shares from a symmetric Dirichlet distribution.

    Drawn again until every member has at least LEAST_ROWS rows.
    """
    for _ in range(MAX_DRAWS):
        parts: list[list[int]] = [[] for _ in range(members)]
        for label in np.unique(labels):
            rows = random.permutation(np.flatnonzero(labels == label))
            shares = random.dirichlet([DIRICHLET_CONCENTRATION] * members)
            cuts = np.rint(np.cumsum(shares)[:-1] * len(rows)).astype(np.int64)
            for part, piece in zip(parts, np.split(rows, cuts), strict=True):
                part.extend(piece.tolist())
        if min(map(len, parts)) >= LEAST_ROWS:
            return [np.array(sorted(part), np.int64) for part in parts]
    raise DataError(f"{len(labels)} rows do not suffice for {members} members; choose fewer members")


def write_csv(path: Path, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table with its line of names."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)


def prepare_bundled(dataset: str, members: int, seed: int, folder: Path) -> dict[str, object]:
    """Write member-1.csv ... member-N.csv and test.csv from a bundled dataset."""
    names, rows, labels = load_bundled(dataset)
    random = np.random.default_rng(seed)
    held = hold_out(labels, random)
    kept = np.flatnonzero(~held)
    parts = [kept[part] for part in split_by_label(labels[kept], members, random)]
    test = [rows[index] for index in np.flatnonzero(held)]
    return _write_split(folder, names, [[rows[index] for index in part] for part in parts], test)


def prepare_files(spec: StudySpec, files: Sequence[Path], seed: int, folder: Path) -> dict[str, object]:
    """Hold out a stratified quarter of each given file; write the rest as member files and the quarters as test.csv."""
    random = np.random.default_rng(seed)
    names = tuple(column.name for column in _tables(spec).columns)
    parts: list[list[tuple[str, ...]]] = []
    test: list[tuple[str, ...]] = []
    for file in files:
        cells, labels = _labelled_cells(spec, file)
        held = hold_out(labels, random)
        parts.append([row for row, is_held in zip(cells, held, strict=True) if not is_held])
        test += [row for row, is_held in zip(cells, held, strict=True) if is_held]
    return _write_split(folder, names, parts, test)


def _tables(spec: StudySpec) -> Tables:
    if not isinstance(spec.data, Tables):
        raise DataError("the demonstration splits tables; this study has another kind of data")
    return spec.data


def _labelled_cells(spec: StudySpec, file: Path) -> tuple[list[tuple[str, ...]], NDArray[np.int64]]:
    tables = _tables(spec)
    table = read_table(tables, file)
    usable_rows(check_table(tables, table), file)  # complains about what is wrong
    encoded = encode_table(tables, table)
    labels = encoded.rows.labels
    places = [encoded.places.at[column.name] for column in tables.columns]
    known = [(table.rows[row], label) for row, label in zip(encoded.index, labels, strict=True) if label >= 0]
    return [tuple(row[at] for at in places) for row, _ in known], labels[labels >= 0]


def _write_split(
    folder: Path, names: Sequence[str], parts: list[list[tuple[str, ...]]], test: list[tuple[str, ...]]
) -> dict[str, object]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"member-{number}.csv" for number in range(1, len(parts) + 1)]
    for path, part in zip(paths, parts, strict=True):
        write_csv(path, names, part)
    write_csv(folder / "test.csv", names, test)
    return {
        "members": [str(path) for path in paths],
        "rows": [len(part) for part in parts],
        "test": str(folder / "test.csv"),
        "test_rows": len(test),
    }


# --- measuring ----------------------------------------------------------------------------------------------

def own_scaling(spec: StudySpec, rows: Rows) -> Scaling:
    """Return the scaling of one party's rows alone, by the same integer path as round 0."""
    columns = _tables(spec).columns
    return scaling_of_one(columns, claim_statistics(columns, rows, None))


@dataclass(frozen=True, slots=True)
class Measured:
    """How good a model is on test rows; the area under the curve, in 10^-6, is of two classes only."""

    metrics: Metrics
    auc_ppm: int | None

    @staticmethod
    def of(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> Measured:
        """Measure outputs (n, classes) against labels (n,)."""
        bins = count_bins(logits, labels) if logits.shape[1] == 2 else None
        auc = None if bins is None else area_ppm(bins[0].tolist(), bins[1].tolist())
        return Measured(measure(logits, labels), auc)


def central_training(spec: StudySpec, study: bytes, rows: Rows, test: Rows) -> Measured:
    """Train the study's model on `rows` in one place for as many epochs as all rounds together; measure on `test`.

    All rows train: nothing is set aside, clipped or quantised, so this is what sharing the data would give.
    """
    scaling = own_scaling(spec, rows)
    flat = FlatModel(spec)
    flat.load(initial_model(Layout.of(spec), study))
    generator = torch.Generator().manual_seed(batch_seed(study, 0, 0))
    scale = reader_of(spec).scale
    inputs, labels = torch.from_numpy(scale(rows, scaling)), torch.from_numpy(rows.labels)
    run_epochs(spec, flat, inputs, labels, spec.rounds * spec.local_epochs, generator)
    flat.network.eval()
    with torch.no_grad():
        logits = flat.network(torch.from_numpy(scale(test, scaling))).double().numpy()
    return Measured.of(logits, test.labels)


def pooled_rows(parts: Sequence[Rows]) -> Rows:
    """Return all rows in one place."""
    return Rows(np.concatenate([part.features for part in parts]), np.concatenate([part.labels for part in parts]))


def compare(spec: StudySpec, model: Path | None, files: Sequence[Path], test_file: Path) -> dict[str, object]:
    """Measure on the test file: the model, each member alone, all data pooled (same epochs in total)."""
    test = load_rows(spec, DataAt(str(test_file)))
    parts = [load_rows(spec, DataAt(str(file))) for file in files]
    study: bytes = spec_hash(spec)
    result: dict[str, object] = {}
    if model is not None:
        study = _load_model(model).study  # all begin with the same values
        result.update(score(model, test_file))
    result["local_only"] = [_shares(central_training(spec, study, part, test))["accuracy"] for part in parts]
    pooled = _shares(central_training(spec, study, pooled_rows(parts), test))
    return {**result, "pooled": pooled["accuracy"], "pooled_auc": pooled["auc"]}


def score(model: Path, test_file: Path) -> dict[str, object]:
    """Measure a model file on a labelled file, from the model file alone."""
    loaded = _load_model(model)
    rows = load_rows(loaded.spec, DataAt(str(test_file)))
    logits = compute_logits(loaded.spec, loaded.values, loaded.scaling, rows)
    return _shares(Measured.of(logits, rows.labels))


def _load_model(path: Path) -> ModelFile:
    try:
        return read_model(path.read_bytes())
    except OSError as error:
        raise DataError(f"model file {path} cannot be read ({type(error).__name__}); check the path") from None
    except Rejected as error:
        raise DataError(f"model file {path}: {error.reason}; export it again") from None


def _shares(measured: Measured) -> dict[str, object]:
    auc, metrics = measured.auc_ppm, measured.metrics
    return {
        "accuracy": round(metrics.correct / metrics.rows, 4),
        "auc": None if auc is None else round(auc / 1e6, 4),
        "test_rows": metrics.rows,
    }


# --- process entry ------------------------------------------------------------------------------------------

def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fednode.worker.demo_data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    bundled = commands.add_parser("split", help="split a bundled dataset among members")
    bundled.add_argument("--dataset", choices=DATASETS, required=True)
    bundled.add_argument("--members", type=int, required=True)
    files = commands.add_parser("split-files", help="hold out a quarter of each given file")
    measured = commands.add_parser("compare", help="model, each member alone and all data pooled on a test file")
    measured.add_argument("--model", type=Path)
    scored = commands.add_parser("score", help="one model on a test file")
    scored.add_argument("--model", type=Path, required=True)
    for command in (bundled, files):
        command.add_argument("--seed", type=int, default=1)
        command.add_argument("--out", type=Path, required=True)
    for command in (files, measured):
        command.add_argument("--study", type=Path, required=True)
        command.add_argument("files", type=Path, nargs="+")
    for command in (measured, scored):
        command.add_argument("--test", type=Path, required=True)
    return parser


def _study(path: Path) -> StudySpec:
    try:
        return parse_study(path.read_bytes(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"study file {path} cannot be read ({type(error).__name__}); check the path") from None


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Carry out one command and return its result."""
    if arguments.command == "split":
        return prepare_bundled(arguments.dataset, arguments.members, arguments.seed, arguments.out)
    if arguments.command == "score":
        return score(arguments.model, arguments.test)
    spec = _study(arguments.study)
    if arguments.command == "split-files":
        return prepare_files(spec, arguments.files, arguments.seed, arguments.out)
    return compare(spec, arguments.model, arguments.files, arguments.test)


def main() -> int:
    """Process entry; errors go to stderr as one sentence, with the documented exit code."""
    torch.set_num_threads(1)
    try:
        sys.stdout.write(json.dumps(run(_parser().parse_args())) + "\n")
    except FednodeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
