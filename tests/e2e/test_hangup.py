"""What people do to a daemon's files while it runs: logrotate, a mended table, a changed configuration."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.e2e.federation import make_federation, points_csv, running, study_of, study_toml

pytestmark = pytest.mark.slow


def test_hangup_rotated_journal_and_a_mended_table(tmp_path: Path) -> None:
    federation = make_federation(tmp_path, study_toml(rounds=3, start_after_s=60), data={2: "x,y,group\n1,2,nowhere\n"})
    victim = next(hospital for hospital in federation if hospital.home.root.name == "home-2")
    with running(federation):
        victim.poll(lambda s: study_of(s)["problem"] is not None, 60, "the table does not fit")
        journal = victim.home.journal
        journal.rename(journal.with_suffix(".old"))
        os.kill(victim.pid, signal.SIGHUP)
        victim.poll(lambda s: journal.exists() and journal.stat().st_size > 0, 30, "a new journal")
        journal.rename(journal.with_suffix(".older"))  # without a signal too
        victim.poll(lambda s: journal.exists() and journal.stat().st_size > 0, 30, "another new journal")
        (tmp_path / "table-2.csv").write_text(points_csv(2))
        victim.poll(lambda s: study_of(s)["problem"] is None, 60, "the mended table is used")
        number = victim.status()["member"]["id"]
        victim.wait_counted({number}, 1, 120)
        assert not any("table" in text for text in victim.status()["problems"])
