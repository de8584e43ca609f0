"""The gate of broken variants: a copy of the package in which one piece of source is replaced, and the test that fails.

    python -m tests.smpc.gate            prints the table of all variants; the exit status is the number that lives
    python -m tests.smpc.gate WORD...    only variants with one of the words in their names or tests
"""

from __future__ import annotations

import compileall
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.ledger.mutants import RULE_MUTANTS
from tests.ledger.mutants_members import MEMBER_MUTANTS
from tests.smpc.forks import Forks, forking
from tests.smpc.mutants import MUTANTS, Mutant
from tests.smpc.mutants_bound import BOUND_MUTANTS
from tests.smpc.mutants_constants import CONSTANT_MUTANTS
from tests.smpc.mutants_measures import MEASURE_MUTANTS

CHECKOUT = Path(__file__).resolve().parents[2]
SUMS = [*MUTANTS, *BOUND_MUTANTS, *MEASURE_MUTANTS, *CONSTANT_MUTANTS]
RULES = [*RULE_MUTANTS, *MEMBER_MUTANTS]
ALL = [*SUMS, *RULES]
OPTIONS = ("-q", "-x", "-p", "no:cacheprovider", "--assert=plain")


def copy_checkout(folder: Path) -> Path:
    """Copy the package that is to be broken, and the tests; compile both, as most of either stays as it is."""
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(CHECKOUT / "fednode", folder / "fednode", ignore=skip)
    shutil.copytree(CHECKOUT / "tests", folder / "tests", ignore=skip)
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    assert compileall.compile_dir(folder, quiet=1)
    return folder


def find_fault(mutant: Mutant, forks: Forks) -> str | None:
    """Break the copy, run the test that must notice, mend the copy. Returns why the variant lives, or None.

    Bytecode goes by the time of its source: the mended file gets its old one back, so that no fork compiles it again.
    """
    file = forks.folder / "fednode" / mutant.file
    source, times = file.read_text(), file.stat()
    if source.count(mutant.old) != 1:
        return "the piece of source this variant replaces has changed"
    file.write_text(source.replace(mutant.old, mutant.new))
    try:
        status, output = forks.run(*OPTIONS, mutant.killed_by)
    finally:
        file.write_text(source)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    if status == 1 and "error" not in output.splitlines()[-1]:
        return None
    return f"pytest ended with {status}: {output[-2000:]}"


def main(words: list[str], mutants: Sequence[Mutant] = ALL) -> int:
    """Print who notices each variant; return how many live."""
    living = 0
    chosen = [m for m in mutants if not words or any(word in m.name + m.killed_by for word in words)]
    with tempfile.TemporaryDirectory() as folder, forking(copy_checkout(Path(folder))) as forks:
        for mutant in chosen:
            begin = time.perf_counter()
            fault = find_fault(mutant, forks)
            living += fault is not None
            verdict, by = ("killed", mutant.killed_by) if fault is None else ("LIVES ", fault.splitlines()[-1])
            sys.stdout.write(f"{verdict}  {mutant.name:64} {time.perf_counter() - begin:5.1f} s  {by}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(chosen)} broken variants, {living} live\n")
    return living


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
