from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from math import isqrt

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fednode.codec import encode
from fednode.crypto import Domain, sha256, tagged_hash
from fednode.errors import Rejected
from fednode.learn import merge as merge_module
from fednode.learn.algorithms.averaging import Round
from fednode.learn.layout import MODEL_LIMIT, Constant, Layout, Scaling, Tensor, Uniform
from fednode.learn.merge import (
    OpenedSum,
    Stretch,
    initial_model,
    initial_parts,
    is_model,
    merge_factor,
    model_bytes,
    model_hash,
    next_model,
    read_sum,
)
from fednode.learn.models.mlp import Mlp
from fednode.learn.study import StudySpec, with_model
from fednode.learn.tables.kind import Tables
from fednode.learn.units import MAX_CLIP_Q24, MAX_MEMBERS, MAX_WEIGHT, UNIT
from fednode.sums.bounds import SCALE

STUDY = bytes(range(32))


def slow_initial(layout: Layout, study: bytes) -> list[int]:
    """One value at a time, from the keystream as a string of bytes."""
    key = tagged_hash(Domain.MODEL, b"initial", study)[:16]
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(8 * layout.size))
    values, fan_in = [], 0
    for tensor in layout.tensors:
        bound = isqrt(2**48 // (tensor.shape[-1] if tensor.name.endswith("weight") else fan_in))
        fan_in = tensor.shape[-1]
        for _ in range(tensor.size):
            word = int.from_bytes(stream[8 * len(values) : 8 * len(values) + 8], "little")
            values.append(word % (2 * bound + 1) - bound)
    return values


def test_initial_model_is_that_of_the_slow_twin(spec: StudySpec) -> None:
    for study in (STUDY, bytes(32)):
        layout = Layout.of(with_model(spec, Mlp((7, 3))))
        assert initial_model(layout, study).tolist() == slow_initial(layout, study)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 20, 21, 22, 10_000])
