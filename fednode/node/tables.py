"""What the worker found in this hospital's tables: the verdicts of the last look, and whether the table is another one.

Security assumption: what is kept here are counts, sentences without a cell, and a hash of the rows, in a file of the
home that its account alone may read. Nothing of it is sent anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fednode.documents import Unreadable, read_json
from fednode.home.files import write_atomic
from fednode.home.journal import Journal
from fednode.ids import StudyId
from fednode.learn import jobs as work
from fednode.learn.study import StudySpec
from fednode.node.lanes import Lanes

MAX_CHANGES = 20
SHRUNK = 2
"""A table with less than half of the rows is another one for sure."""

SHIFTED_PERCENT = 10
"""So is one where a class has this much more or less of the rows."""


@dataclass(slots=True)
class Watched:
    """One study's table: what the first job saw and the last one, which that was, and the changes between jobs."""

    classes: tuple[str, ...]
    first: work.TableSeen
    seen: work.TableSeen
    when: str
    changes: tuple[str, ...] = ()


class WatchingTrainer:
    """Gives jobs to the worker and remembers what they say about the table."""

    def __init__(self, trainer: Lanes, path: Path, journal: Journal | None) -> None:
        self._trainer = trainer
        self._path = path
        self._journal = journal
        self._known: dict[StudyId, Watched] = {}
        self._load()

    @property
    def pid(self) -> int | None:
        """Process id of the worker that is kept warm, or None while there is none."""
        return self._trainer.pid

    @property
    def pid_beside(self) -> int | None:
        """Process id of the worker that does short jobs beside a long one, or None while there is none."""
        return self._trainer.pid_beside

    async def start(self) -> None:
        """Start the worker if it does not run."""
        await self._trainer.start()

    async def run(self, study: StudyId, job: work.Job, timeout_s: float) -> work.Answer:
        """Return the worker's answer to a job of a study, as `Lanes.run` does.

        A job whose answer holds cells is none of the daemon's: it raises `TypeError`.
        """
        if isinstance(job, work.Predict) or (isinstance(job, work.CheckData) and job.shows_cells):
            raise TypeError("the daemon asks for no cells of a table")
        answer = await self._trainer.run(job, timeout_s)
        seen = None if isinstance(answer, (work.Failed, work.Predicted)) else answer.seen
        if seen is not None:
            self.note(study, job.spec, seen, _when(job))
        return answer

    def note(self, study: StudyId, spec: StudySpec, seen: work.TableSeen, when: str) -> None:
        """Compare a table with the one used before; keep and journal what changed, and what the checks found."""
        before = self._known.get(study)
        if before is not None and before.seen == seen:
            before.when = when
            return
        found = Watched(spec.data.classes, seen if before is None else before.first, seen, when)
        if before is not None:
            found.changes = before.changes
            if before.seen.digest != seen.digest:
                text = f"{when} uses another table than {before.when}: {_difference(found.classes, before.seen, seen)}"
                found.changes = (*before.changes, text)[-MAX_CHANGES:]
                self._tell(study, text)
        for text in seen.warnings:
            self._tell(study, text)
        self._known[study] = found
        self._save()

    def of(self, study: StudyId) -> Watched | None:
        """Return what is known of a study's table, None before the worker has looked at it."""
        return self._known.get(study)

    def problems(self, study: StudyId, name: str) -> list[str]:
        """Return whether the table of a study that goes on is much smaller than at first, or of other patients."""
        found = self._known.get(study)
        if found is None or not _is_odd(found.first, found.seen):
            return []
        change = _difference(found.classes, found.first, found.seen)
        return [f"the table of study '{name}' is another one than at first: {change}"]

    def _tell(self, study: StudyId, text: str) -> None:
        if self._journal is not None:
            self._journal.write("table", study=study, text=text)

    # --- the record ---------------------------------------------------------------------------------------------

    def _save(self) -> None:
        document = {
            study.hex(): {
                "classes": found.classes, "first": _entry(found.first), "seen": _entry(found.seen), "when": found.when,
                "changes": found.changes,
            }
            for study, found in self._known.items()
        }
        write_atomic(self._path, json.dumps(document, indent=1, ensure_ascii=False).encode())

    def _load(self) -> None:
        """Read the record; one that is damaged is begun anew, it only serves to compare."""
        try:
            document = read_json(self._path.read_bytes())
            self._known = {StudyId(bytes.fromhex(study)): _watched(entry) for study, entry in document.items()}
        except FileNotFoundError:
            return
        except (OSError, Unreadable, ValueError, TypeError, KeyError, AttributeError):
            if self._journal is not None:
                self._journal.write("note", text=f"{self._path.name} cannot be read, tables are compared from now on")


def _watched(entry: Mapping[str, object]) -> Watched:
    first, seen = _seen(entry["first"]), _seen(entry["seen"])
    return Watched(_texts(entry["classes"]), first, seen, str(entry["when"]), _texts(entry["changes"]))


def _entry(seen: work.TableSeen) -> dict[str, object]:
    return {
        "digest": seen.digest.hex(), "rows": seen.rows, "class_rows": seen.class_rows, "warnings": seen.warnings
    }


def _seen(entry: object) -> work.TableSeen:
    if not isinstance(entry, dict):
        raise ValueError("no record")
    counts = tuple(int(text) for text in _texts(entry["class_rows"]))
    return work.TableSeen(bytes.fromhex(entry["digest"]), int(entry["rows"]), counts, _texts(entry["warnings"]))


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("no list")
    return tuple(str(item) for item in value)


def _when(job: work.CheckData | work.ComputeStatistics | work.Train | work.Evaluate) -> str:
    match job:
        case work.CheckData():
            return "the check at the start"
        case work.ComputeStatistics():
            return "the round of statistics"
        case work.Train():
            return f"round {job.round_number}"
        case work.Evaluate():
            return "the closing round"


def _difference(classes: tuple[str, ...], before: work.TableSeen, now: work.TableSeen) -> str:
    counts = [
        f"{name} {new} instead of {old}"
        for name, old, new in zip(classes, before.class_rows, now.class_rows, strict=False) if old != new
    ]
    rows = f"{now.rows} rows instead of {before.rows}" if now.rows != before.rows else f"{now.rows} rows as before"
    return f"{rows}; {', '.join(counts) or 'as many of each class, with other values'}"


def _is_odd(before: work.TableSeen, now: work.TableSeen) -> bool:
    if SHRUNK * now.rows < before.rows:
        return True
    pairs = zip(before.class_rows, now.class_rows, strict=False)
    return any(
        abs(new * before.rows - old * now.rows) * 100 > SHIFTED_PERCENT * before.rows * now.rows for old, new in pairs
    )
