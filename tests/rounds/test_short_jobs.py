"""What the loop does at once must be short for every study, whichever round it is in."""

from __future__ import annotations

import numpy as np
import pytest

from fednode.learn.form import parse_study
from fednode.learn.model_file import MemoryDraft
from fednode.learn.models.mlp import Mlp
from fednode.learn.study import with_model
from fednode.ledger.sums.records import RoundKind
from fednode.rounds.jobs import Conclude, MakeInput, vector_length
from tests.rounds.training import study_text
from tests.support.seeds import Stream

SMALL = parse_study(study_text())
LARGE = with_model(SMALL, Mlp((1024, 512)))


@pytest.mark.parametrize("kind", list(RoundKind))
def test_whoever_makes_a_large_model_does_not_do_it_at_once(kind: RoundKind) -> None:
    """The first round sums little, and makes the model everybody begins with."""
    for spec, is_short in ((SMALL, True), (LARGE, kind is RoundKind.CLOSING)):
        total = np.zeros(vector_length(spec, kind), np.int32)
        job = Conclude(spec, b"s" * 32, 1, kind, None, total, (), 4, 4, 4, bytes(32), MemoryDraft)
        assert job.is_short == is_short


def test_long_update_is_not_rounded_at_once() -> None:
    for size, is_short in ((100, True), (1 << 20, False)):
        job = MakeInput(SMALL, RoundKind.TRAINING, 1, bytes(4 * size), b"", Stream(1), lambda own: None)
        assert job.is_short == is_short
