"""The plan of a round: its arithmetic, and its bytes against a sum that was run."""

from __future__ import annotations

import json

import pytest

from fednode.bench import cost_model
from fednode.bench.cost_model import (
    BEFORE_SUM,
    OFF_LEDGER,
    CostModel,
    Machine,
    Site,
    byte_terms,
    cpu_terms,
    fit,
    grow,
    ledger_mb,
    load_model,
    save_model,
)
from fednode.cli.main import run
from fednode.errors import StorageError

POINTS = ((4, 1_000), (10, 1_000), (31, 1_000), (4, 1_000_000), (10, 1_000_000))
MACHINE = Machine(2.5, small_write_s=0.001, disk_s_per_gb=2.0, record_s_per_million=0.02, model_s_per_million=0.05)
MODEL = CostModel({"keys": (0.0, 0.0, 0.001, 0.0, 0.0), "roster": (0.1, 0.0, 0.0, 0.0, 0.02)},
                  {"keys": (100.0, 0.0, 0.0), "roster": (0.0, 0.0, 4e6)}, MACHINE)


@pytest.mark.parametrize(("terms", "factors"), [
    (cpu_terms, (0.01, 0.002, 0.0003, 0.04, 0.0)), (cpu_terms, (1.0, 0.0, 0.0, 4.0, 4.0)),
    (byte_terms, (45_000.0, 1085.0, 4e6)), (byte_terms, (100.0, 0.0, 0.0)),
])
def test_a_fit_finds_the_factors_of_what_follows_the_terms(terms, factors):
    values = [float(terms(*point) @ factors) for point in POINTS]
    found = fit(terms, POINTS, values)
    assert float(terms(31, 5_000_000) @ found) == pytest.approx(float(terms(31, 5_000_000) @ factors), rel=1e-6)


def test_factors_are_never_negative():
    assert min(fit(cpu_terms, POINTS, [5.0, 4.0, 3.0, 2.0, 1.0])) >= 0
    assert fit(cpu_terms, POINTS, [0.0] * 5) == (0.0,) * 5


def test_a_slower_line_a_longer_cable_and_a_shared_machine_cost_time_and_nothing_else():
    fast, slow, far, shared = (
        MODEL.phases(10, 1_000_000, site)
        for site in (Site(1000, 0), Site(100, 0), Site(1000, 50), Site(1000, 0, 10, 2))
    )
    assert [phase.cpu_s for phase in fast] == [phase.cpu_s for phase in slow] == [phase.cpu_s for phase in shared]
    assert [phase.sent_mb for phase in fast] == pytest.approx([0.0009, 0.0, 3.6, 0.0])
    assert [phase.around_cpu_s for phase in fast][1::2] == pytest.approx([0.02, 0.05])
    for other in (slow, far, shared):
        assert sum(phase.wall_s for phase in other) > sum(phase.wall_s for phase in fast)


def test_what_grows_with_the_strength_is_counted_for_many_members():
    flat = CostModel({"keys": (0.1, 0.0, 0.0, 0.0, 0.0), "proof": (0.1, 0.0, 0.0, 0.2, 0.0)},
                     {"keys": (100.0, 0.0, 0.0), "proof": (0.0, 1072.0, 0.0)}, MACHINE)
    few, many = ({phase.name: phase for phase in flat.phases(n, 1_000_000, Site())} for n in (31, 32))
    assert (few["keys"].cpu_s, few["proof"].cpu_s) == pytest.approx((0.1, 0.3))
    assert (many["keys"].cpu_s, many["proof"].cpu_s) == pytest.approx((0.1, 0.55))
    assert few["proof"].sent_mb == pytest.approx(30 * 31 * 1072e-6)
    assert many["proof"].sent_mb == pytest.approx(31 * 32 * 1608e-6)
    assert 1 < grow("share", 32)[1][0] < 1.2


def test_members_of_one_machine_write_to_one_disk():
    alone, together = (MODEL.phases(4, 25_000_000, Site(members_per_machine=count, cores=8)) for count in (1, 8))
    assert [alone[-1].wall_s, together[-1].wall_s] == pytest.approx([1.25, 3.2])


