"""`fednode predict`: a model file and a table in, probabilities out."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import click
import numpy as np

from fednode.cli.model import model_file
from fednode.cli.show import print_json, print_table, ratio
from fednode.cli.site import Site, command, format_option, pass_site
from fednode.cli.worker_job import run_job
from fednode.learn import jobs
from fednode.learn.model_file import StoredModel
from fednode.learn.spec import label_of

SHOWN_ROWS = 20


@command(
    "predict",
    example="fednode predict --model model.safetensors --input patients.csv --output risks.csv\n"
    "fednode predict --model 9f86d081 --input test.csv --score",
)
@click.option("--model", "wanted", required=True, metavar="HASH|FILE", help="Model file, or hash of one in this home.")
@click.option("--input", "source", required=True, type=click.Path(path_type=Path), metavar="CSV", help="Table to read.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="CSV", help="Write all rows to this file.")
@click.option("--score", is_flag=True, help="The table has the label: tell how many rows the model gets right.")
@format_option
@pass_site
def predict(site: Site, wanted: str, source: Path, output: Path | None, score: bool, as_json: bool) -> None:
    """Apply a model to a table. Schema and scaling come with the model; nothing else is needed."""
    model = model_file(site, wanted)
    table = str(source.expanduser().absolute())
    answer = run_job(jobs.Predict(jobs.ModelAt(model.path, model.hash), table))
    assert isinstance(answer, jobs.Predicted)
    shares = np.frombuffer(answer.probabilities, "<f4").reshape(answer.rows, answer.classes)
    classes = label_of(model.spec).levels
    chosen = [classes[index] for index in shares.argmax(axis=1)]
    metrics = _score(model, table) if score else None
    header = ["row", "prediction", *(f"p({level})" for level in classes)]
    rows = [[str(number), name, *(f"{p:.6f}" for p in row)] for number, (name, row) in
            enumerate(zip(chosen, shares.tolist(), strict=True), 1)]
    if output is not None:
        _write(output, header, rows)
    if as_json:
        found = [
            {"row": number, "prediction": name, "probabilities": dict(zip(classes, row, strict=True))}
            for number, (name, row) in enumerate(zip(chosen, shares.tolist(), strict=True), 1)
        ]
        print_json({"model": model.hash.hex(), "study": model.spec.name, "rows": found, "score": metrics})
        return
    print_table(header, rows[:SHOWN_ROWS])
    if output is not None:
        click.echo(f"{len(rows)} rows written to {output}")
    elif len(rows) > SHOWN_ROWS:
        click.echo(f"the first {SHOWN_ROWS} of {len(rows)} rows; --output FILE writes all")
    if metrics is not None:
        click.echo(f"accuracy {ratio(metrics['accuracy'])}: {metrics['correct']} of {metrics['rows']} rows right")


def _score(model: StoredModel, table: str) -> dict[str, float | int]:
    place = jobs.ModelAt(model.path, model.hash)
    answer = run_job(jobs.Evaluate(model.spec, model.scaling, place, table, all_rows=True))
    assert isinstance(answer, jobs.Evaluated)
    metrics = answer.metrics
    return {"rows": metrics.rows, "correct": metrics.correct, "accuracy": metrics.correct / max(1, metrics.rows)}


def _write(path: Path, header: list[str], rows: list[list[str]]) -> None:
    from fednode.node.files import write_atomic

    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    write_atomic(path.expanduser().absolute(), text.getvalue().encode())
