"""Tables, trees and sentences at 80 and 200 columns: no word is broken, no line too long, whoever the members are.

What a command prints where a line has no end is the measure: a narrow line must show the same words, each whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from fednode.cli.show import COLUMN_GAP, MOST_LINES, fit_columns
from fednode.desk import read_models
from fednode.documents import Json
from tests.cli.conftest import Fednode, filled
from tests.cli.test_answers import BLOCK, MODEL, REPORT, STUDY, SUMMARY

Serve = Callable[[Path, Mapping[str, Json]], None]

NAMES = (
    "Universitätsklinikum Schleswig-Holstein, Campus Lübeck, Radiologie", 10 * "聖安娜醫院",
    "Anna", "Госпиталь имени Святой Анны в Санкт-Петербурге", "Νοσοκομείο Αγίας Άννης", "مستشفى القديسة آنا",
    "Krankenhausverwaltungsgesellschaftsvorstandssekretariatsleitung1", "St. Berta",
)
ADDRESSES = ("/dns4/fednode.klinikum-schleswig-holstein.example/tcp/7700", "/ip4/192.0.2.2/tcp/7700", None)


def _answers(count: int) -> dict[str, Any]:
    """Return what the daemon of a federation of so many says."""
    everybody = list(range(1, count + 1))
    members = [
        filled(read_models.MemberView, {
            "id": number, "name": f"{NAMES[number % len(NAMES)]} {number}"[:64], "is_me": number == 1,
            "is_connected": number % 3 != 0, "address": ADDRESSES[number % 3], "is_signing": True,
            "refused": "speaks a version that nobody else here knows" if number == 3 else None,
            "double_votes": number % 2,
        })
        for number in everybody
    ]
    report = {**REPORT, "expected": everybody, "counted": everybody[1:], "taking_part": f"{count} of {count}",
              "absent": [{"member": number, "phase": "commit", "attempt": 0} for number in everybody[::2]]}
    study = filled(read_models.ShownStudy, {
        **SUMMARY, "name": "heart-disease-in-four-hospitals", "waiting_for": everybody, "hospitals": everybody,
        "problem": "the training process ended by itself; see 'fednode logs --of worker' for what it said last",
        "limits": ["every sum shows its average to all members; the averages of few hospitals say much of each"],
    })
    summary = {name: study[name] for name in SUMMARY}
    chain = filled(read_models.ChainView, {
        "name": "fed", "id": STUDY, "height": 70, "hash": BLOCK, "time": "2026-11-21T13:36:32.375Z", "members": count,
        "time_ms": 1795268193984, "quorum": count - count // 3, "signing": everybody, "has_quorum": True,
        "is_signing": True, "source": "daemon",
    })
    proposals = [filled(read_models.ProposalView, {
        "proposal": number, "change": "add", "member": 20 + number, "name": NAMES[number], "approvals": everybody[:2],
        "needed": 3, "is_observing": True, "fingerprint": " ".join(["3f0c9a"] * 8), "addresses": [ADDRESSES[0]],
    }) for number in (1, 2)]
    roles = [filled(read_models.RoleView, {"role": "auditor", "holder": STUDY, "votes_to_change": everybody})]
    return {
        "status": filled(read_models.StatusView, {
            "member": {"id": 1, "name": NAMES[0]}, "chain": chain, "members": members, "studies": [summary], "pid": 7,
            "problems": [f"the clock of {NAMES[0]} is ahead of the other members' by some 30 s; it must be set there"],
        }),
        "chain_status": chain, "member_list": members, "study_list": [summary], "study_show": study,
        "round_list": [report, {**report, "outcome": "failed", "reason": "no agreement on the result"}],
        "round_show": report, "member_proposals": proposals, "role_list": roles,
        "model_list": [filled(read_models.ModelView, {
            "hash": MODEL, "study": STUDY, "study_name": study["name"], "round": 3, "counted": everybody,
            "metrics": REPORT["metrics"], "is_here": True,
        })],
        "chain_show": [filled(read_models.BlockView, {
            "height": 7, "hash": BLOCK, "time": "2026", "time_ms": 1795268193984, "signers": everybody,
            "transactions": [{"id": MODEL, "kind": "member-propose", "sender": 1, "reason": "phase-closed"}],
        })],
    }


COMMANDS = (
    "status", "member list", "member proposals", "study list", "study show", "round list", "round show 3", "role list",
    "model list", "chain status", "chain show 7", "chain show 1..3",
)


@pytest.mark.parametrize("count", [4, 16])
def test_no_word_is_broken_and_no_line_is_too_long(
    count: int, fednode: Fednode, tmp_path: Path, daemon_answers: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon_answers(tmp_path / "home", _answers(count))
    for command in COMMANDS:
        monkeypatch.delenv("COLUMNS", raising=False)
        whole = fednode("--home", tmp_path / "home", *command.split())
        assert whole.code == 0, (command, whole.err)
        for width in (80, 200):
            monkeypatch.setenv("COLUMNS", str(width))
            out = fednode("--home", tmp_path / "home", *command.split()).out
            long = [line for line in out.splitlines() if cell_len(line) > width]
            assert not long, (command, width, long)
            assert _words(out) == _words(whole.out), (command, width)


def _words(text: str) -> set[str]:
    """Return the words of an output. Rules and branches are none, and wide letters may be parted anywhere."""
    found = re.sub("[─│├└]", " ", text)
    return {part for word in found.split() for part in (word if cell_len(word) > len(word) else [word])}


CELLS = st.lists(st.text("abc 聖ä", max_size=200), min_size=3, max_size=3)


@given(st.lists(CELLS, min_size=1, max_size=5), st.integers(40, 250))
def test_columns_fit_or_are_given_up(rows: Sequence[Sequence[str]], width: int) -> None:
    found = fit_columns(rows, width)
    if found is None:
        assert any(cell_len(text) > (width - 2 * COLUMN_GAP) // 3 for row in rows for text in row)
        return
    assert sum(found) + COLUMN_GAP * (len(found) - 1) <= width
    for row in rows:
        for text, size in zip(row, found, strict=True):
            assert all(cell_len(word) <= size for word in text.split() if word.isascii() or "聖" not in word)
            assert cell_len(text) <= MOST_LINES * size
