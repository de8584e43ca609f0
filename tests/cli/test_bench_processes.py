"""The secure sum among real daemons: what is read from journals and reports, and one small run."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from fednode.bench import sum_processes as bench
from fednode.bench.plain_sum import bounds_of, expected_sum, vector_of
from fednode.bench.sum_plain import measure_plain
from fednode.cli.main import run
from fednode.errors import Unavailable, UsageError

REPORTS = [
    {"number": number, "kind": kind, "outcome": "ok", "reason": "", "voids": [], "seconds": 9.0,
     "phases": [{"phase": "keys", "seconds": 0.5}, {"phase": "commit", "seconds": 2.0 + number}]}
    for number, kind in enumerate(("statistics", "training", "training", "training", "closing"))
]


def journal_of(path, trained_ms, ready_ms, known_ms, concluded_ms):
    """Write a journal whose rounds are 10 s apart; its steps come that long after a round's start."""
    lines = [{"t": 0, "kind": "start"}]
    for number in range(len(REPORTS)):
        steps = (("computed-MakeInput", ready_ms), ("computed-Unmask", known_ms), ("computed-Conclude", concluded_ms))
        for kind, after_ms in (("worked", trained_ms), *steps, ("worked", concluded_ms + 1000)):
            lines.append({"t": 10_000 * number + after_ms, "kind": kind, "held_us": 100_000})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return bench.read_steps(path)


def test_a_sum_counts_from_the_last_update_to_the_last_daemon_that_knows(tmp_path):
    times = (600, 1100, 3100, 4000), (1600, 2100, 3600, 3900)
    steps = [journal_of(tmp_path / f"{index}.jsonl", *each) for index, each in enumerate(times)]
    found = bench.round_times(REPORTS, steps)
    assert found["walls_s"] == [2.0, 2.0]
    assert [found[name] for name in ("input_s", "wall_s", "concluded_s", "keys_s")] == [0.5, 2.0, 2.4, 0.5]
    assert found["phase_wall_s"]["commit"] == 4.5


def test_rounds_that_went_wrong_are_not_measured(tmp_path):
    steps = [journal_of(tmp_path / "a.jsonl", 1, 2, 3, 4)]
    with pytest.raises(Unavailable, match="journal"):
        bench.round_times(REPORTS[:4], steps)
    failed = [*REPORTS[:4], {**REPORTS[4], "outcome": "failed", "reason": "no quorum"}]
    with pytest.raises(Unavailable, match="no quorum"):
        bench.round_times(failed, steps)


@pytest.mark.parametrize("params", [300, 4161, 50_000, 1_000_000, 8_000_000, 16_700_000])
def test_a_model_comes_as_near_as_its_widths_allow(params):
    def size(widths):
        return sum(a * b + b for a, b in pairwise((30, *widths, 2)))

    assert size(bench.nearest_widths(params, size)) == pytest.approx(params, rel=0.06 if params < 1000 else 0.005)


def test_a_model_that_is_too_large_is_refused_before_anything_starts():
    with pytest.raises(UsageError, match="at most"):
        bench.study_of(1 << 30, 3)
    assert run(["bench", "secure-sum", "--processes", "--loss", "0.1"]) == 2
    assert run(["bench", "secure-sum", "--processes", "--members", "17"]) == 2


def test_the_plain_vectors_add_up_to_what_every_process_expects():
    assert bounds_of(10, 3) == [(0, 3), (3, 6), (6, 10)]
    assert (sum(vector_of(index, 1000) for index in range(5)) == expected_sum(5, 1000)).all()


@pytest.mark.slow
def test_processes_sum_in_the_plain():
    found = measure_plain(4, 40_000, 2)
    assert 240_000 < found.sent_bytes < 1.05 * 240_000
    assert min(found.walls_s) > 0 < found.cpu_s
    assert len(found.walls_s) == 2


@pytest.mark.slow
def test_a_small_sum_among_daemons(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    args = ["bench", "secure-sum", "--members", "4", "--params", "50000", "--processes", "--rounds", "2"]
    assert run([*args, "--format", "json"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert {key for key, _, _ in bench.LINES} <= set(result)
    assert result["members"] == 4
    assert abs(result["params"] - 50_000) < 500
    assert 0 < result["input_s"] <= result["wall_s"] <= result["concluded_s"] < result["round_wall_s"] + 1
    assert len(result["walls_s"]) == 2
    assert {"keys", "ack", "commit", "roster", "share", "proof", "reveal", "result"} <= set(result["phase_wall_s"])
    vector_bytes = 2 * 3 * result["params"]
    assert vector_bytes < result["plain_bytes_sent_per_member"] < 1.1 * vector_bytes
    assert vector_bytes < result["bytes_sent_per_member"] < vector_bytes + 1_000_000
    assert result["plain_wall_s"] > 0
    assert 0 < result["cpu_s_per_member"] < result["daemon_cpu_s_per_round"] * 3
    assert 50 < result["peak_rss_mb"] < 400
    assert result["max_abs_error"] < 1e-5
    assert list(tmp_path.iterdir()) == []
    assert "rounds: 2 of 2" in err
