"""The walk that people read names every file that a round and a transaction pass through."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fednode
from tests.sim.whole.walk import WALKS, walk_of

ROOT = Path(fednode.__file__).resolve().parent

MOST_FILES = {"round": 78, "transaction": 28}
"""How many files a walk may pass: who reads it opens them all. Lower it with every file that leaves the way."""


@pytest.mark.slow
@pytest.mark.parametrize("name", WALKS)
def test_no_file_is_missing_from_the_walk_and_it_is_no_longer_than_it_may_be(name: str) -> None:
    told = set(re.findall(r"`([\w/]+\.py)`", (ROOT / "docs" / "walk.md").read_text()))
    passed = set(walk_of(name))
    assert passed <= told
    assert len(passed) <= MOST_FILES[name], sorted(passed)


def test_the_walk_names_only_what_is_there() -> None:
    told = re.findall(r"`([\w/]+\.py)`", (ROOT / "docs" / "walk.md").read_text())
    assert told and all((ROOT / name).is_file() for name in told)
