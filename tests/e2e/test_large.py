"""A model of 1.6 million parameters through real daemons: bounded memory, and a crash in the middle of a round."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.federation import Federation, Hospital, make_federation, phase_of, running, study_of, study_toml

pytestmark = pytest.mark.slow

HIDDEN = (1024, 1024, 512)
VECTOR_BYTES = 4 * (3 * 1024 + 1025 * 1024 + 1025 * 512 + 513 * 2)
FIXED_BYTES = 40_000_000
"""What a round takes whatever the model is: threads, proofs, buffers of the transport."""


def peak_bytes(hospital: Hospital) -> int:
    """The most memory the daemon had since `forget_peak`."""
    text = Path(f"/proc/{hospital.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return 1024 * int(found[1])


def forget_peak(hospital: Hospital) -> int:
    """Begin to measure anew; return what it has now."""
    Path(f"/proc/{hospital.pid}/clear_refs").write_text("5")
    return peak_bytes(hospital)


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    text = study_toml(rounds=2, train_timeout_s=60, phase_timeout_s=15)
    text = text.replace('kind = "logistic"', f'kind = "mlp"\nhidden = {list(HIDDEN)}')
    with running(make_federation(tmp_path_factory.mktemp("large"), text)) as federation:
        yield federation


def test_memory_is_four_vectors_and_a_killed_member_goes_on_from_its_record(federation: Federation) -> None:
    before = {hospital.pid: forget_peak(hospital) for hospital in federation}
    victim, waiting = federation[2], federation[4]
    victim.wait(lambda s: study_of(s)["next_round"] == 1 and phase_of(s) == "commit", 60, "the first training")
    waiting.suspend()  # the round cannot go on without it for as long as its deadline lets it
    record = victim.poll(lambda s: any(victim.home.rounds.glob("*-input")), 60, "the vector on record")
    assert phase_of(record) == "commit"
    [file] = victim.home.rounds.glob("*-input")
    assert VECTOR_BYTES < file.stat().st_size < 1.01 * VECTOR_BYTES and file.stat().st_mode & 0o077 == 0
    assert not list(victim.home.blobs.glob(".draft-*"))
    before.pop(victim.pid)
    victim.kill()
    victim.start()
    waiting.resume()
    report = victim.wait_counted((1, 2, 3, 4), 1, 120)
    assert (report["number"], report["outcome"]) == (1, "ok"), "it was not counted in the round in which it was killed"
    for hospital in federation:
        done = hospital.wait(lambda s: study_of(s)["status"] == "finished", 120, "the end of the study")
        assert done["problems"] == []
        if hospital.pid in before:
            grown = peak_bytes(hospital) - before[hospital.pid]
            assert grown < 4 * VECTOR_BYTES + FIXED_BYTES, f"{grown / VECTOR_BYTES:.1f} vectors"


def test_all_have_the_same_model_and_nothing_else_is_left(federation: Federation) -> None:
    name = study_of(federation[1].status())["model_hash"]
    for hospital in federation:
        hospital.poll(lambda s: study_of(s)["has_model"], 60, "the model")
        assert not hospital.round_records() and not list(hospital.home.blobs.glob(".draft-*"))
    files = {(hospital.home.blobs / f"{name}.safetensors").read_bytes() for hospital in federation}
    assert len(files) == 1
    target = federation[3].home.root / "exported"
    done = federation[3].cli("model", "export", "latest", "-o", str(target), "--yes")
    assert done.returncode == 0, done.stderr
    assert {target.read_bytes()} == files
