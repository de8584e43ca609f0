"""No cell of a table leaves the worker for the daemon: a canary in every place of the file is in no answer."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fednode
from fednode.learn import jobs
from fednode.learn.layout import Layout, Scaling
from fednode.learn.merge import initial_model
from fednode.learn.model_file import ModelFile, write_model
from fednode.learn.study import StudySpec
from fednode.learn.tables.site_map import PLAIN, OtherName, OtherUnit, OtherValue, SiteMap
from fednode.learn.units import UNIT
from fednode.node.tables import WatchingTrainer
from fednode.worker.answer import answer
from fednode.worker.prepared import DataCache
from tests.worker.conftest import points

CANARY = "Mustermann"
FORMS = (
    CANARY, f"{CANARY} Erika 12.03.1961", f"<{CANARY}", f"5.1 {CANARY}", f"{CANARY}-1", f'"{CANARY}"', f'"{CANARY}" x',
    f'"{CANARY}', f"{CANARY},{CANARY}", f"{CANARY};1", f"{CANARY}\n", f"\t{CANARY}", f"left{CANARY}", f"{CANARY}\u00e4",
)
MAPS = (
    PLAIN, SiteMap(missing=(CANARY,)), SiteMap(decimal=","),
    SiteMap((OtherName("x", CANARY),), (OtherValue("y", CANARY, "1"),), (OtherUnit("x", CANARY),)),
)
SCALING = Scaling((UNIT // 2,) * 2, (UNIT // 4,) * 2)
STUDY = bytes(range(32))


def place(text: str, line: int, cell: int, has_header: bool, before: str) -> str:
    """A good table with `text` in one cell; line 0 is the header."""
    lines = [list(row) for row in [("x", "y", "group"), *points(1, 30)]]
    lines[line % len(lines)][cell] = text
    return before + "\n".join(",".join(row) for row in lines[0 if has_header else 1:])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.sampled_from(FORMS), line=st.integers(0, 30), cell=st.integers(0, 2), has_header=st.booleans(),
    before=st.sampled_from(["", f"{CANARY}\n", f"# {CANARY},{CANARY}\n\n", "sep=,\n"]),
    encoding=st.sampled_from(["utf-8", "utf-16", "cp1252"]), site=st.sampled_from(MAPS),
)
def test_no_answer_to_the_daemon_holds_a_cell(
    spec: StudySpec, tmp_path: Path, text: str, line: int, cell: int, has_header: bool, before: str, encoding: str,
    site: SiteMap,
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(place(text, line, cell, has_header, before).encode(encoding))
    data = jobs.DataAt(str(path), site)
    for job in (jobs.CheckData(spec, data), jobs.ComputeStatistics(spec, data)):
        frame, tail = jobs.encode_answer(answer(job, DataCache()))
        assert CANARY.encode() not in frame + bytes(tail)
        assert b"ustermann" not in frame.lower()


def test_jobs_of_a_round_hold_no_cell(spec: StudySpec, tmp_path: Path) -> None:
    model = ModelFile(STUDY, 1, spec, SCALING, initial_model(Layout.of(spec), STUDY))
    (tmp_path / "model").write_bytes(write_model(model))
    start = jobs.ModelAt(str(tmp_path / "model"), model.hash)
    for line, cell, text in ((0, 1, CANARY), (3, 0, CANARY), (3, 2, CANARY), (3, 1, f'"{CANARY}')):
        path = tmp_path / "t.csv"
        path.write_text(place(text, line, cell, True, ""))
        data = jobs.DataAt(str(path))
        for job in (jobs.Train(spec, STUDY, 1, 1, SCALING, start, data), jobs.Evaluate(spec, SCALING, start, data)):
            frame, _ = jobs.encode_answer(answer(job, DataCache()))
            assert isinstance(jobs.decode_answer(frame[4:]), jobs.Failed) and CANARY.encode() not in frame


def test_a_command_that_asks_for_cells_gets_them(spec: StudySpec, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(place(CANARY, 3, 0, True, ""))
    shown = answer(jobs.CheckData(spec, jobs.DataAt(str(path)), True), DataCache())
    assert isinstance(shown, jobs.DataChecked) and CANARY in shown.verdicts[0].with_cells()


def test_the_daemon_cannot_ask_for_cells(spec: StudySpec, tmp_path: Path) -> None:
    watch = WatchingTrainer(None, tmp_path / "tables.json", None)  # type: ignore[arg-type]
    data = jobs.DataAt("/t.csv")
    for job in (jobs.CheckData(spec, data, True), jobs.Predict(jobs.ModelAt("/m", bytes(32)), data)):
        with pytest.raises(TypeError, match="no cells"):
            trio.run(watch.run, bytes(32), job, 1.0)


def test_a_bug_of_the_worker_is_told_without_its_message() -> None:
    code = (
        "from fednode.worker.main import keep_messages_back\n"
        "import threading, sys\n"
        "keep_messages_back()\n"
        f"thread = threading.Thread(target=lambda: float({CANARY!r}))\n"
        "thread.start(); thread.join()\n"
        "class Odd:\n"
        f"    def __del__(self): raise KeyError({CANARY!r})\n"
        "Odd()\n"
        "try:\n"
        f"    float({CANARY!r})\n"
        "except ValueError as error:\n"
        f"    raise RuntimeError({CANARY!r}) from error\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and CANARY not in done.stderr + done.stdout
    assert [kind for kind in ("ValueError", "KeyError", "RuntimeError") if f"{kind}, a bug" in done.stderr] == [
        "ValueError", "KeyError", "RuntimeError",
    ]


SHOWING = {"cli/data.py", "cli/predict.py"}
"""The only files outside learn/ and worker/ that may ask for cells, or put them into a text."""


def test_only_two_commands_ask_for_cells() -> None:
    """A new caller of what holds cells has to be looked at: is it a terminal of who may read the file?"""
    root, found = Path(fednode.__file__).parent, set()
    for path in root.rglob("*.py"):
        name = path.relative_to(root).as_posix()
        if name.startswith(("learn/", "worker/")):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            is_cells = isinstance(node, ast.Attribute) and node.attr in ("with_cells", "Predict")
            is_asked = isinstance(node, ast.keyword) and node.arg == "shows_cells" and not (
                isinstance(node.value, ast.Constant) and node.value.value is False
            )
            if is_cells or is_asked:
                found.add(name)
    assert found - {"node/tables.py"} == SHOWING  # the daemon's trainer names the job to refuse it


def test_the_digest_of_a_table_depends_on_rows_and_not_on_their_order(spec: StudySpec, tmp_path: Path) -> None:
    from fednode.worker.prepared import digest_of, load_rows

    rows = points(1, 30)
    random = np.random.default_rng(1)
    digests = []
    for order in (range(30), random.permutation(30).tolist(), [*range(29), 0]):
        path = tmp_path / "t.csv"
        path.write_text("x,y,group\n" + "\n".join(",".join(rows[index]) for index in order))
        digests.append(digest_of(load_rows(spec, jobs.DataAt(str(path)))))
    assert digests[0] == digests[1] != digests[2]
