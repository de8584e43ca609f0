"""A patient's cell is in nothing that a daemon writes or says: home, output, answers, the chain's export."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.federation import Hospital, make_federation, points_csv, running, study_of, study_toml

pytestmark = pytest.mark.slow

CANARY = "Mustermann"


def good_table() -> str:
    """A table that trains, with the canary in titles, in a header, in a column nobody uses and in codes of the site."""
    lines = points_csv(0).splitlines()
    lines[0] += f",{CANARY}"
    lines[1:] = [f"{line},{CANARY} {number}" for number, line in enumerate(lines[1:])]
    lines[3] = f"{CANARY},0.5,left,x"
    return "\n".join([f"# list of {CANARY}", *lines]) + "\n"


def bad_table() -> str:
    """The same with the canary where numbers, levels and quotes belong."""
    lines = good_table().splitlines()
    lines[5] = f"<{CANARY},0.1,left,x"
    lines[6] = f"0.1,5 {CANARY},{CANARY},x"
    lines[7] = f'0.1,"{CANARY}" 1,left,x'
    lines[8] = f"{CANARY},{CANARY}"
    return "\n".join(lines) + "\n"


def written(hospital: Hospital) -> Iterator[tuple[str, bytes]]:
    """Everything the daemon wrote; etc/ is what people write."""
    yield "output", hospital.output.read_bytes()
    for folder, _, names in os.walk(hospital.home.root):
        for name in names:
            path = Path(folder, name)
            if hospital.home.etc not in path.parents and path.is_file():
                yield str(path), path.read_bytes()


def test_a_cell_is_in_nothing_a_daemon_writes_or_says(tmp_path: Path) -> None:
    federation = make_federation(tmp_path, study_toml(rounds=10_000, train_timeout_s=20), data={0: good_table()})
    mine = next(hospital for hospital in federation if hospital.home.root.name == "home-0")
    with mine.home.config.open("a") as file:
        file.write(f'\n[data.map.points]\nmissing = ["{CANARY}"]\n')
    export, said = tmp_path / "chain.fnx", {}
    with running(federation):
        mine.wait(lambda s: study_of(s)["rounds_done"] >= 1, 90, "a round of training")
        table = study_of(mine.status())["table"]
        assert table["rows"] == 40
        (tmp_path / "table-0.csv").write_text(bad_table())
        mine.wait(lambda s: "the worker failed" in str(study_of(s)["problem"]), 90, "the table to be refused")
        for command in (
            ("status",), ("status", "--format", "json"), ("study", "show", "--format", "json"), ("logs", "-n", "5000"),
            ("logs", "--of", "worker"), ("doctor",), ("doctor", "--format", "json"), ("round", "list"),
            ("chain", "export", "-o", str(export)),
        ):
            done = mine.cli(*command)
            said[" ".join(command)] = (done.stdout + done.stderr).encode()
        assert b"first in line" in said["status"] and b"first in line" in said["doctor"]
        shown = mine.cli("data", "check", "--format", "json")
        assert CANARY in shown.stdout, "the canary is where it should be found"
        mine.stop()
    said["export"] = export.read_bytes()
    places = {**said, **dict(written(mine))}
    assert len(places) > 12
    wanted = CANARY.lower().encode()
    assert [place for place, data in places.items() if wanted in data.lower().replace(b"\0", b"")] == []
