"""Algorithms added from outside the package, in this file alone: FedAdam, whose server's side keeps two vectors, and
SCAFFOLD, which sums a second segment and keeps a vector in each hospital."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fednode.codec import Range
from fednode.errors import Rejected
from fednode.learn import algorithms
from fednode.learn.algorithms.averaging import Round, Summed
from fednode.learn.form import parse_study, to_toml
from fednode.learn.layout import Layout, vector_plan
from fednode.learn.study import StudySpec, decode_study, study_bytes
from fednode.learn.units import MAX_CLIP_Q24, MICRO, UNIT
from fednode.ledger.studies.bodies import Outcome
from fednode.sums.bounds import SCALE
from fednode.worker import algorithms as training
from fednode.worker.algorithms.fedavg import train_fedavg
from fednode.worker.algorithms.local import Contribution, Local
from tests.adding.federation import Federation, write_points
from tests.rounds.training import study_text

Vector = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FedAdam:
    """Reddi et al. 2021, algorithm 2, in integers: the mean update is a gradient for Adam."""

    rate_micro: Annotated[int, Range(1, MICRO)]
    tau_micro: Annotated[int, Range(1, MICRO)]

    keeps_own: ClassVar[bool] = False

    def segments(self, clip_q24: int) -> Mapping[str, int]:
        return {"update": clip_q24}

    def state(self) -> Mapping[str, int]:
        return {"first": 0, "second": 0}

    def step(self, state: Mapping[str, Vector], sums: Mapping[str, Summed], at: Round) -> Mapping[str, Vector]:
        mean = sums["update"].mean()
        first = (9 * state["first"] + mean) // 10
        squares = np.array([int(value) ** 2 >> 24 for value in mean], np.int64)  # with a clip of 256 beyond an int64
        second = (99 * state["second"] + squares) // 100
        tau = self.tau_micro * UNIT // MICRO
        roots = [isqrt(int(value) << 24) + tau for value in second]
        moved = [self.rate_micro * int(up) * UNIT // (root * MICRO) for up, root in zip(first, roots, strict=True)]
        return {"model": state["model"] + np.array(moved, np.int64), "first": first, "second": second}


@dataclass(frozen=True, slots=True)
class Scaffold:
    """Karimireddy et al. 2020: control variates, that of each hospital kept at home, their mean beside the model."""

    keeps_own: ClassVar[bool] = True

    def segments(self, clip_q24: int) -> Mapping[str, int]:
        return {"update": clip_q24, "control": 4 * clip_q24}

    def state(self) -> Mapping[str, int]:
        return {"control": 0}

    def step(self, state: Mapping[str, Vector], sums: Mapping[str, Summed], at: Round) -> Mapping[str, Vector]:
        change = sums["control"].mean() * at.included // at.members
        return {"model": sums["update"].add_to(state["model"]), "control": state["control"] + change}


def train_scaffold(local: Local) -> Contribution:
    """Option II of the paper: c_i+ = c_i - c + (x - y_i) / (K rate)."""
    flat, common = local.flat, local.server["control"]
    mine = torch.from_numpy(np.frombuffer(local.own, "<f4").copy()) if local.own else torch.zeros_like(common)

    def correct(values: torch.Tensor, gradient: torch.Tensor) -> None:
        gradient.add_(common).sub_(mine)

    start = flat.values.clone()
    steps = local.run_epochs(correct)
    update = flat.values - start
    rate = local.spec.optimiser.learning_rate_micro / MICRO
    new = mine - common - update / (steps * rate)
    return Contribution({"update": update, "control": new - mine}, new.numpy().astype("<f4").tobytes())


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> StudySpec:
    monkeypatch.setitem(algorithms.ALGORITHMS, "fedadam", FedAdam)
    monkeypatch.setitem(training.TRAINERS, "fedadam", train_fedavg)
    monkeypatch.setitem(algorithms.ALGORITHMS, "scaffold", Scaffold)
    monkeypatch.setitem(training.TRAINERS, "scaffold", train_scaffold)
    return parse_study(study_text(3))


def test_a_step_of_adam_takes_the_largest_mean_that_a_clip_allows() -> None:
    state = {name: np.zeros(2, np.int64) for name in ("model", "first", "second")}
    half = np.array([1 << 30, -(1 << 30)], np.int32)  # times the factor 2^26 in units of 2^-48: the clip
    update = Summed(half, MAX_CLIP_Q24 >> 6)
    assert update.mean().tolist() == [MAX_CLIP_Q24, -MAX_CLIP_Q24]
    new = FedAdam(100_000, 1_000).step(state, {"update": update}, Round(1, 4, 4))
    assert new["second"].tolist() == [MAX_CLIP_Q24**2 // UNIT // 100] * 2
    assert 0 < new["model"][0] <= -new["model"][1] <= new["model"][0] + 1, "each rounded down"


@pytest.mark.slow
def test_state_of_the_servers_side_is_part_of_the_hashed_model(study: StudySpec, tmp_path: Path) -> None:
    spec = replace(parse_study(study_text(8)), algorithm=FedAdam(100_000, 1_000))
    assert decode_study(study_bytes(spec)) == spec == parse_study(to_toml(spec))
    federation = Federation(spec, write_points(tmp_path), tmp_path).start().finish()
    reports = federation.reports()
    assert all(report.outcome == Outcome.OK for report in reports)
    layout, model = Layout.of(spec), federation.model()
    assert model.values.size == layout.size == 3 * layout.trained
    for name in ("first", "second"):
        at = layout.server_offset(name)
        assert model.values[at : at + layout.trained].any(), f"{name} is kept from round to round"
    changed = model.values.copy()
    changed[-1] += 1
    assert replace(model, values=changed).hash != model.hash
    measured = reports[-1].metrics
    assert measured is not None and measured.accuracy_permyriad > 7_500, "it learns"


@pytest.mark.slow
def test_a_second_segment_shares_the_scale_and_hospitals_keep_their_own(study: StudySpec, tmp_path: Path) -> None:
    spec = replace(study, algorithm=Scaffold())
    plan = vector_plan(spec)
    assert [segment.name for segment in plan.segments] == ["update", "control"]
    assert plan.length == 2 * Layout.of(spec).trained and sum(s.scale**2 for s in plan.segments) <= SCALE**2
    federation = Federation(spec, write_points(tmp_path), tmp_path).start().finish()
    measured = federation.reports()[-1].metrics
    assert measured is not None and measured.accuracy_permyriad > 8_000
    for number, worker in federation.workers.items():
        kept = federation.world[number].disk.own[federation.world.study].states
        begun = [job.own for job in worker.trained]
        assert begun[0] == b"" and all(begun[1:]) and len(set(begun)) == len(begun)
        assert max(kept) == 3 and len(kept[3]) == 4 * Layout.of(spec).trained
    control = federation.model().values[Layout.of(spec).server_offset("control") :]
    own = [np.frombuffer(federation.world[n].disk.own[federation.world.study].states[3], "<f4") for n in range(1, 5)]
    weights = np.array([16, 16, 16, 16])
    np.testing.assert_allclose(control / UNIT, np.average(own, axis=0, weights=weights), atol=1e-2)


@pytest.mark.slow
def test_what_a_hospital_keeps_survives_a_crash_at_any_moment(study: StudySpec, tmp_path: Path) -> None:
    """One hospital dies at moments all over training: each round starts from what its last round that counted made."""
    spec = replace(study, algorithm=Scaffold(), rounds=2)
    calm = Federation(spec, write_points(tmp_path), tmp_path).start()
    calm.world.run(lambda: len(calm.workers[2].trained) == 1, 600_000)
    first = calm.world[2].effects_done
    last = calm.finish().world[2].effects_done
    seen = set[bool]()
    for crash in range(first, last, max(1, (last - first) // 3)):
        folder = tmp_path / f"crash-{crash}"
        folder.mkdir()
        federation = Federation(spec, write_points(folder), folder)
        federation.world[2].crash_at = {crash}
        federation.start().finish()
        assert federation.world[2].epoch == 1
        counted = {report.number for report in federation.reports() if 2 in report.counted}
        for job in federation.workers[2].trained:
            made = federation.workers[2].made_in(job.round_number - 1)
            assert job.own == (made if job.round_number - 1 in counted and made else b"")
            seen.add(bool(job.own))
    assert seen == {False, True}


def test_no_segment_is_clipped_beyond_what_the_merge_can_multiply(study: StudySpec) -> None:
    replace(study, algorithm=Scaffold(), clip_q24=MAX_CLIP_Q24 // 4)
    with pytest.raises(ValueError, match="the clip of segment 'control' is 4096, at most 1024"):
        replace(study, algorithm=Scaffold(), clip_q24=MAX_CLIP_Q24)


def test_an_unknown_algorithm_is_refused_with_the_known_ones(study: StudySpec, monkeypatch: pytest.MonkeyPatch) -> None:
    data = study_bytes(replace(study, algorithm=Scaffold()))
    monkeypatch.delitem(algorithms.ALGORITHMS, "scaffold")
    with pytest.raises(Rejected, match="algorithm 'scaffold' is not known; known are fedadam, fedavg"):
        decode_study(data)
