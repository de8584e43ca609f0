"""What follows from an opened sum: whatever a liar made of it, a conclusion or one reason why there is none."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fednode.learn.lanes import Statistics as Sums
from fednode.learn.lanes import encode_limbs, metric_lane_count, scaling_from, statistics_lane_count
from fednode.learn.merge import initial_model
from fednode.learn.model_file import MemoryDraft, ModelFile, check_model, read_model, write_model
from fednode.learn.schema import Scaling
from fednode.learn.spec import Layout, StudySpec
from fednode.learn.study_toml import parse_study
from fednode.ledger.records import RoundKind
from fednode.rounds.jobs import Conclude, Conclusion, run, vector_length
from tests.rounds.training import study_text

SPEC = parse_study(study_text(sum_rule=1))
PROVEN = parse_study(study_text())
STUDY = b"s" * 32
SCALING = Scaling((1 << 23, 1 << 23), (1 << 22, 1 << 22))
FILE = write_model(ModelFile(STUDY, 3, SPEC, SCALING, initial_model(Layout.of(SPEC), STUDY)))
START = check_model(lambda: BytesIO(FILE))
EDGES = [0, 1, -1, 2**31 - 1, -(2**31), 255, 256, 4 * 255, 5 * 255]


def conclude(
    kind: RoundKind, total: NDArray[np.int32], weight: int = 4, members: int = 4, spec: StudySpec = SPEC
) -> Conclusion:
    start = None if kind is RoundKind.STATISTICS else START
    found = run(Conclude(spec, STUDY, 4, kind, start, total, weight, members, MemoryDraft))
    assert isinstance(found, Conclusion)
    return found


def check(found: Conclusion) -> None:
    assert bool(found.failure) != any(found.model_hash)
    if found.draft is not None:
        assert isinstance(found.draft, MemoryDraft) and read_model(found.draft.data).hash == found.model_hash
    assert len(found.failure) <= 100


@given(
    st.sampled_from(list(RoundKind)), st.integers(0, 2**32), st.integers(0, 2**16), st.integers(3, 256),
    st.sampled_from([SPEC, PROVEN]),
)
def test_any_vector_gives_a_conclusion(
    kind: RoundKind, seed: int, weight: int, members: int, spec: StudySpec
) -> None:
    random = np.random.default_rng(seed)
    length = vector_length(SPEC, kind)
    total = random.integers(-(2**31), 2**31, length).astype(np.int32)
    edges = random.random(length) < random.random()
    total[edges] = random.choice(np.array(EDGES, np.int64), int(edges.sum())).astype(np.int32)
    check(conclude(kind, total, weight, members, spec))


@given(st.lists(st.integers(0, 2**64 - 1), min_size=40, max_size=40), st.integers(3, 256))
def test_any_statistics_give_a_conclusion(values: list[int], members: int) -> None:
    """Sums that pass the first looks: small, consistent, at the edges, and just beyond."""
    small = [values[0] % 100, *(v % 50 for v in values[1:3]), *(v % 2**20 for v in values[3:])]
    for candidate in (values, small, [value % 5 for value in values]):
        lanes = encode_limbs(np.array(candidate, np.uint64))[: statistics_lane_count(SPEC)]
        check(conclude(RoundKind.STATISTICS, lanes.view(np.int32), 4, members))


@given(st.integers(1, 2**26), st.data())
def test_consistent_statistics_always_give_a_scaling(rows: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, rows))
    total = data.draw(st.integers(0, count << 16))
    low = -(-total * total // count) if count else 0
    squares = data.draw(st.integers(low, max(low, total << 16)))
    scaling = scaling_from(Sums(rows, (rows, 0), ((count, total, squares),)))
    assert 0 <= scaling.mean_q24[0] <= 1 << 24 and 0 < scaling.deviation_q24[0] <= 1 << 24


def test_metrics_at_the_edges_are_judged_not_believed() -> None:
    lanes = metric_lane_count(SPEC)
    for values in ([10, 11, 0], [10, 5, 2**63], [2**62, 0, 0], [0, 0, 0]):
        total = np.zeros(lanes, np.uint32)
        total[:24] = encode_limbs(np.array(values, np.uint64))
        found = conclude(RoundKind.CLOSING, total.view(np.int32))
        assert bool(found.failure) == (values != [0, 0, 0]), (values, found)


def test_with_proofs_a_liar_among_the_measures_ends_no_round() -> None:
    lanes, size = metric_lane_count(PROVEN), Layout.of(PROVEN).size
    for lie in (2**31 - 1, -(2**31), 5 * 255):
        total = np.zeros(lanes, np.int32)
        total[0] = lie
        closing = conclude(RoundKind.CLOSING, total, spec=PROVEN)
        assert not closing.failure and closing.metrics is None and closing.model_hash == START.hash
        training = conclude(RoundKind.TRAINING, np.concatenate([np.zeros(size, np.int32), total]), spec=PROVEN)
        assert not training.failure and training.metrics is None and training.draft is not None
        assert conclude(RoundKind.CLOSING, total).failure
