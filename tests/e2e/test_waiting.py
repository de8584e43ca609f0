"""A study waits for its hospitals, tells people for whom, and begins without one only by their votes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fednode.errors import FednodeError
from tests.e2e.federation import Federation, make_federation, study_of, study_toml

pytestmark = pytest.mark.slow


def late(federation: Federation, member: int) -> str:
    """Start all but one; return the name of that one when its absence is told."""
    waiting = [(hospital, hospital.launch()) for hospital in federation.others(member)]
    for hospital, ready in waiting:
        hospital.await_ready(ready)
    (name,) = [m["name"] for m in federation.others(member)[0].call("member_list") if m["id"] == member]
    for hospital in federation.others(member):
        status = hospital.poll(
            lambda s: len(study_of(s)["ready"]) == 3 and any("has waited" in text for text in s["problems"]), 60,
            "people are asked",
        )
        study = study_of(status)
        assert (study["status"], study["waiting_for"], study["not_ready"]) == ("waiting", [member], [member])
        assert study["taking_part"] == f"3 of 4, not ready: {name}" and study["own_part"] is None
        (asked,) = [text for text in status["problems"] if "has waited" in text]
        assert f"--without '{name}'" in asked and "3 members must say so, none did" in asked
    return str(name)


def test_a_hospital_that_is_late_is_waited_for_and_takes_part(tmp_path: Path) -> None:
    federation = make_federation(tmp_path, study_toml(rounds=2, start_after_s=1))
    try:
        name, other = late(federation, 3), federation[1]
        assert f"3 of 4, not ready: {name}" in other.cli("status").stdout
        assert f"ready: 3 of 4, not ready: {name}" in other.cli("study", "start", "points").stdout
        assert f"ready: 3 of 4, not ready: {name}" in other.cli("round", "list").stdout
        federation.start()
        for hospital in federation:
            hospital.wait(lambda s: study_of(s)["status"] == "finished", 90, "the end of the study")
        assert all(report["counted"] == [1, 2, 3, 4] for report in other.reports())
        assert all(report["taking_part"] == "4 of 4" for report in other.reports())
        study = study_of(federation[3].status())
        assert (study["took_no_part_in"], study["own_part"]) == ([], None)
    finally:
        federation.kill()


def test_a_hospital_is_left_out_by_votes_and_is_told(tmp_path: Path) -> None:
    federation = make_federation(tmp_path, study_toml(rounds=1, start_after_s=1))
    try:
        name, other = late(federation, 2), federation[1]
        with pytest.raises(FednodeError, match="no member"):
            other.call("study_begin", without=["St. Nobody"])
        unsure = other.cli("study", "start", "points", "--without", name)
        assert (unsure.returncode, "--yes" in unsure.stderr) == (2, True)
        for number, hospital in enumerate(federation.others(2)):
            assert study_of(hospital.status())["status"] == "waiting"
            voted = hospital.cli("study", "start", "points", "--without", name, "--yes")
            assert voted.returncode == 0, voted.stderr
            assert number == 2 or f"member 2: {number + 1} of 3 votes" in voted.stdout
        other.wait(lambda s: study_of(s)["status"] == "finished", 90, "the end of the study")
        assert all((r["expected"], r["not_ready"]) == ([1, 3, 4], [2]) for r in other.reports())
        assert f"3 of 4, not ready: {name}" in other.cli("round", "list").stdout
        assert f"not in it: {name}" in other.cli("round", "show", "1").stdout
        federation.start()
        status = federation[2].poll(lambda s: study_of(s)["status"] == "finished", 60, "it follows")
        assert study_of(status)["took_no_part_in"] == [0, 1, 2]
        assert any("this hospital took no part in round 0, 1, 2" in text for text in status["problems"])
        for words in (("status",), ("study", "show", "points"), ("doctor", "--no-data")):
            assert "took no part" in federation[2].cli(*words).stdout, words
    finally:
        federation.kill()