def test_initial_model_is_the_same_in_parts_of_any_size(
    spec: StudySpec, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    layout = Layout.of(with_model(spec, Mlp((7, 3))))
    monkeypatch.setattr(merge_module, "PART_VALUES", length)
    parts = list(initial_parts(layout, STUDY))
    assert max(part.size for part in parts) <= length
    assert np.concatenate(parts).tolist() == slow_initial(layout, STUDY)


def test_initial_model_is_uniform_within_one_over_root_fan_in(spec: StudySpec) -> None:
    layout = Layout.of(with_model(spec, Mlp((64, 32))))
    model = initial_model(layout, STUDY)
    for tensor in layout.tensors:
        part = model[tensor.offset : tensor.offset + tensor.size]
        assert isinstance(tensor.initial, Uniform)
        bound = tensor.initial.bound_q24
        assert np.abs(part).max() <= bound
        if tensor.size > 500:
            assert abs(part.mean()) < 0.1 * bound
            assert part.std() == pytest.approx(bound / np.sqrt(3), rel=0.1)


def test_published_bytes_of_a_first_model_never_change(spec: StudySpec) -> None:
    """A golden value: another one would mean that nodes of two releases begin with different models."""
    model = initial_model(Layout.of(spec), STUDY)
    assert sha256(model_bytes(model)).hex() == "8284aec104811fed72092cadcfe0100bef1d27b952f95ac1f232d17b9a24bbad"
    scaling = Scaling((1, 2, 3, 4), (5, 6, 7, 8))
    name = model_hash(STUDY, 7, spec, scaling, bytes(32), model)
    assert name.hex() == "53d97bd5474cd1c92b1c2619d21f439dcb4ef57b87cb8bc9f3f80f7ae7a55269"


def sum_bound(weight_sum: int, max_weight: int, members: int) -> int:
    """The largest |X_k| that honest updates of this total weight can sum to."""
    return 5 * SCALE * weight_sum // (6 * max_weight) + members


def merge(
    model: NDArray[np.int64], total: NDArray[np.int64], spec: StudySpec, weight_sum: int, members: int, part: int = 2
) -> NDArray[np.int64]:
    """The whole next model of as many values as `model` has, made in small parts."""
    study = replace(spec, layout=(Tensor("values", (model.size,), Constant(0)),))
    assert total.size == 0 or np.abs(total).max() <= 2**31
    opened = OpenedSum(total.astype(np.int32), weight_sum, Round(1, members, members))

    def read(stretches: Iterable[Stretch]) -> Iterator[NDArray[np.int64]]:
        return (model[start : start + count] for start, count in stretches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge_module, "PART_VALUES", part)
        return np.concatenate([np.empty(0, np.int64), *next_model(study, read, opened)])


def slow_merge(model: list[int], total: list[int], clip_q24: int, max_weight: int, weight_sum: int) -> list[int]:
    """The formula in unbounded integers, with the division written as a floor."""
    factor = Fraction(6 * clip_q24 * max_weight * 2**24, 5 * SCALE * weight_sum).__floor__()
    return [m + (x * factor + 2**23) // 2**24 for m, x in zip(model, total, strict=True)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_merge_is_that_of_the_slow_twin_up_to_every_bound(spec: StudySpec, data: st.DataObject) -> None:
    members = data.draw(st.integers(1, MAX_MEMBERS))
    part = data.draw(st.integers(1, 7))
    max_weight = (1 << data.draw(st.integers(0, 16))) - 1 or 1
    clip_q24 = data.draw(st.one_of(st.integers(1, MAX_CLIP_Q24), st.just(MAX_CLIP_Q24)))
    weight_sum = data.draw(st.integers(members, members * max_weight))
    study = replace(spec, max_weight=max_weight, clip_q24=clip_q24)
    bound = sum_bound(weight_sum, max_weight, members)
    extreme = st.one_of(st.integers(-bound, bound), st.sampled_from([-bound, bound]))
    total = data.draw(st.lists(extreme, min_size=1, max_size=6))
    model = data.draw(st.lists(st.integers(-(2**38), 2**38), min_size=len(total), max_size=len(total)))
    expected = slow_merge(model, total, clip_q24, max_weight, weight_sum)
    vectors = np.array(model, np.int64), np.array(total, np.int64)
    if max(map(abs, expected)) >= MODEL_LIMIT:
        with pytest.raises(Rejected, match="leaves its range"):
            merge(*vectors, study, weight_sum, members)
    else:
        assert merge(*vectors, study, weight_sum, members, part).tolist() == expected


def test_no_product_of_the_merge_reaches_63_bits() -> None:
    """The largest X times the largest r over all studies and federations the rules allow."""
    largest = max(
        sum_bound(w, max_weight, members) * merge_factor(MAX_CLIP_Q24, max_weight, w)
        for max_weight in (1, 3, 1023, MAX_WEIGHT)
        for members in (3, 4, 100, MAX_MEMBERS)
        for w in (members, members * max_weight // 2, members * max_weight)
        if w >= members
    )
    assert largest + UNIT // 2 < 1 << 62


def test_merge_is_the_weighted_mean_of_quantised_updates(spec: StudySpec) -> None:
    """Federated averaging within the rounding of quantisation, 2^-24 and the factor r."""
    random = np.random.default_rng(1)
    clip = spec.clip_q24 / UNIT
    deltas = random.normal(size=(5, 30))
    deltas *= clip / np.sqrt((deltas**2).sum(axis=1))[:, None]
    weights = np.array([1, 40, 300, 1023, 17])
    scaled = deltas * (SCALE / (1.2 * clip) * weights / spec.max_weight)[:, None]
    total = np.floor(scaled + random.random(scaled.shape)).astype(np.int64).sum(axis=0)
    start = initial_model(Layout.of(spec), STUDY)
    merged = merge(start, total, spec, int(weights.sum()), 5)
    mean = (weights[:, None] * deltas).sum(axis=0) / weights.sum()
    unit = 1.2 * clip * spec.max_weight / (SCALE * weights.sum())
    np.testing.assert_allclose((merged - start) / UNIT, mean, atol=5 * unit + 2.0**-22)


def test_with_proofs_only_what_cannot_be_computed_is_refused(spec: StudySpec) -> None:
    """A liar proves up to 1.2 times the clip, and what liars add to the sum may be several times that."""
    model = np.zeros(1, np.int64)
    honest = sum_bound(100, spec.max_weight, 4)
    for value in (6 * honest, -6 * honest):
        merged = merge(model, np.array([value]), spec, 100, 4)
        assert merged.tolist() == slow_merge([0], [value], spec.clip_q24, spec.max_weight, 100)
    largest = replace(spec, clip_q24=MAX_CLIP_Q24, max_weight=MAX_WEIGHT)
    limit = ((1 << 62) - 1) // merge_factor(MAX_CLIP_Q24, MAX_WEIGHT, 1)
    for value in (limit, -limit):
        merged = merge(model, np.array([value]), largest, 1, 4)
        assert merged.tolist() == slow_merge([0], [value], MAX_CLIP_Q24, MAX_WEIGHT, 1)
    with pytest.raises(Rejected, match="beyond the clip"):
        merge(model, np.array([limit + 1]), largest, 1, 4)
    with pytest.raises(Rejected, match="beyond the clip"):
        merge(model, np.array([-(2**31)]), largest, 1, 4)


def test_no_product_of_the_merge_reaches_63_bits_whatever_is_proven(spec: StudySpec) -> None:
    for weight_sum in (1, 2, 3, 1000, 4 * MAX_WEIGHT):
        for clip_q24 in (1, UNIT, MAX_CLIP_Q24):
            extreme = replace(spec, clip_q24=clip_q24, max_weight=MAX_WEIGHT)
            factor = merge_factor(clip_q24, MAX_WEIGHT, weight_sum)
            for value in (2**31 - 1, -(2**31), 1, 0):
                try:
                    merged = merge(np.zeros(1, np.int64), np.array([value]), extreme, weight_sum, 4)
                except Rejected:
                    assert abs(value) * factor >= 1 << 62
                else:
                    assert merged.tolist() == slow_merge([0], [value], clip_q24, MAX_WEIGHT, weight_sum)


def test_impossible_weights_and_shapes_are_rejected(spec: StudySpec) -> None:
    model, total = np.zeros(2, np.int64), np.zeros(2, np.int64)
    assert merge(model, total, spec, 3, 4).tolist() == [0, 0], "members of weight 0 are possible"
    for weight_sum, members in ((0, 4), (4 * spec.max_weight + 1, 4), (300, MAX_MEMBERS + 1), (0, 0)):
        with pytest.raises(Rejected, match="weight sum"):
            merge(model, total, spec, weight_sum, members)
    study = replace(spec, layout=(Tensor("values", (2,), Constant(0)),))
    for bad in (np.zeros(3, np.int32), np.zeros(1, np.int32), np.zeros(2, np.int64), np.zeros((1, 2), np.int32)):
        with pytest.raises(Rejected, match="shape"):
            read_sum(study, OpenedSum(bad, 4, Round(1, 4, 4)))  # type: ignore[arg-type]


def test_is_model_knows_its_range_and_the_smallest_integer() -> None:
    assert is_model(np.array([MODEL_LIMIT - 1, 1 - MODEL_LIMIT]), 2)
    for value in (MODEL_LIMIT, -MODEL_LIMIT, -(2**63), 2**63 - 1):
        assert not is_model(np.array([value], np.int64), 1)
    assert not is_model(np.zeros(2, np.int64), 3)
    assert not is_model(np.zeros(2), 2)  # type: ignore[arg-type]


def test_model_bytes_are_its_values_in_little_endian(spec: StudySpec) -> None:
    model = initial_model(Layout.of(spec), STUDY)
    assert (np.frombuffer(model_bytes(model), "<i8") == model).all()


def test_everything_that_matters_changes_the_model_hash(spec: StudySpec, tables: Tables) -> None:
    model = initial_model(Layout.of(spec), STUDY)
    scaling = Scaling((1, 2, 3, 4), (5, 6, 7, 8))
    other = model.copy()
    other[-1] += 1
    wider = replace(tables.columns[0], high_micro=99_000_000)
    renamed = replace(spec, data=replace(tables, columns=(wider, *tables.columns[1:])))
    salt = bytes(32)
    names = {
        model_hash(STUDY, 7, spec, scaling, salt, model),
        model_hash(bytes(32), 7, spec, scaling, salt, model),
        model_hash(STUDY, 8, spec, scaling, salt, model),
        model_hash(STUDY, 7, renamed, scaling, salt, model),
        model_hash(STUDY, 7, spec, Scaling((1, 2, 3, 5), (5, 6, 7, 8)), salt, model),
        model_hash(STUDY, 7, spec, scaling, bytes(31) + b"1", model),
        model_hash(STUDY, 7, spec, scaling, salt, other),
    }
    assert len(names) == 7
    assert model_hash(STUDY, 7, spec, scaling, salt, model) == tagged_hash(
        Domain.MODEL, b"state", STUDY, (7).to_bytes(8, "big"),
        encode(spec), encode(scaling), salt, sha256(model_bytes(model)),
    )
