"""The demo as it is typed: real daemons, one of them killed, and nothing left behind however it ends."""

from __future__ import annotations

import json
import os
import select
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.studies import choice, number, study_file

FEDNODE = [sys.executable, "-m", "fednode.cli.main"]
KEYS = {
    "members", "rounds", "accuracy", "auc", "local_only", "pooled", "seconds_total", "round_seconds_p50",
    "secure_sum_seconds_p50", "height", "chain_verified", "killed_and_rejoined", "model_hash", "hashes_equal",
}
INTERRUPTED = 130
WAIT_S = 60.0


def fednode(*arguments, timeout_s=600):
    command = [*FEDNODE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


def demo(*options):
    done = fednode("demo", "--format", "json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.mark.slow
def test_one_daemon_is_killed_and_everything_kept_can_be_looked_at(tmp_path):
    home = tmp_path / "kept"
    result, told = demo("--rounds", "4", "--home", home)
    assert set(result) >= KEYS
    assert (result["members"], result["rounds"], len(result["local_only"])) == (4, 4, 4)
    assert result["killed_and_rejoined"] is True
    assert result["hashes_equal"] is True
    assert result["chain_verified"] is True
    assert result["accuracy"] > max(0.9, min(result["local_only"]))
    assert 0 < result["secure_sum_seconds_p50"] < result["round_seconds_p50"] < result["seconds_total"]
    assert "killed in round 2" in told
    assert sum(result["rows"]) + result["test_rows"] == 569
    model = home / "model.safetensors"
    scored = fednode("predict", "--model", model, "--input", home / "data" / "test.csv", "--score", "--format", "json")
    assert round(json.loads(scored.stdout)["score"]["accuracy"], 4) == result["accuracy"]
    checked = fednode("--home", home / "hospital-4", "chain", "verify", "--format", "json")
    assert json.loads(checked.stdout)["height"] == result["height"]
    again = fednode("--home", home / "hospital-1", "start", "--background")
    assert again.returncode == 0, again.stderr
    listed = fednode("--home", home / "hospital-1", "round", "list", "--format", "json")
    assert fednode("--home", home / "hospital-1", "stop").returncode == 0
    assert [report["kind"] for report in json.loads(listed.stdout)] == ["statistics", *["training"] * 4, "closing"]


@pytest.mark.slow
def test_own_tables_and_three_hospitals_of_whom_nobody_may_fail(tmp_path):
    rows = [f"{number % 97},{number % 7},{'yes' if number % 97 > 48 else 'no'}" for number in range(160)]
    tables = []
    for name in ("anna", "berta", "clara"):
        tables += ["--data", tmp_path / f"{name}.csv"]
        tables[-1].write_text("age,score,ill\n" + "\n".join(rows) + "\n")
    schema = tmp_path / "study.toml"
    schema.write_text(SCHEMA)
    result, told = demo("--schema", schema, *tables)
    assert (result["members"], result["rounds"], result["killed_and_rejoined"]) == (3, 2, None)
    assert result["rows"] == [120, 120, 120]
    assert result["test_rows"] == 120
    assert "with 3 members every loss voids the round" in told


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_in_the_middle_it_leaves_no_process_and_no_file(tmp_path, number):
    process = subprocess.Popen(
        [*FEDNODE, "demo", "--no-kill"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        # A background job of a script ignores Ctrl-C, and its children with it; the demo's own answer is wanted here.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # noqa: PLW1509
    )
    seen = ""
    while "all daemons are up" not in seen:
        assert select.select([process.stdout], [], [], WAIT_S)[0], seen
        seen += process.stdout.readline()
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 4
    process.send_signal(number)
    _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == INTERRUPTED, errors
    assert psutil.wait_procs(children, timeout=WAIT_S)[1] == []
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.soak
def test_the_federation_is_as_good_as_pooling_whatever_the_split():
    results = [demo("--seed", str(seed))[0] for seed in range(1, 6)]
    for result in results:
        assert result["accuracy"] >= 0.95
        assert abs(result["accuracy"] - result["pooled"]) <= 0.04
        assert result["killed_and_rejoined"]
        assert result["hashes_equal"]
        assert result["chain_verified"]
    means = [statistics.mean(result[key] for result in results) for key in ("accuracy", "pooled")]
    assert abs(means[0] - means[1]) <= 0.02


@pytest.mark.soak
def test_seven_hospitals_read_digits():
    result, _ = demo("--dataset", "digits", "--members", "7")
    assert result["accuracy"] >= 0.90
    assert abs(result["accuracy"] - result["pooled"]) <= 0.04
    assert result["killed_and_rejoined"]


@pytest.mark.soak
def test_four_real_hospitals_predict_heart_disease(shared_dir):
    tables = []
    for name in ("cleveland", "hungarian", "switzerland", "va"):
        tables += ["--data", shared_dir / "data" / "heart_disease" / f"processed.{name}.data"]
    schema = Path(__file__).resolve().parents[2] / "genesis" / "heart.toml"
    result, _ = demo("--schema", schema, *tables)
    assert result["accuracy"] >= 0.75
    assert abs(result["accuracy"] - result["pooled"]) <= 0.04
    assert result["killed_and_rejoined"]


SCHEMA = study_file(
    "made-up", number("age", 0, 100), number("score", 0, 10), choice("label", "ill", "no", "yes"),
    momentum=0.9, batch_size=16, local_epochs=2, rounds=2, clip=4.0, weights="equal",
    timeouts={"start_after_s": 5, "train_timeout_s": 60, "phase_timeout_s": 5},
)
