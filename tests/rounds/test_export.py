"""Without a member's keys an exported chain yields no statistic, no small model, no weight: by solving or by guessing.

Each protection is taken away once, to show that the reader finds what it hides.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fednode.ids import Hash
from fednode.learn.model_file import NO_SALT
from fednode.smpc import jobs as sum_jobs
from fednode.smpc.masks import SumKey
from fednode.smpc.vectors import Layout
from fednode.sums.bounds import OUTPUTS
from tests.rounds.reading import Reader, same_key_for_all, watch
from tests.rounds.world import World

Patch = Callable[[pytest.MonkeyPatch], None]


def readers(seed: int = 0) -> list[Reader]:
    """What is left of a whole study: one reader a round."""
    world = World(seed=seed, rounds=2)
    opened = watch(world)
    world.run().settle()
    return [Reader(world, number, truth) for number, truth in sorted(opened.items())]


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_a_reader_of_the_chain_finds_and_confirms_nothing(seed: int) -> None:
    found = readers(seed)
    assert len(found) >= 4 and {0 < reader.truth.job.length < OUTPUTS for reader in found} == {True, False}
    for reader in found:
        assert reader.confirmed() == set(), reader.number
        if 0 < reader.truth.job.length < OUTPUTS:
            assert reader.solve() is None


TAKEN_AWAY: dict[str, tuple[Patch, set[str]]] = {
    "own tails": (
        lambda patch: patch.setattr(sum_jobs, "tail_key", same_key_for_all),
        {"opening", "sum digest", "model", "chunk", "posted sketches"},
    ),
    "hidden openings": (
        lambda patch: patch.setattr(SumKey, "_pad", lambda key, count: np.zeros(count, np.uint64)),
        {"opening"},
    ),
    "salts": (lambda patch: patch.setattr(SumKey, "salt", lambda key, what: NO_SALT), {"model"}),
    "salted sums": (
        lambda patch: patch.setattr(sum_jobs, "name_sum", lambda salt, digest: Hash(digest)), {"sum digest"},
    ),
    "hidden sketches": (
        lambda patch: patch.setattr(Layout, "pads", lambda layout, chunks: np.zeros(OUTPUTS, np.uint32)),
        {"posted sketches"},
    ),
}


@pytest.mark.parametrize("protection", TAKEN_AWAY)
def test_without_one_protection_the_reader_confirms_what_it_hides(
    protection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_away, shows = TAKEN_AWAY[protection]
    take_away(monkeypatch)
    found = readers()
    assert set().union(*(reader.confirmed() for reader in found)) >= shows


def test_without_hidden_openings_small_sums_are_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    TAKEN_AWAY["hidden openings"][0](monkeypatch)
    small = [reader for reader in readers() if 0 < reader.truth.job.length < OUTPUTS]
    assert small
    for reader in small:
        solved = reader.solve()
        assert solved is not None and solved.tolist() == reader.truth.sum.values.tolist()
