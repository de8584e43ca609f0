"""`fednode predict`: a model file and a table in, one line out for every row of the table, in its order.

Security assumption: the answer holds cells of the table (identifiers, values in notes). They go to the caller's
terminal and to the file the caller names, and nowhere else.
"""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from fednode.cli.data import local_map
from fednode.cli.model import model_file
from fednode.cli.show import print_json, print_table, ratio
from fednode.cli.site import Site, command, format_option, pass_site
from fednode.cli.worker_job import run_job
from fednode.errors import DataError, UsageError
from fednode.learn import jobs
from fednode.learn.score import Score, score
from fednode.learn.tables.kind import Tables
from fednode.learn.tables.site_map import PLAIN

SHOWN_ROWS = 20


@command(
    "predict",
    example="fednode predict --model model.safetensors --input patients.csv --id patient --output risks.csv\n"
    "fednode predict --model latest --input patients.csv --strict --format json\n"
    "fednode predict --model 9f86d081 --input test.csv --score",
)
@click.option("--model", "wanted", required=True, metavar="HASH|FILE", help="Model file, or hash of one in this home.")
@click.option("--input", "source", required=True, type=click.Path(path_type=Path), metavar="CSV", help="Table to read.")
@click.option("--id", "id_column", metavar="COLUMN", default="", help="Column to repeat beside each prediction.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="CSV", help="Write all rows to this file.")
@click.option("--force", is_flag=True, help="Overwrite the output file.")
@click.option("--strict", is_flag=True, help="End with an error if any row has a note (nothing is written then).")
@click.option("--score", "is_scored", is_flag=True, help="The table has the label: tell how good the predictions are.")
@format_option
@pass_site
def predict(
    site: Site, wanted: str, source: Path, id_column: str, output: Path | None, force: bool, strict: bool,
    is_scored: bool, as_json: bool,
) -> None:
    """Apply a model to a table. Schema and scaling come with the model; nothing else is needed.

    Every row of the table gives one row, in the same order, with its line in the file. A blank or unreadable row has no
    prediction. Notes say what was missing, unknown or outside its range; the study says what is done with the last.
    """
    target = _target(output, source, force)
    model = model_file(site, wanted)
    place = jobs.ModelAt(model.path, model.hash)
    site_map = local_map(site, model.spec.name, model.study)
    if site_map != PLAIN:
        click.echo(f"note: cells are read as [data.map] in {site.config_path} says", err=True)
    answer = run_job(jobs.Predict(place, jobs.DataAt(str(source.expanduser().absolute()), site_map), id_column))
    assert isinstance(answer, jobs.Predicted)
    classes = model.spec.data.classes
    found = _Found.of(answer, classes)
    measured = score(found.shares, np.frombuffer(answer.labels, np.int8).astype(np.int64)) if is_scored else None
    _summary(answer, found, strict)
    if measured is not None and not measured.rows:
        raise DataError(f"no row of {source} has a label and a prediction; --score needs the column of the label")
    if target is not None:
        _write(target, found.header(id_column), [found.cells(index) for index in range(answer.rows)])
    if as_json:
        shown = None if measured is None else _score_record(measured, classes)
        outside = {"outside": model.spec.data.outside} if isinstance(model.spec.data, Tables) else {}
        print_json({
            "model": model.hash.hex(), "study": model.spec.name, **outside,
            "rows": [found.record(index) for index in range(answer.rows)], "remarks": list(answer.remarks),
            "score": shown,
        })
        return
    print_table(found.header(id_column), [found.cells(index) for index in range(min(answer.rows, SHOWN_ROWS))])
    if target is not None:
        click.echo(f"{answer.rows} rows written to {output}")
    elif answer.rows > SHOWN_ROWS:
        click.echo(f"the first {SHOWN_ROWS} of {answer.rows} rows; --output FILE writes all")
    if measured is not None:
        _show_score(measured, classes)


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """The answer, row by row."""

    classes: tuple[str, ...]
    shares: NDArray[np.float32]
    lines: list[int]
    ids: tuple[str, ...]
    notes: tuple[str, ...]

    @staticmethod
    def of(answer: jobs.Predicted, classes: tuple[str, ...]) -> _Found:
        shares = np.frombuffer(answer.probabilities, "<f4").reshape(answer.rows, answer.classes)
        return _Found(classes, shares, np.frombuffer(answer.lines, "<u4").tolist(), answer.ids, answer.notes)

    def is_predicted(self, index: int) -> bool:
        return not bool(np.isnan(self.shares[index, 0]))

    def prediction(self, index: int) -> str:
        return self.classes[int(self.shares[index].argmax())] if self.is_predicted(index) else ""

    def header(self, id_column: str) -> list[str]:
        return ["line", *([id_column] if self.ids else []), "prediction", *(f"p({c})" for c in self.classes), "notes"]

    def cells(self, index: int) -> list[str]:
        shares = [f"{share:.6f}" if self.is_predicted(index) else "" for share in self.shares[index].tolist()]
        name = [self.ids[index]] if self.ids else []
        return [str(self.lines[index]), *name, self.prediction(index), *shares, self.notes[index]]

    def record(self, index: int) -> dict[str, object]:
        is_predicted = self.is_predicted(index)
        shares = dict(zip(self.classes, self.shares[index].tolist(), strict=True))
        return {
            "line": self.lines[index], **({"id": self.ids[index]} if self.ids else {}),
            "prediction": self.prediction(index) if is_predicted else None,
            "probabilities": shares if is_predicted else None,
            "notes": self.notes[index],
        }


def _target(output: Path | None, source: Path, force: bool) -> Path | None:
    if output is None:
        return None
    path = output.expanduser().absolute()
    if path.exists() and source.exists() and path.samefile(source):
        raise UsageError(f"{output} is the table that is read; write the predictions to another file")
    if path.exists() and not force:
        raise UsageError(f"{output} is there already; --force overwrites it, or name another file")
    return path


def _summary(answer: jobs.Predicted, found: _Found, strict: bool) -> None:
    """Say on stderr what the predictions rest on; with --strict any note is an error."""
    for remark in answer.remarks:
        click.echo(f"note: {remark}", err=True)
    noted = [index for index, note in enumerate(answer.notes) if note]
    without = sum(not found.is_predicted(index) for index in range(answer.rows))
    counts = f"{answer.rows - without} predicted, {without} without a prediction, {len(noted)} with notes"
    click.echo(f"{answer.rows} rows: {counts}", err=True)
    if noted and strict:
        first = f"the first in line {found.lines[noted[0]]}: {answer.notes[noted[0]]}"
        text = f"{len(noted)} of {answer.rows} rows have notes, {first}"
        raise DataError(f"{text}; mend the table, or leave --strict out")


def _score_record(measured: Score, classes: tuple[str, ...]) -> dict[str, object]:
    by_class = {name: asdict(one) for name, one in zip(classes, measured.classes, strict=True)}
    return {
        "rows": measured.rows, "correct": measured.correct, "accuracy": measured.correct / measured.rows,
        "unlabelled": measured.unlabelled, "unpredicted": measured.unpredicted,
        "auc": measured.classes[1].auc if len(classes) == 2 else None, "brier": measured.brier,
        "sensitivity": measured.classes[1].sensitivity if len(classes) == 2 else None,
        "specificity": measured.classes[1].specificity if len(classes) == 2 else None,
        "classes": by_class,
        "confusion": {
            name: dict(zip(classes, row, strict=True)) for name, row in zip(classes, measured.confusion, strict=True)
        },
        "calibration": [asdict(one) for one in measured.calibration],
    }


def _show_score(measured: Score, classes: tuple[str, ...]) -> None:
    click.echo(f"accuracy {ratio(measured.correct / measured.rows)}: {measured.correct} of {measured.rows} rows right")
    if measured.unlabelled or measured.unpredicted:
        click.echo(f"left out: {measured.unlabelled} rows without a label, {measured.unpredicted} without a prediction")
    print_table(
        ["true class", *(f"predicted {name}" for name in classes), "rows"],
        [(name, *(str(n) for n in row), str(sum(row))) for name, row in zip(classes, measured.confusion, strict=True)],
        title="confusion (rows)",
    )
    shown = list(zip(classes, measured.classes, strict=True))[1 if len(classes) == 2 else 0:]
    print_table(
        ["class", "sensitivity", "specificity", "AUC"],
        [(name, ratio(one.sensitivity), ratio(one.specificity), ratio(one.auc)) for name, one in shown],
    )
    what = f"p({classes[1]})" if len(classes) == 2 else "the largest probability"
    print_table(
        [f"{what} between", "rows", "mean predicted", "share observed"],
        [(f"{one.low:.1f} and {one.high:.1f}", str(one.rows), ratio(one.predicted), ratio(one.observed))
         for one in measured.calibration],
        title="calibration",
    )
    click.echo(f"Brier score {ratio(measured.brier)} (0 is perfect)")


def _write(path: Path, header: list[str], rows: list[list[str]]) -> None:
    from fednode.home.files import write_atomic

    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    write_atomic(path, text.getvalue().encode())
