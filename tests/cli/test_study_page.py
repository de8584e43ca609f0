"""The page a person votes on: what was stated and what was not, the columns, whose votes are missing, the command."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fednode.cli.reading import read_study
from fednode.cli.study_page import ABOUT, votes_of
from fednode.desk import read_models
from fednode.documents import Json
from fednode.json_form import from_json
from fednode.learn.form import parse_study, to_toml
from tests.cli.conftest import Fednode, filled
from tests.cli.test_answers import SUMMARY

Serve = Callable[[Path, Mapping[str, Json]], None]
HEART = Path(__file__).resolve().parents[2] / "genesis" / "heart.toml"
STATED = '\n[about]\npurpose = "Find narrowed vessels"\noffice = "Department of Cardiology"\n'
NAMES = {"1": "Anna", "2": "Berta", "3": "Clara", "4": "Dora"}


def shown(**values: object) -> read_models.ShownStudy:
    """Return a proposed study of four hospitals, of which Anna has approved; asked by Clara."""
    record = filled(read_models.ShownStudy, {
        **SUMMARY, "status": "created", "round": None, "approvals": [1], "quorum": 3, "names": NAMES, "me": 3,
        "creator": 1, "toml": HEART.read_text() + STATED, "limits": ["the chain shows who took part"], **values,
    })
    return from_json(read_models.ShownStudy, record)


def test_the_page_has_what_a_person_votes_on(fednode: Fednode, tmp_path: Path, daemon_answers: Serve) -> None:
    from fednode.json_form import to_json

    daemon_answers(tmp_path / "home", {"study_show": to_json(shown())})
    out = fednode("--home", tmp_path / "home", "study", "show", "heart").out
    for wanted in (
        "Find narrowed vessels", "Department of Cardiology", "not stated", "Anna",
        "healthy, diseased", "10 training rounds", "no row leaves a hospital", "1 of 3 approvals",
        "not voted yet: Berta, Clara, Dora", "your vote: fednode study approve heart, or fednode study reject heart",
    ):
        assert wanted in out, wanted
    assert "terms" not in out and "[[data.columns]]" not in out
    file = fednode("--home", tmp_path / "home", "study", "show", "--toml").out
    assert parse_study(file) == parse_study(HEART.read_text() + STATED)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"approvals": [1, 3]}, ["2 of 3 approvals", "not voted yet: Berta, Dora"]),
        ({"rejects": [4]}, ["1 of 3 approvals", "against it: Dora", "not voted yet: Berta, Clara"]),
        ({"status": "paused", "resume_votes": [2]}, ["1 of 3 resume votes", "not voted yet: Anna, Clara, Dora"]),
        ({"status": "running"}, ["none is due: the study is running"]),
    ],
)
def test_votes_name_who_has_not_voted(values: Mapping[str, Json], told: list[str]) -> None:
    assert votes_of(shown(**values))[: len(told)] == told


def test_check_names_what_is_not_stated(fednode: Fednode, tmp_path: Path) -> None:
    file = tmp_path / "heart.toml"
    file.write_text(HEART.read_text() + STATED)
    found = json.loads(fednode("study", "check", file, "--format", "json").out)
    assert found["not_stated"] == [key for key in ABOUT if key not in ("purpose", "office")]
    damaged = HEART.read_text().replace("rounds = 10", "rounds = 0\nrunds = 3").replace("clip = 4.0", "clip = -1")
    file.write_text(damaged)
    wrong = fednode("study", "check", file)
    assert wrong.code == 3
    assert "rounds" in wrong.err and "runds" in wrong.err and "clip" in wrong.err, "all faults at once"


def test_what_was_stated_survives_the_file_and_the_ledger() -> None:
    spec = parse_study(HEART.read_text() + STATED)
    assert (spec.about.purpose, spec.about.legal_basis) == ("Find narrowed vessels", "")
    assert parse_study(to_toml(spec)) == spec
    assert "[about]" not in to_toml(read_study(HEART))
