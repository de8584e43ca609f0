"""Rounds are tested under both sum rules: quickly under the first, at length under the one with proofs."""

from __future__ import annotations

import pytest

from tests.rounds import world


@pytest.fixture(params=[1, pytest.param(2, marks=pytest.mark.slow)], ids=["rule1", "rule2"])
def sum_rule(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The sum rule of the worlds of a test."""
    monkeypatch.setattr(world, "SUM_RULE", request.param)
    return int(request.param)
