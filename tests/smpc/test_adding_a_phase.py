"""The worked example of `docs/adding.md`, "A phase of the sum": made in a copy of the tree, where a sum then runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.smpc.gate import CHECKOUT, copy_checkout

BLOCK = r"\n\n +```python\n(.*?\n) +```"
CHANGE = re.compile(r"`(fednode/[^`]+)`, instead of" + BLOCK + r"\n\n +write" + BLOCK, re.DOTALL)
SUM = """
from tests.smpc.sim.real_ledger import RealLedger
from tests.smpc.sim.world import World

world = World(4, seed=1, weights="hidden", ledger=RealLedger).run()
view = world.check()
assert world.ledger.outcome is not None and world.ledger.outcome[0] == "ok", world.ledger.outcome
assert view.included == world.members and not world.ledger.voids
phases = list(dict.fromkeys(view.phase.name for view in world.trace.views))
assert phases[phases.index("PROOF"):] == ["PROOF", "HOLD", "REVEAL", "RESULT"], phases
"""


def changes() -> list[tuple[str, str, str]]:
    """Return (file, the text there, what to write instead) of the example, in order."""
    text = (CHECKOUT / "fednode" / "docs" / "adding.md").read_text()
    section = text.split("## A phase of the sum\n")[1].split("\n## ")[0]
    return [(name, _shown(old), _shown(new)) for name, old, new in CHANGE.findall(section)]


def _shown(block: str) -> str:
    """Return a block without the indentation of the list it stands in, and its last line as a beginning of one."""
    return "\n".join(line.removeprefix(" " * 3) for line in block.splitlines())


def write_changes(folder: Path) -> set[str]:
    """Make the changes in a copy; return the files that changed."""
    for name, old, new in changes():
        file = folder / name
        source = file.read_text()
        assert source.count(old) == 1, f"{name} has {source.count(old)} places with {old!r}"
        file.write_text(source.replace(old, new))
    return {name for name, _, _ in changes()}


@pytest.mark.slow
def test_a_phase_is_added_in_six_files_and_a_sum_runs_through_it(tmp_path: Path) -> None:
    copy = copy_checkout(tmp_path)
    assert len(write_changes(copy)) == 6
    done = subprocess.run(
        [sys.executable, "-c", SUM], cwd=copy, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
