"""The gate of broken variants: a copy of the package in which one piece of source is replaced, and the test that fails.

A variant whose test does not end within `LIMITS` is noticed as well: what the test asks for did not come.

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
from dataclasses import dataclass
from pathlib import Path

from tests.ledger.mutants import RULE_MUTANTS
from tests.ledger.mutants_members import MEMBER_MUTANTS
from tests.limits import Limits
from tests.smpc.forks import Forks, forking
from tests.smpc.mutants import MUTANTS, Mutant
from tests.smpc.mutants_bound import BOUND_MUTANTS
from tests.smpc.mutants_constants import CONSTANT_MUTANTS
from tests.smpc.mutants_measures import MEASURE_MUTANTS

CHECKOUT = Path(__file__).resolve().parents[2]
SUMS = [*MUTANTS, *BOUND_MUTANTS, *MEASURE_MUTANTS, *CONSTANT_MUTANTS]
RULES = [*RULE_MUTANTS, *MEMBER_MUTANTS]
ALL = [*SUMS, *RULES]
LIMITS = Limits(seconds=60, growth_bytes=3 << 30)
"""For one test: many times what the longest of the tables takes."""
OPTIONS = ("-q", "-x", "-p", "no:cacheprovider", "--assert=plain")


def copy_checkout(folder: Path) -> Path:
    """Copy the package that is to be broken, and the tests; compile both, as most of either stays as it is."""
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(CHECKOUT / "fednode", folder / "fednode", ignore=skip)
    shutil.copytree(CHECKOUT / "tests", folder / "tests", ignore=skip)
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    assert compileall.compile_dir(folder, quiet=1)
    return folder


@dataclass(frozen=True)
class Verdict:
    """Whether a variant was noticed, and by what; or why it lives."""

    is_killed: bool
    reason: str


def judge_variant(mutant: Mutant, forks: Forks, limits: Limits = LIMITS) -> Verdict:
    """Break the copy, run the test that must notice, mend the copy.

    Bytecode goes by the time of its source: the mended file gets its old one back, so that no fork compiles it again.
    """
    file = forks.folder / "fednode" / mutant.file
    source, times = file.read_text(), file.stat()
    if source.count(mutant.old) != 1:
        return Verdict(False, "the piece of source this variant replaces has changed")
    file.write_text(source.replace(mutant.old, mutant.new))
    try:
        ended = forks.run(limits, *OPTIONS, mutant.killed_by)
    finally:
        file.write_text(source)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    if ended.past is not None:
        return Verdict(True, f"{mutant.killed_by}: {ended.past}")
    if ended.status == 1 and "error" not in ended.output.splitlines()[-1]:
        return Verdict(True, mutant.killed_by)
    return Verdict(False, f"pytest ended with {ended.status}: {ended.output[-2000:]}")


def main(words: list[str], mutants: Sequence[Mutant] = ALL) -> int:
    """Print who notices each variant; return how many live."""
    living = 0
    chosen = [m for m in mutants if not words or any(word in m.name + m.killed_by for word in words)]
    with tempfile.TemporaryDirectory() as folder, forking(copy_checkout(Path(folder))) as forks:
        for mutant in chosen:
            begin = time.perf_counter()
            verdict = judge_variant(mutant, forks)
            living += not verdict.is_killed
            shown, by = "killed" if verdict.is_killed else "LIVES ", verdict.reason.splitlines()[-1]
            sys.stdout.write(f"{shown}  {mutant.name:64} {time.perf_counter() - begin:5.1f} s  {by}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(chosen)} broken variants, {living} live\n")
    return living


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
