from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fednode.errors import DataError
from fednode.learn.form import to_toml
from fednode.learn.jobs import DataAt
from fednode.learn.layout import Layout, Scaling
from fednode.learn.merge import initial_model
from fednode.learn.model_file import ModelFile, write_model
from fednode.learn.study import StudySpec
from fednode.learn.units import UNIT
from fednode.worker import demo_data
from fednode.worker.prepared import load_rows

SCALING = Scaling((UNIT // 2,) * 2, (UNIT // 4,) * 2)


def lines(path: str | Path) -> list[str]:
    return Path(path).read_text().splitlines()


@pytest.mark.parametrize(("dataset", "members", "rows"), [("breast-cancer", 4, 569), ("digits", 7, 1797)])
def test_every_row_goes_to_one_member_or_to_the_test_file(
    tmp_path: Path, dataset: str, members: int, rows: int
) -> None:
    made = demo_data.prepare_bundled(dataset, members, 3, tmp_path)
    again = demo_data.prepare_bundled(dataset, members, 3, tmp_path / "again")
    other = demo_data.prepare_bundled(dataset, members, 4, tmp_path / "other")
    files = [*made["members"], made["test"]]  # type: ignore[misc]
    parts = [lines(file)[1:] for file in files]
    assert sum(map(len, parts)) == rows
    names, everything, _ = demo_data.load_bundled(dataset)
    assert sorted(line for part in parts for line in part) == sorted(",".join(row) for row in everything)
    assert lines(files[0])[0] == ",".join(names)
    assert min(map(len, parts)) >= demo_data.LEAST_ROWS
    assert abs(made["test_rows"] - rows / 4) <= 5  # type: ignore[operator]
    assert [lines(file) for file in again["members"]] == [lines(file) for file in made["members"]]  # type: ignore[attr-defined]
    assert lines(other["test"]) != lines(made["test"])  # type: ignore[arg-type]


def test_the_held_out_quarter_is_stratified() -> None:
    labels = np.array([0] * 40 + [1] * 100 + [2] * 2)
    held = demo_data.hold_out(labels, np.random.default_rng(0))
    assert np.bincount(labels[held], minlength=3).tolist() == [10, 25, 0]


def test_label_skew_is_real() -> None:
    labels = np.array([0, 1] * 300)
    parts = demo_data.split_by_label(labels, 4, np.random.default_rng(1))
    shares = [labels[part].mean() for part in parts]
    assert max(shares) - min(shares) > 0.3
    assert sorted(np.concatenate(parts).tolist()) == list(range(600))


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(DataError, match="choose fewer members"):
        demo_data.split_by_label(np.array([0, 1] * 10), 4, np.random.default_rng(1))


def test_own_files_give_up_a_quarter_each(spec: StudySpec, data_file: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.csv"
    bare.write_text("\n".join(lines(data_file)[1:]) + "\n1,1,?\n")
    made = demo_data.prepare_files(spec, [data_file, bare], 1, tmp_path / "out")
    assert (made["rows"], made["test_rows"]) == ([44, 44], 32)
    for file in made["members"]:  # type: ignore[attr-defined]
        assert len(load_rows(spec, DataAt(file)).labels) == 44


def test_a_file_without_label_cannot_be_split(spec: StudySpec, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,y\n1,2\n")
    with pytest.raises(DataError, match="column 'group': not in the header"):
        demo_data.prepare_files(spec, [path], 1, tmp_path / "out")


def test_comparison_measures_model_alone_and_pooled(
    spec: StudySpec,
    data_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study, model = tmp_path / "study.toml", tmp_path / "model.safetensors"
    study.write_text(to_toml(spec))
    values = initial_model(Layout.of(spec), bytes(32))
    model.write_bytes(write_model(ModelFile(bytes(32), 0, spec, SCALING, values)))
    command = ["compare", "--study", study, "--model", model, "--test", data_file, data_file, data_file]
    monkeypatch.setattr("sys.argv", ["demo_data", *map(str, command)])
    assert demo_data.main() == 0
    result = json.loads(capsys.readouterr().out)
    assert result["test_rows"] == 60
    assert result["pooled"] >= 0.9
    assert len(result["local_only"]) == 2
    assert min(result["local_only"]) >= 0.9
    assert 0 <= result["accuracy"] <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "--model", "none", "--test", "none"], "model file none cannot be read"),
        (["compare", "--study", "none", "--test", "none", "none"], "study file none cannot be read"),
    ],
)
def test_faults_are_one_sentence_and_an_exit_code(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["demo_data", *arguments])
    assert demo_data.main() == DataError.exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_a_foreign_model_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(100))
    with pytest.raises(DataError, match="export it again"):
        demo_data.score(path, path)
