"""Every broken variant of the secure sum is noticed by the test that names its rule."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.smpc.forks import Forks, forking
from tests.smpc.gate import ALL, OPTIONS, copy_checkout, find_fault
from tests.smpc.mutants import Mutant


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with forking(copy_checkout(tmp_path_factory.mktemp("mutants"))) as forks:
        yield forks


@pytest.mark.slow
@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_broken_variant_is_noticed(forks: Forks, mutant: Mutant) -> None:
    assert find_fault(mutant, forks) is None


@pytest.mark.slow
def test_nothing_is_noticed_where_nothing_is_broken(forks: Forks) -> None:
    status, output = forks.run(*OPTIONS, *{mutant.killed_by for mutant in ALL[::8]})
    assert status == 0, output
