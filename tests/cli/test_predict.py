"""`fednode predict` from the outside: nothing but a model file and a table."""

from __future__ import annotations

import csv
import json
import os

import pytest

from fednode.learn.form import parse_study
from fednode.learn.layout import Layout, Scaling
from fednode.learn.merge import initial_model
from fednode.learn.model_file import ModelFile, write_model
from fednode.learn.units import UNIT
from tests.support.studies import choice, number, study_file

STUDY = study_file(
    "liver", number("age", 18, 100, unit="years"), number("bilirubin", 0, 40, unit="mg/dl"),
    choice("label", "outcome", "alive", "died"), missing="NA",
)
TABLE = """patient,age,bilirubin,outcome
a,50,2.0,alive
b,50,34.2,died

c,NA,NA,alive
d,50,"x" y,died
e,51,300,died
f,50
"""


@pytest.fixture
def model(tmp_path):
    spec, study = parse_study(STUDY), bytes(range(32))
    path = tmp_path / "m.safetensors"
    scaling = Scaling((UNIT // 2,) * 2, (UNIT // 4,) * 2)
    path.write_bytes(write_model(ModelFile(study, 1, spec, scaling, initial_model(Layout.of(spec), study))))
    return path


def test_every_row_of_the_table_gives_one_row_in_its_place(fednode, tmp_path, model):
    table, output = tmp_path / "t.csv", tmp_path / "out.csv"
    table.write_text(TABLE)
    done = fednode("predict", "--model", model, "--input", table, "--id", "patient", "-o", output, "--format", "json")
    assert done.code == 0, done.err
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["line"] for row in rows] == ["2", "3", "4", "5", "6", "7", "8"]
    assert [row["patient"] for row in rows] == ["a", "b", "", "c", "", "e", "f"]
    assert [bool(row["prediction"]) for row in rows] == [True, True, False, False, False, True, False]
    assert [bool(row["p(died)"]) for row in rows] == [bool(row["prediction"]) for row in rows]
    assert rows[0]["notes"] == "" and "outside [0, 40] mg/dl" in rows[5]["notes"]
    assert "blank" in rows[2]["notes"] and "nothing usable" in rows[3]["notes"] and "quote" in rows[4]["notes"]
    found = json.loads(done.out)["rows"]
    assert [row["line"] for row in found] == list(range(2, 9))
    assert found[2]["prediction"] is None and found[0]["id"] == "a"
    assert "7 rows: 3 predicted, 4 without a prediction, 5 with notes" in done.err
    assert "column 'bilirubin': 1 of 3 values lie outside" in done.err

    before = output.read_bytes()
    again = fednode("predict", "--model", model, "--input", table, "-o", output)
    assert again.code == 2 and "--force" in again.err and output.read_bytes() == before
    onto_itself = fednode("predict", "--model", model, "--input", table, "-o", table, "--force")
    assert onto_itself.code == 2 and table.read_text() == TABLE
    strict = fednode("predict", "--model", model, "--input", table, "-o", output, "--force", "--strict")
    assert strict.code == 7 and "5 of 7 rows have notes, the first in line 4" in strict.err
    assert output.read_bytes() == before


@pytest.mark.slow
def test_scores_are_of_the_rows_that_have_label_and_prediction(fednode, tmp_path, model):
    table = tmp_path / "t.csv"
    table.write_text(TABLE)
    done = fednode("predict", "--model", model, "--input", table, "--score", "--format", "json")
    assert done.code == 0, done.err
    measured = json.loads(done.out)["score"]
    assert (measured["rows"], measured["unpredicted"], measured["unlabelled"]) == (3, 1, 3)
    assert sum(sum(row.values()) for row in measured["confusion"].values()) == 3
    assert 0 <= measured["auc"] <= 1 and measured["calibration"]
    shown = fednode("predict", "--model", model, "--input", table, "--score")
    assert all(word in shown.out for word in ("sensitivity", "specificity", "AUC", "calibration", "confusion"))
    bare = tmp_path / "bare.csv"
    bare.write_text("age,bilirubin\n50,1\n")
    refused = fednode("predict", "--model", model, "--input", bare, "--score")
    assert refused.code == 7 and "needs the column of the label" in refused.err


@pytest.mark.slow
def test_a_table_that_is_no_file_or_empty_is_refused(fednode, tmp_path, model):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    read = fednode("predict", "--model", model, "--input", pipe)
    assert read.code == 7 and "pipe or device" in read.err
    empty = tmp_path / "empty.csv"
    empty.touch()
    assert "the file is empty" in fednode("predict", "--model", model, "--input", empty).err


@pytest.mark.parametrize("text", ["\udcff", "x" * 5000])
@pytest.mark.parametrize("option", ["--id", "--input"])
def test_options_that_no_job_can_hold_are_told(fednode, tmp_path, model, option, text):
    table = tmp_path / "t.csv"
    table.write_text(TABLE)
    options = {"--input": table, "--id": "patient"} | {option: text + (".csv" if option == "--input" else "")}
    done = fednode("predict", "--model", model, *(part for pair in options.items() for part in pair))
    assert done.code in (2, 7, 13) and "nonsense" not in done.err
    assert "not UTF-8 text" in done.err or "shorten" in done.err
