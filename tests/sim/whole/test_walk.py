"""The walk that people read names every file that a round and a transaction pass through."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fednode
from tests.sim.whole.walk import WALKS, walk_of

ROOT = Path(fednode.__file__).resolve().parent


@pytest.mark.slow
@pytest.mark.parametrize("name", WALKS)
def test_no_file_is_missing_from_the_walk(name: str) -> None:
    told = set(re.findall(r"`([\w/]+\.py)`", (ROOT / "docs" / "walk.md").read_text()))
    assert set(walk_of(name)) <= told


def test_the_walk_names_only_what_is_there() -> None:
    told = re.findall(r"`([\w/]+\.py)`", (ROOT / "docs" / "walk.md").read_text())
    assert told and all((ROOT / name).is_file() for name in told)
