"""What follows from an opened sum: whatever a liar made of it, a conclusion or one reason why there is none."""

from __future__ import annotations

from io import BytesIO
from math import isqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fednode.learn.algorithms.averaging import FedAvg
from fednode.learn.form import parse_study
from fednode.learn.layout import Layout, Scaling
from fednode.learn.measures import LOSS, RIGHT
from fednode.learn.merge import initial_model
from fednode.learn.metrics.auc import SCORES
from fednode.learn.model_file import MemoryDraft, ModelFile, check_model, read_model, write_model
from fednode.ledger.studies.bodies import Figure, Metrics
from fednode.ledger.sums.records import RoundKind
from fednode.rounds.jobs import Conclude, Conclusion, MadeInput, MakeInput, NoInput, plan_of, vector_length
from fednode.smpc.record import Input
from fednode.smpc.vectors import load
from fednode.sums.measures import CLAIM, Claims, encode_claims, words_of
from tests.rounds.training import study_text
from tests.support.seeds import Stream

SPEC = parse_study(study_text())
STUDY = b"s" * 32
SCALING = Scaling((1 << 23,) * 7, (1 << 22,) * 7)
FILE = write_model(ModelFile(STUDY, 3, SPEC, SCALING, initial_model(Layout.of(SPEC), STUDY)))
START = check_model(lambda: BytesIO(FILE))
EDGES = [0, 1, -1, 2**31 - 1, -(2**31), 255, 256, 4 * 255, 5 * 255]


def conclude(
    kind: RoundKind, total: NDArray[np.int32], words: tuple[int, ...], weight: int = 4, members: int = 4
) -> Conclusion:
    start = None if kind is RoundKind.STATISTICS else START
    found = Conclude(SPEC, STUDY, 4, kind, start, total, words, weight, members, members, b"s" * 32, MemoryDraft).run()
    assert isinstance(found, Conclusion)
    return found


def words_from(kind: RoundKind, *claims: Claims) -> tuple[int, ...]:
    plan = plan_of(SPEC, kind)
    each = [words_of(plan, encode_claims(plan, one)) for one in claims]
    return tuple(int(sum(column)) for column in zip(*[row.tolist() for row in each], strict=True))


def claim_model(right: int, loss: int, positive: int, negative: int) -> Claims:
    """All positives of a hospital in one bin, all negatives in another."""
    scores = np.zeros((2, SCORES.parts), np.int64)
    scores[0, positive] = scores[1, negative] = SCORES.unit
    head = [right, RIGHT.unit - right, loss, LOSS.unit - loss]
    return np.array([*head, *scores.reshape(-1)], CLAIM)


def check(found: Conclusion) -> None:
    assert bool(found.failure) != any(found.model_hash)
    if found.draft is not None:
        assert isinstance(found.draft, MemoryDraft) and read_model(found.draft.data).hash == found.model_hash
    assert len(found.failure) <= 100


@given(
    st.sampled_from(list(RoundKind)), st.integers(0, 2**32), st.integers(0, 2**16), st.integers(3, 256),
    st.lists(st.integers(0, 2**64 - 1), max_size=40),
)
def test_any_vector_and_any_words_give_a_conclusion(
    kind: RoundKind, seed: int, weight: int, members: int, words: list[int]
) -> None:
    random = np.random.default_rng(seed)
    length = vector_length(SPEC, kind)
    total = random.integers(-(2**31), 2**31, length).astype(np.int32)
    edges = random.random(length) < random.random()
    total[edges] = random.choice(np.array(EDGES, np.int64), int(edges.sum())).astype(np.int32)
    right = words_from(kind, *[np.zeros(sum(split.parts for split in plan_of(SPEC, kind)), CLAIM)] * 3)
    for candidate in (tuple(words), right):
        check(conclude(kind, total, candidate, weight, members))


@given(st.lists(st.tuples(st.integers(0, RIGHT.unit), st.integers(0, LOSS.unit), st.integers(0, 31),
                          st.integers(0, 31)), min_size=3, max_size=6))
def test_measures_are_means_over_hospitals_whatever_each_claims(told: list[tuple[int, int, int, int]]) -> None:
    found = conclude(RoundKind.CLOSING, np.empty(0, np.int32), words_from(
        RoundKind.CLOSING, *[claim_model(*one) for one in told]
    ), members=len(told))
    wins = sum(2 * (p > n) + (p == n) for _, _, p, _ in told for _, _, _, n in told)
    area = 1_000_000 * wins // (2 * len(told) ** 2)
    right, loss = sum(one[0] for one in told), sum(one[1] for one in told)
    assert found.metrics == Metrics(len(told), right, len(told), loss, (Figure("auc", area, len(told)),))
    assert found.model_hash == START.hash and not found.failure


def test_a_hospital_without_held_out_rows_has_no_voice_and_of_fewer_than_three_nothing_is_said() -> None:
    nothing, voice = np.zeros(4 + 2 * SCORES.parts, CLAIM), claim_model(RIGHT.unit, 0, 3, 2)
    for count in range(4):
        told = words_from(RoundKind.CLOSING, nothing, *[voice] * count)
        found = conclude(RoundKind.CLOSING, np.empty(0, np.int32), told)
        wanted = None if count < 3 else Metrics(3, 3 * RIGHT.unit, 3, 0, (Figure("auc", 1_000_000, 3),))
        assert found.metrics == wanted and not found.failure


def test_a_step_that_breaks_on_a_sum_fails_the_round(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: FedAvg, state: object, sums: object, at: object) -> None:
        isqrt(-1)

    monkeypatch.setattr(FedAvg, "step", broken)
    words = words_from(RoundKind.TRAINING, *[np.zeros(4, CLAIM)] * 3)
    found = conclude(RoundKind.TRAINING, np.zeros(vector_length(SPEC, RoundKind.TRAINING), np.int32), words)
    assert found.failure == "unforeseen" and found.draft is None


def test_statistics_of_nobody_and_of_liars_still_give_a_model() -> None:
    unit = plan_of(SPEC, RoundKind.STATISTICS)[0].unit
    nobody, extreme = np.zeros(21, CLAIM), np.array([unit, 0, 0] * 4 + [0, 0, unit] * 3, CLAIM)
    for claims in ((nobody,) * 4, (extreme,) * 4, (nobody, extreme, extreme, nobody)):
        found = conclude(RoundKind.STATISTICS, np.empty(0, np.int32), words_from(RoundKind.STATISTICS, *claims))
        assert not found.failure and found.draft is not None


def test_a_worker_is_not_believed_what_no_rows_give() -> None:
    kept: list[Input] = []

    def make(claims: Claims) -> object:
        return MakeInput(SPEC, RoundKind.CLOSING, 1, None, claims.tobytes(), Stream(1), kept.append).run()

    right = claim_model(RIGHT.unit, 0, 3, 2)
    made = make(right)
    assert isinstance(made, MadeInput) and made.claims.tolist() == right.tolist() == load(kept[0].claims).tolist()
    wrong = right.copy()
    wrong[0] += 1
    for claims in (wrong, right[:-1], right[:0]):
        found = make(claims)
        assert isinstance(found, NoInput) and found.reason
    assert len(kept) == 1
