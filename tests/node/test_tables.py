from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest
import trio

from fednode.home.journal import Journal
from fednode.ids import MemberId, StudyId
from fednode.learn import jobs as work
from fednode.learn.form import parse_study
from fednode.learn.layout import Scaling
from fednode.node.lanes import Lanes
from fednode.node.tables import WatchingTrainer
from tests.support.studies import choice, number, study_file

STUDY = StudyId(bytes(range(32)))
SPEC = parse_study(study_file("liver", number("age", 0, 100), choice("label", "outcome", "alive", "died")))
DATA = work.DataAt("/t.csv")


def seen(mark: int, alive: int, died: int, *warnings: str) -> work.TableSeen:
    return work.TableSeen(bytes([mark]) * 32, alive + died, (alive, died), warnings)


class Answers:
    """A worker that answers what it was given."""

    pid = 1

    def __init__(self, *answers: work.Answer) -> None:
        self.answers = list(answers)

    async def run(self, job: work.Job, timeout_s: float) -> work.Answer:
        return self.answers.pop(0)


def train(number: int) -> work.Train:
    return work.Train(SPEC, STUDY, number, 1, Scaling((1,), (1,)), work.ModelAt("/m", bytes(32)), DATA)


def play(folder: Path, *pairs: tuple[work.Job, work.TableSeen]) -> tuple[WatchingTrainer, str]:
    made = [
        work.Trained(b"", 1, b"", 1, 1, table) if isinstance(job, work.Train) else work.StatisticsComputed(b"", table)
        for job, table in pairs
    ]
    journal = Journal(folder / "journal.jsonl", MemberId(1), lambda: 1)
    watch = WatchingTrainer(cast(Lanes, Answers(*made)), folder / "tables.json", journal)
    for job, _ in pairs:
        trio.run(watch.run, STUDY, job, 1.0)
    journal.close()
    return watch, (folder / "journal.jsonl").read_text()


def test_a_table_that_stays_is_not_spoken_of(tmp_path: Path) -> None:
    first = seen(1, 36, 24, "column 'age': 1 of 60 values lie outside")
    watch, journal = play(tmp_path, (work.ComputeStatistics(SPEC, DATA), first), (train(1), first), (train(2), first))
    known = watch.of(STUDY)
    assert known is not None and (known.seen, known.when, known.changes) == (first, "round 2", ())
    assert watch.problems(STUDY, "liver") == watch.problems(StudyId(bytes(32)), "x") == []
    assert journal.count("\n") == 1


@pytest.mark.parametrize(
    ("later", "text", "is_problem"),
    [
        (seen(2, 14, 5), "19 rows instead of 60; alive 14 instead of 36, died 5 instead of 24", True),
        (seen(2, 24, 36), "60 rows as before; alive 24 instead of 36, died 36 instead of 24", True),
        (seen(2, 37, 25), "62 rows instead of 60; alive 37 instead of 36, died 25 instead of 24", False),
        (seen(2, 36, 24), "60 rows as before; as many of each class, with other values", False),
    ],
)
def test_another_table_is_told_with_what_changed(
    tmp_path: Path, later: work.TableSeen, text: str, is_problem: bool
) -> None:
    statistics = work.ComputeStatistics(SPEC, DATA)
    watch, journal = play(tmp_path, (statistics, seen(1, 36, 24)), (train(1), seen(1, 36, 24)), (train(2), later))
    known = watch.of(STUDY)
    assert known is not None and known.changes == (f"round 2 uses another table than round 1: {text}",)
    assert "round 2 uses another table" in journal
    assert bool(watch.problems(STUDY, "liver")) == is_problem
    mended, _ = play(tmp_path, (train(3), seen(1, 36, 24)))
    assert mended.problems(STUDY, "liver") == []


def test_the_record_outlives_a_restart_and_a_damaged_one_is_begun_anew(tmp_path: Path) -> None:
    play(tmp_path, (work.ComputeStatistics(SPEC, DATA), seen(1, 36, 24)))
    watch, _ = play(tmp_path, (train(1), seen(2, 3, 2)))
    known = watch.of(STUDY)
    assert known is not None and "than the round of statistics: 5 rows instead of 60" in str(known.changes)
    whole = (tmp_path / "tables.json").read_bytes()
    assert (tmp_path / "tables.json").stat().st_mode & 0o077 == 0
    for bad in (b"", b"[]", b"{", whole[: len(whole) // 2], b'{"00": {}}', json.dumps({"ab" * 32: []}).encode(),
                whole.replace(b"class_rows", b"rows", 1), whole.replace(b'"rows": 60', b'"rows": "x"')):
        (tmp_path / "tables.json").write_bytes(bad)
        watch, journal = play(tmp_path)
        assert watch.of(STUDY) is None and "cannot be read" in journal
