"""A kind of data added from outside the package, in this file alone: small grey images in one array file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
from numpy.typing import NDArray

from fednode.codec import Range
from fednode.crypto import Entropy
from fednode.errors import DataError, Rejected
from fednode.learn import data as kinds
from fednode.learn.form import parse_study, to_toml
from fednode.learn.jobs import DataAt
from fednode.learn.layout import Scaling
from fednode.learn.models.mlp import Mlp
from fednode.learn.rows import Rows
from fednode.learn.study import StudySpec, decode_study, study_bytes, with_model
from fednode.learn.tables.check import Checked
from fednode.learn.tables.patients import Patients
from fednode.learn.tables.site_map import SiteMap
from fednode.learn.tables.verdicts import ERROR, OK, Verdict
from fednode.learn.units import UNIT
from fednode.sums.measures import Claims, Plan, Split, Tally, blur, join
from fednode.worker import data as readers
from tests.adding.federation import HOSPITALS, Federation
from tests.rounds.training import study_text

BRIGHT = Split(20, 2)


@dataclass(frozen=True, slots=True)
class Squares:
    """Square images of `side` pixels, bright in the upper or in the lower half; values within 0 to 1."""

    side: Annotated[int, Range(2, 64)]

    @property
    def inputs(self) -> tuple[int, ...]:
        return (self.side, self.side)

    @property
    def classes(self) -> tuple[str, ...]:
        return ("upper", "lower")

    @property
    def features(self) -> int:
        return 1

    def statistics_plan(self) -> Plan:
        return (BRIGHT,)

    def scaling_from(self, sums: Sequence[Tally]) -> Scaling:
        whole = max(sums[0].voices, 1) * BRIGHT.unit
        return Scaling((sums[0].parts[0] * UNIT // whole,), (UNIT // 4,))


class SquareReader:
    def check(self, kind: Squares, data: DataAt, shows_cells: bool = False) -> Checked:
        rows = self._read(Path(data.path))
        if rows.features.shape[1:] != kind.inputs:
            return Checked((Verdict("", ERROR, f"images of {rows.features.shape[1:]}", 0, 0),), None, ())
        return Checked((Verdict("", OK, "", 0, 0),), rows, tuple(np.bincount(rows.labels, minlength=2).tolist()))

    def suggest(self, kind: Squares, data: DataAt) -> SiteMap | None:
        return None

    def claim_statistics(self, kind: Squares, rows: Rows, entropy: Entropy | None) -> Claims:
        mean = round(float(rows.features.mean()) * BRIGHT.unit)
        blur(np.array([len(rows.labels)]), entropy)
        return join([np.array([mean, BRIGHT.unit - mean])])

    def scale(self, rows: Rows, scaling: Scaling) -> NDArray[np.float32]:
        mean, deviation = scaling.mean_q24[0] / UNIT, scaling.deviation_q24[0] / UNIT
        return ((rows.features - mean) / deviation).astype(np.float32).reshape(len(rows.labels), -1)

    def read_patients(self, kind: Squares, data: DataAt, id_column: str) -> Patients:
        rows = self._read(Path(data.path))
        count = len(rows.labels)
        return Patients(rows, np.ones(count, bool), tuple(range(count)), (), ("",) * count, ())

    @staticmethod
    def _read(path: Path) -> Rows:
        try:
            with np.load(path, allow_pickle=False) as found:
                return Rows(found["images"].astype(np.float64), found["labels"].astype(np.int64))
        except (OSError, ValueError, KeyError):
            raise DataError(f"{path} holds no images; write them as an npz file") from None


def write_squares(folder: Path, side: int) -> list[Path]:
    paths = []
    for number in range(1, HOSPITALS + 1):
        drawn = np.random.default_rng(number)
        labels = np.arange(24) % 2
        images = drawn.uniform(0, 0.6, (24, side, side))
        images[labels == 0, : side // 2] += 0.4
        images[labels == 1, side // 2 :] += 0.4
        paths.append(folder / f"squares-{number}.npz")
        np.savez(paths[-1], images=images, labels=labels)
    return paths


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch) -> StudySpec:
    monkeypatch.setitem(kinds.DATA, "squares", Squares)
    monkeypatch.setitem(readers.READERS, "squares", SquareReader())
    return with_model(replace(parse_study(study_text(3)), data=Squares(4)), Mlp((4,)))


@pytest.mark.slow
def test_a_new_kind_of_data_is_summed_and_learned_from(spec: StudySpec, tmp_path: Path) -> None:
    assert decode_study(study_bytes(spec)) == spec == parse_study(to_toml(spec))
    federation = Federation(spec, write_squares(tmp_path, 4), tmp_path).start().finish()
    model, measured = federation.model(), federation.reports()[-1].metrics
    assert len(model.scaling.mean_q24) == 1 and 0.3 < model.scaling.mean_q24[0] / UNIT < 0.7
    assert measured is not None and measured.accuracy_permyriad > 9_000


@pytest.mark.slow
def test_data_that_do_not_fit_are_told_before_the_first_round(spec: StudySpec, tmp_path: Path) -> None:
    federation = Federation(spec, write_squares(tmp_path, 6), tmp_path).start()
    federation.world.rest(3_000)
    problems = [str(log.fields) for node in federation.world.up() for log in node.logs if log.kind == "problem"]
    assert len(problems) >= HOSPITALS and all("images of (6, 6)" in text for text in problems)
    assert not any(worker.trained for worker in federation.workers.values())


def test_an_unknown_kind_is_refused_with_the_known_ones(spec: StudySpec, monkeypatch: pytest.MonkeyPatch) -> None:
    data = study_bytes(spec)
    monkeypatch.delitem(kinds.DATA, "squares")
    with pytest.raises(Rejected, match="data kind 'squares' is not known; known are tables"):
        decode_study(data)
