"""Fuzzing by coverage: python -m tests.fuzz TARGET [--seconds N] [--corpus DIR], or --list, or --write-corpus.

What ends it: the time, or an input that a target does not take as promised; that input is written to a file whose name
is printed. Needs atheris, which is a part of the development extra where there is a build of it for the machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
MEMORY_MB = 2048
STEPS = 120
WHOLE = "whole"
"""Whole cores that one member feeds with what means harm: by chance, not by coverage."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Fuzz one target by coverage.")
    parser.add_argument("target", nargs="?", help="what to fuzz; --list shows all")
    parser.add_argument("--seconds", type=int, default=60, help="how long (default 60)")
    parser.add_argument("--corpus", type=Path, help="folder for inputs that were found, to go on from another time")
    parser.add_argument("--list", action="store_true", help="name the targets")
    parser.add_argument("--write-corpus", action="store_true", help="write the small corpus of the tree anew")
    options = parser.parse_args()
    if options.write_corpus:
        from tests.fuzz.seeds import write_corpus

        write_corpus(CORPUS)
        return
    if options.list or options.target is None:
        from tests.fuzz.targets import TARGETS

        sys.stdout.write("\n".join([*TARGETS, WHOLE]) + "\n")
        return
    if options.target == WHOLE:
        fuzz_whole(options.seconds)
        return
    fuzz(options.target, options.seconds, options.corpus)


def fuzz_whole(seconds: int) -> None:
    """Play seeds for so long; ends the process with their names if something was found."""
    from tests.fuzz.whole import run

    seed = time.time_ns() % 2**32
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        with tempfile.TemporaryDirectory(prefix="fuzz-whole-") as folder:
            if found := run(seed + count, STEPS, Path(folder)):
                sys.exit(f"seed {seed + count}:\n" + "\n".join(found))
        count += 1
    sys.stdout.write(f"{count} seeds from {seed} on, nothing found\n")


def fuzz(name: str, seconds: int, corpus: Path | None) -> None:
    """Fuzz a target; ends the process, with an exit code other than 0 if something was found."""
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is not installed here; it is a part of the extra 'dev' where there is a build of it")
    with atheris.instrument_imports(include=["fednode"], enable_loader_override=False):
        from tests.fuzz.targets import MAX_BYTES, TARGETS
    if name not in TARGETS:
        sys.exit(f"there is no target '{name}'; there are: {', '.join(TARGETS)}")
    found = corpus or Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    found.mkdir(parents=True, exist_ok=True)
    options = [
        sys.argv[0], f"-max_total_time={seconds}", f"-max_len={MAX_BYTES}", f"-rss_limit_mb={MEMORY_MB}", "-timeout=20",
        f"-artifact_prefix={found}/", "-print_final_stats=1", str(found), str(CORPUS / name),
    ]
    atheris.Setup(options, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
