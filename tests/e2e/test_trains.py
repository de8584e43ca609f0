"""Four daemons train a study to its end, and its chain stands up to being checked."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.e2e.federation import Federation, make_federation, phase_of, running, study_of, study_toml

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    federation = make_federation(tmp_path_factory.mktemp("trained"), study_toml(rounds=3))
    with running(federation):
        for hospital in federation:
            hospital.wait(lambda s: study_of(s)["status"] == "finished", 90, "the end of the study")
        federation.await_equal_chains()
        yield federation


def test_ends_with_the_same_model_on_all(trained: Federation) -> None:
    hashes = set()
    for hospital in trained:
        status = hospital.poll(lambda s: study_of(s)["has_model"], 30, "the model")
        study = study_of(status)
        hashes.add(study["model_hash"])
        assert study["rounds_done"] == 3
        assert status["problems"] == []
        assert phase_of(status) is None
    assert len(hashes) == 1
    reports = trained[1].reports()
    assert [(r["number"], r["kind"], r["outcome"]) for r in reports] == [
        (0, "statistics", "ok"), (1, "training", "ok"), (2, "training", "ok"), (3, "training", "ok"),
        (4, "closing", "ok"),
    ]
    assert all(r["counted"] == [1, 2, 3, 4] and not r["absent"] for r in reports)
    assert reports[-1]["metrics"]["accuracy"] > 0.8  # the groups are easy to tell apart


def test_model_files_are_the_same_bytes(trained: Federation) -> None:
    name = study_of(trained[1].status())["model_hash"]
    files = {(hospital.home.blobs / f"{name}.safetensors").read_bytes() for hospital in trained}
    assert len(files) == 1


def test_secrets_of_a_closed_round_are_deleted(trained: Federation) -> None:
    for hospital in trained:
        assert not hospital.round_records(), "a round record outlives its round"


def test_chain_verifies_beside_the_daemon(trained: Federation) -> None:
    found = trained[2].cli("chain", "verify", "--level", "4", "--format", "json")
    assert found.returncode == 0, found.stderr
    report = json.loads(found.stdout)
    assert report["ok"] and report["source"] == "daemon" and all(report["levels"].values())


def test_chain_verifies_from_the_store_when_all_have_stopped(trained: Federation) -> None:
    height = trained[1].status()["chain"]["height"]
    for hospital in trained:
        assert hospital.stop() == 0, hospital.last_words()
        found = hospital.cli("chain", "verify", "--level", "4", "--format", "json")
        assert found.returncode == 0, found.stderr
        report = json.loads(found.stdout)
        assert report["ok"] and report["source"] == "store" and report["height"] == height
        assert list(report["levels"]) == ["storage", "links", "certificates", "transactions", "execution"]
    trained.start()
    trained.await_equal_chains()
