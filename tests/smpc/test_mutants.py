"""Every broken variant of the secure sum is noticed by the test that names its rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.smpc.gate import ALL, copy_checkout, find_fault
from tests.smpc.mutants import Mutant


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("mutants"))


@pytest.mark.slow
@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_broken_variant_is_noticed(copy: Path, mutant: Mutant) -> None:
    assert find_fault(mutant, copy) is None
