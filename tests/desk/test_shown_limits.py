"""Whoever approves a study is told what the chain will show of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fednode.desk.study_page import shown_limits
from fednode.ledger.studies.bodies import StudyTerms, Weights
from tests.ledger.world import TERMS


@pytest.mark.parametrize("weights", [Weights.PUBLIC, Weights.HIDDEN])
def test_public_weights_are_said_before_they_are_agreed_to(weights: Weights) -> None:
    terms: StudyTerms = replace(TERMS, weights=weights)
    said = " ".join(str(limit) for limit in shown_limits(terms))
    assert "measures" in said
    assert (f"up to {terms.weight_bound}" in said) == (weights is Weights.PUBLIC)
