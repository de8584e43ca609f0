from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load

from fednode.errors import Rejected, StorageError
from fednode.learn import model_file
from fednode.learn.layout import MODEL_LIMIT, Layout, Scaling
from fednode.learn.merge import initial_model
from fednode.learn.model_file import (
    Buffer,
    MemoryDraft,
    ModelFile,
    check_model,
    open_model,
    read_model,
    write_model,
    write_parts,
)
from fednode.learn.study import StudySpec
from fednode.learn.units import UNIT

STUDY = bytes(range(32))
SCALING = Scaling((1, 2, 3, UNIT), (5, 6, 7, UNIT))


@pytest.fixture(scope="module")
def model(spec: StudySpec) -> ModelFile:
    values = initial_model(Layout.of(spec), STUDY)
    values[:3] = (MODEL_LIMIT - 1, 1 - MODEL_LIMIT, 0)
    return ModelFile(STUDY, 9, spec, SCALING, values)


def test_a_model_comes_back_exactly_with_its_hash(model: ModelFile) -> None:
    back = read_model(write_model(model))
    assert (back.values == model.values).all()
    assert (back.study, back.round_number, back.spec, back.scaling) == (STUDY, 9, model.spec, SCALING)
    assert back.hash == model.hash


def test_the_same_model_gives_the_same_bytes(model: ModelFile) -> None:
    assert write_model(model) == write_model(replace(model, values=model.values.copy()))


class Pieces(MemoryDraft):
    """A draft that notes how much it was given at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def append(self, data: Buffer) -> None:
        self.sizes.append(len(data))
        super().append(data)


@pytest.mark.parametrize("beside", [-1, 0, 1])
@pytest.mark.parametrize("parts", [1, 2, 5])
def test_parts_of_any_size_are_the_same_file(
    model: ModelFile, monkeypatch: pytest.MonkeyPatch, parts: int, beside: int
) -> None:
    size = model.values.size
    length = max(1, size // parts + beside)
    monkeypatch.setattr(model_file, "PART_VALUES", length)
    draft = Pieces()
    pieces = [model.values[at : at + length] for at in range(0, size, length)]
    name = write_parts(draft, model.study, model.round_number, model.spec, model.scaling, model.salt, pieces)
    assert bytes(draft.data) == write_model(model) and name == model.hash
    assert max(draft.sizes[1:]) == 8 * min(length, size)
    stored = check_model(lambda: BytesIO(draft.data), "here")
    assert (stored.hash, stored.path, stored.scaling) == (model.hash, "here", SCALING)
    assert [part.size for part in stored.parts()] == [piece.size for piece in pieces]
    assert (stored.load() == model.values).all() and (stored.load() == model.values).all()
    assert open_model(lambda: BytesIO(draft.data)).hash == model.hash


def test_file_that_changes_after_it_was_checked_is_named(model: ModelFile) -> None:
    data = write_model(model)
    shown = [data]
    stored = check_model(lambda: BytesIO(shown[0]))
    for spoilt in (b"", data[:-1], data[:100], data[: -8 * model.values.size]):
        shown[0] = spoilt
        with pytest.raises(StorageError, match=f"{model.hash.hex()[:16]} is damaged or gone; start the daemon again"):
            stored.load()

    def gone() -> BytesIO:
        raise FileNotFoundError

    with pytest.raises(StorageError, match="damaged or gone"):
        replace(stored, opener=gone).load()


def test_other_programs_read_it_as_safetensors(model: ModelFile) -> None:
    data = write_model(model)
    tensors = load(data)
    for tensor in Layout.of(model.spec).tensors:
        part = model.values[tensor.offset : tensor.offset + tensor.size].reshape(tensor.shape)
        np.testing.assert_array_equal(tensors[tensor.name], part / UNIT)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["__metadata__"]["model_hash"] == model.hash.hex()


def rewrite(data: bytes, **metadata: str) -> bytes:
    """The same file with other metadata."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"].update(metadata)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def test_anything_not_written_here_is_rejected(model: ModelFile) -> None:
    data = write_model(model)
    assert rewrite(data) == data
    negative_zero = bytearray(data)
    negative_zero[len(data) - 8 * model.values.size + 2 * 8 + 7] = 0x80  # -0.0 for the value 0
    bad = [
        b"", data[:-1], data + b"\x00", data[:7], b"\xff" * 8 + data[8:], bytes(negative_zero),
        data[:-8] + np.float64("nan").tobytes(), data[:-8] + np.float64(1e300).tobytes(),
        data[:-8] + np.float64(2**15).tobytes(), data[:-8] + np.float64(2.0**-30).tobytes(),
        rewrite(data, round="09"), rewrite(data, round="-1"), rewrite(data, round="x"),
        rewrite(data, model_hash="00" * 32), rewrite(data, extra="1"), rewrite(data, fednode="fednode-model-2"),
        rewrite(data, study_id="00"), rewrite(data, spec="00"), rewrite(data, scaling="zz"),
        rewrite(data, salt="00"), rewrite(data, salt="zz"),
        (2).to_bytes(8, "little") + b"[]", (2).to_bytes(8, "little") + b"{}",
        (200_000).to_bytes(8, "little") + b"[" * 200_000,
    ]
    for number, damaged in enumerate(bad):
        with pytest.raises(Rejected):
            read_model(damaged)
            pytest.fail(f"case {number} was accepted")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(place=st.integers(0, 10**6), value=st.integers(1, 255))
def test_no_flipped_byte_passes_as_the_same_model(model: ModelFile, place: int, value: int) -> None:
    data = bytearray(write_model(model))
    data[place % len(data)] ^= value
    try:
        back = read_model(bytes(data))
    except Rejected:
        return
    assert back.hash != model.hash


def test_scaling_of_another_schema_is_rejected(model: ModelFile) -> None:
    with pytest.raises(Rejected, match="size of its study"):
        read_model(write_model(replace(model, scaling=Scaling((1,), (1,)))))
