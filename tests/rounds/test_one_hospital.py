"""What follows about one hospital from f members' disks, an absence, two studies: computed, and as documents say it.

Whoever has the disks of f members knows what these hospitals put in, and every sum that was opened to members. What
that gives about the others is linear algebra: a group of hospitals is known exactly if its indicator is a combination
of the known rows. What a reader of an export knows is no row at all (`test_export`).
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np

from fednode.ids import fault_bound
from fednode.ledger.sums.records import RoundKind
from fednode.sums.phase import Phase
from tests.rounds.reading import watch
from tests.rounds.world import Absence, World

DOCUMENT = Path(__file__).parents[2] / "fednode" / "docs" / "audit.md"
SIZES = (4, 7, 10)
Rosters = tuple[tuple[int, ...], ...]


def smallest_group(size: int, sums: Rosters, gang: tuple[int, ...]) -> int:
    """How many hospitals outside the gang the smallest group has whose sum is known, of values that do not change."""
    rows = [[float(member in roster) for member in range(1, size + 1)] for roster in sums]
    rows += [[float(member == own) for member in range(1, size + 1)] for own in gang]
    known = np.array(rows)
    rank = np.linalg.matrix_rank(known)
    others = [member for member in range(1, size + 1) if member not in gang]
    for count in range(1, len(others) + 1):
        for group in combinations(others, count):
            row = [float(member in group) for member in range(1, size + 1)]
            if np.linalg.matrix_rank(np.vstack([known, row])) == rank:
                return count
    return 0


def groups(size: int, second: tuple[int, ...]) -> tuple[int, int]:
    """Smallest known groups of f members: of values that stay the same in both sums, and of those new in each."""
    gang, everybody = tuple(range(1, fault_bound(size) + 1)), tuple(range(1, size + 1))
    same = smallest_group(size, (everybody, second), gang)
    new = min(smallest_group(size, (roster,), gang) for roster in (everybody, second))
    return same, new


def said(count: int) -> str:
    return "one hospital alone" if count == 1 else f"sum over {count} others"


def table() -> list[str]:
    """The lines of the table in the documents."""
    lines = [
        "| hospitals | who | what happened | statistics | hidden weight, rows | update of the model |",
        "|---|---|---|---|---|---|",
        "| any | a reader of an export | anything | nothing | nothing | nothing |",
    ]
    for size in SIZES:
        gang = fault_bound(size)
        who = f"| {size} | {'one member' if gang == 1 else f'{gang} members together'} |"
        everybody = tuple(range(1, size + 1))
        once, _ = groups(size, everybody)
        same, new = groups(size, everybody[:-1])
        lines += [
            f"{who} all take part | {said(once)} | {said(once)} | {said(once)} |",
            f"{who} one is absent in a later round | {said(once)} | {said(same)} | {said(new)} |",
            f"{who} a second study without one of them | {said(same)} | {said(same)} | {said(new)} |",
        ]
    return lines


def test_the_documents_say_what_follows_about_one_hospital() -> None:
    found = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")]
    missing = [line for line in table() if line.startswith("| ") and line not in found]
    assert not missing, "\n".join(missing)


def test_an_absence_shows_members_a_hidden_weight_and_a_reader_none() -> None:
    """The row about an absence, with real rounds: the difference of two sums of weights is that of the absent one."""
    world = World(rounds=2, absences=(Absence(4, Phase.COMMIT, round=2),))
    opened = watch(world)
    world.run().settle()
    trained = {
        report.number: report for report in world.reports
        if report.kind == RoundKind.TRAINING and report.number in opened
    }
    whole, short = (next(n for n, r in trained.items() if (4 in r.counted) is there) for there in (True, False))
    alone = opened[whole].sum.weight - opened[short].sum.weight
    others = opened[short].sum.weight
    assert 0 < alone < others and len(trained[short].counted) == 3
    assert all(report.weight == 0 for report in world.reports)