def test_constants_are_kept_and_damage_is_named(tmp_path):
    path = tmp_path / "constants.json"
    assert load_model(path) is None
    save_model(path, MODEL)
    assert load_model(path) == MODEL
    for damage in ("", "[]", '{"format": 2}', '{"format": 2, "cpu": {"keys": [1]}, "sent": {"keys": [1]}}',
                   '{"format": 2, "cpu": {"keys": "x"}, "sent": {}, "machine": {}}',
                   path.read_text().replace("0.05", '"x"'), path.read_text().replace("45000", "")[:-9]):
        path.write_text(damage)
        with pytest.raises(StorageError, match="--calibrate"):
            load_model(path)


def test_what_an_older_version_measured_is_measured_again(tmp_path):
    path = tmp_path / "constants.json"
    path.write_text('{"format": 1, "cpu": {}, "sent": {}}')
    assert load_model(path) is None


def test_blocks_carry_what_is_said_on_the_ledger_once_more():
    phases = MODEL.phases(4, 1_000_000, Site())
    assert ledger_mb(4, phases) == pytest.approx(0.0003 + 2 * 1.4 * 3 * 1.3 / 1000)
    assert {phase.name for phase in phases} & set(OFF_LEDGER) == {"record", "model"}


def test_there_must_be_something_to_plan(capsys):
    assert run(["plan"]) == 2
    assert "--study FILE or --params NUMBER" in capsys.readouterr().err


@pytest.mark.slow
def test_planned_bytes_are_those_of_a_sum_that_is_run(capsys, tmp_path, monkeypatch):
    small = ((4, 1_000), (7, 1_000), (10, 1_000), (4, 50_000), (7, 50_000))
    monkeypatch.setattr(cost_model, "SAMPLES", small)
    (tmp_path / "var").mkdir()
    args = ["plan", "--home", str(tmp_path), "--members", "13", "--params", "100000", "--format", "json"]
    assert run(args) == 0
    planned = json.loads(capsys.readouterr().out)
    assert run(["bench", "secure-sum", "--members", "13", "--params", "100000", "--format", "json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert planned["sent_mb"] * 1e6 == pytest.approx(measured["bytes_sent_per_member"], rel=0.1)
    names = [phase["name"] for phase in planned["phases"] if phase["name"] not in ("record", "model")]
    assert names == list(measured["phase_cpu_s"])
    assert planned["cpu_s"] < planned["daemon_cpu_s"]
    assert planned["sum_wall_s"] < planned["wall_s"]
    assert set(BEFORE_SUM) - {"answer"} <= {phase["name"] for phase in planned["phases"]}
    monkeypatch.setattr(cost_model, "measure_samples", lambda say: pytest.fail("the constants are kept"))
    assert run(args) == 0
    assert json.loads(capsys.readouterr().out) == planned


def test_a_study_file_can_be_planned(capsys, tmp_path):
    (tmp_path / "var").mkdir()
    save_model(tmp_path / "var" / "plan-constants.json", MODEL)
    assert run(["plan", "--home", str(tmp_path), "--study", "genesis/heart.toml", "--one-machine"]) == 0
    out = capsys.readouterr().out
    assert "memory of a daemon" in out
    assert "roster" in out


@pytest.mark.parametrize("text", ["nan", "inf", "1e400", "-1"])
@pytest.mark.parametrize("option", ["--mbit", "--latency-ms"])
def test_what_no_plan_can_be_computed_with_is_refused(tmp_path, capsys, option, text):
    assert run(["--home", str(tmp_path), "plan", "--params", "100", option, text, "--format", "json"]) == 2
    assert option in capsys.readouterr().err


def test_a_study_that_is_not_there_is_said_before_the_machine_is_measured(tmp_path, capsys):
    assert run(["--home", str(tmp_path), "plan", "--study", str(tmp_path / "none.toml")]) != 0
    told = capsys.readouterr().err
    assert "none.toml" in told and "measuring" not in told
