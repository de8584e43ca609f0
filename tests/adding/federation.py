"""A federation of whole nodes whose hospitals train with the real training process's code, on a study of the test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fednode.ids import Hash
from fednode.learn import jobs as work
from fednode.learn.model_file import ModelFile, read_model
from fednode.learn.study import StudySpec
from fednode.ledger.studies.records import RoundReport, StudyStatus, get_report
from fednode.worker.answer import answer
from fednode.worker.prepared import DataCache
from tests.node.world import World

HOSPITALS = 4


class RealWorker:
    """Does jobs on one hospital's data, in this process."""

    def __init__(self, models: dict[Hash, bytes], data: Path, folder: Path) -> None:
        self._models, self._data, self._folder = models, work.DataAt(str(data)), folder
        self._cache = DataCache()
        self.trained: list[work.Train] = []
        self._made: dict[int, bytes | None] = {}

    def answer(self, job: work.Job) -> work.Answer:
        if isinstance(job, (work.Train, work.Evaluate)):
            path = self._folder / job.model.hash.hex()
            path.write_bytes(self._models[Hash(job.model.hash)])
            job = replace(job, model=work.ModelAt(str(path), job.model.hash))
        assert not isinstance(job, work.Predict)
        if isinstance(job, work.Train):
            self.trained.append(job)
        found = answer(work.decode_job(work.encode_job(replace(job, data=self._data))[4:]), self._cache)
        assert not isinstance(found, work.Failed), found.text
        if isinstance(job, work.Train) and isinstance(found, work.Trained):
            self._made[job.round_number] = found.own
        return found

    def made_in(self, round_number: int) -> bytes | None:
        """What the hospital was to keep of a round."""
        return self._made.get(round_number)


class Federation:
    """Four hospitals, each with its data, and one study agreed on."""

    def __init__(self, spec: StudySpec, data: list[Path], folder: Path) -> None:
        self.world = World(HOSPITALS, spec=spec)
        self.workers: dict[int, RealWorker] = {}
        for number, path in enumerate(data, 1):
            own = folder / str(number)
            own.mkdir()
            node = self.world[number]
            self.workers[number] = RealWorker(node.disk.models, path, own)
            node.worker = self.workers[number]

    def start(self) -> Federation:
        self.world.start()
        return self

    def finish(self) -> Federation:
        self.world.run(lambda: all(
            self.world.life(node.number).status == StudyStatus.FINISHED for node in self.world.up()
        ) and self.world.are_equal(), 600_000)
        self.world.rest(5_000)
        return self

    def reports(self) -> list[RoundReport]:
        state = self.world[1].live().chain.state
        found = (get_report(state, self.world.study, n) for n in range(self.world.life().next_round))
        return [report for report in found if report is not None]

    def model(self, number: int = 1) -> ModelFile:
        """The study's model on a hospital's disk: the same everywhere, for its hash is."""
        return read_model(self.world[number].disk.models[Hash(self.world.life(number).model_hash)])


def write_points(folder: Path) -> list[Path]:
    """A table of two clusters for each hospital, that fits the study of `tests.rounds.training`."""
    from tests.rounds.training import points

    paths = []
    for number in range(1, HOSPITALS + 1):
        table = points(number)
        paths.append(folder / f"points-{number}.csv")
        lines = [",".join(row) for row in (table.names or (), *table.rows)]
        paths[-1].write_text("\n".join(lines) + "\n")
    return paths
