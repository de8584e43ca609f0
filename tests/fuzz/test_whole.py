"""One member's harm through rules, machines, desk and answers of whole cores; and the faults that this would find."""

from __future__ import annotations

import random
from decimal import Decimal, InvalidOperation
from pathlib import Path

import msgpack
import pytest

from fednode import codec
from fednode.learn.tables import kind
from tests.core.hostile import Draw
from tests.fuzz import hostile_values
from tests.fuzz.whole import run

STEPS = 60


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_nothing_one_member_sends_hurts_the_others(seed: int, tmp_path: Path) -> None:
    assert run(seed, STEPS, tmp_path) == []


@pytest.mark.soak
def test_for_a_long_time(tmp_path: Path) -> None:
    for seed in range(100, 400):
        assert run(seed, 2 * STEPS, tmp_path) == [], seed


def careless_token(cell: str) -> str:
    """Compare numbers as they are: what a level of another hospital could once do."""
    token = cell.strip()
    try:
        number = Decimal(token)
    except InvalidOperation:
        return token
    return token if not number.is_finite() or abs(number) > 10**18 else format(number, "f")


@pytest.mark.slow
def test_a_level_that_is_computed_with_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile_values, "TEXTS", ("1e1000001", "1e-99999999999"))
    monkeypatch.setattr(hostile_values, "hostile_body", only_studies)
    monkeypatch.setattr(kind, "normal_token", careless_token)
    assert any("Overflow" in found or "MemoryError" in found for found in run(2, 40, tmp_path))


def only_studies(draw: Draw) -> object:
    real, data = hostile_values.hostile_spec(draw.random)
    return hostile_values.tx.StudyCreate(hostile_values.terms_from_spec(real), data)


unpackb = msgpack.unpackb


def reserving(data: memoryview, **bounds: object) -> object:
    """Decode as msgpack did before 1.2.4: what a header promises is reserved at once."""
    place, kept = 0, []
    while data[place : place + 1] == b"\xdd" and len(kept) < 30:
        kept.append([None] * min(int.from_bytes(data[place + 1 : place + 5], "big"), len(data)))
        place += 5
    return unpackb(data, **bounds)


@pytest.mark.slow
def test_a_message_that_is_built_before_it_is_measured_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "scan", lambda data, depth: 0)
    monkeypatch.setattr(codec.msgpack, "unpackb", reserving)
    found = run(4, 40, tmp_path)
    assert any("MB more" in text for text in found)


def test_values_that_mean_harm_can_be_sent() -> None:
    draw, kinds = Draw(1), set()
    for _ in range(200):
        kinds.add(type(hostile_values.hostile_body(draw)))
    assert len(kinds) > 15
    assert hostile_values.hostile_card(random.Random(1)).name in hostile_values.TEXTS
