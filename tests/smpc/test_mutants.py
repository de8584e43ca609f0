"""Every broken variant of the secure sum is noticed by the test that names its rule."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.smpc.mutants import MUTANTS, Mutant

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package and the tests it may break."""
    folder = tmp_path_factory.mktemp("mutants")
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(CHECKOUT / "fednode", folder / "fednode", ignore=skip)
    for name in ("smpc", "property"):
        shutil.copytree(CHECKOUT / "tests" / name, folder / "tests" / name, ignore=skip)
    shutil.copy(CHECKOUT / "tests" / "conftest.py", folder / "tests")
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_broken_variant_is_noticed(copy: Path, mutant: Mutant) -> None:
    file = copy / "fednode" / "smpc" / mutant.file
    source = file.read_text()
    assert source.count(mutant.old) == 1, "the piece of source this variant replaces has changed"
    file.write_text(source.replace(mutant.old, mutant.new))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutant.killed_by],
            cwd=copy, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
    finally:
        file.write_text(source)
    assert done.returncode == 1, done.stdout[-2000:]
    assert "error" not in done.stdout.splitlines()[-1], done.stdout[-2000:]
