"""The benchmark: its arithmetic and its table; the measurements themselves on a small federation."""

from __future__ import annotations

import json
import os

import pytest

from fednode.cli.bench import LINES, _print
from fednode.cli.bench_round import _phases
from fednode.cli.local_federation import percentile
from fednode.cli.main import run

ONE_PROCESSOR = 100.0


def test_a_percentile_is_a_value_that_was_measured():
    values = [float(number) for number in range(1, 201)]
    assert percentile(values, 95) == 190.0
    assert percentile([7.0], 95) == 7.0
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0


def test_phases_are_told_by_their_medians():
    def report(keys, ack):
        return {"phases": [{"phase": "keys", "seconds": keys}, {"phase": "ack", "seconds": ack}]}

    assert _phases([report(0.1, 0.2), report(0.3, 0.2), report(0.2, 0.5)]) == {"keys": 0.2, "ack": 0.2}


def test_people_get_a_table_of_everything(capsys):
    result = {key: 1.5 for key, _, _ in LINES}
    _print(result | {"phase_seconds_p50": {"keys": 0.025}, "members": 4, "cpu_count": 2, "rounds": 20})
    out = capsys.readouterr().out
    assert all(text in out for _, _, text in LINES)
    assert "keys 0.025" in out
    assert "4 daemons on 2 processors, 20 rounds" in out


def test_too_few_members_are_refused(capsys):
    assert run(["bench", "round", "--members", "3"]) == 2
    assert "--members" in capsys.readouterr().err


@pytest.mark.slow
def test_a_small_benchmark_measures_everything_and_leaves_nothing_behind(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run(["bench", "round", "--rounds", "2", "--samples", "5", "--idle-seconds", "1", "--format", "json"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert {key for key, _, _ in LINES} <= set(result)
    assert (result["members"], result["rounds"], result["cpu_count"]) == (4, 2, os.cpu_count())
    assert 0 < result["secure_sum_seconds_p50"] < result["secure_round_seconds_p50"]
    assert 0 < result["submit_to_final_ms_p50"] <= result["submit_to_final_ms_p95"]
    assert 20 < result["idle_rss_mb"] <= result["round_rss_mb"] + 20
    assert result["idle_cpu_percent"] < ONE_PROCESSOR
    assert list(tmp_path.iterdir()) == []
    assert "rounds: 2 of 2" in err


@pytest.mark.parametrize("loss", ["0", "0.3"])
def test_a_secure_sum_in_one_process_is_exact_whatever_is_lost(capsys, loss):
    args = ["bench", "secure-sum", "--members", "4", "--params", "5000", "--loss", loss, "--format", "json"]
    assert run(args) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["max_abs_error"] < 1e-5
    assert result["bytes_sent_per_member"] > result["plain_bytes_sent_per_member"] == 2 * 3 * 5000
    assert 0 < result["feldman_s"] < result["cpu_s_per_member"]
    lost_again = result["bytes_sent_per_member"] - 1000 * result["constant_kb"] > 1.01 * 2 * 3 * 5000
    assert lost_again == (loss != "0")
