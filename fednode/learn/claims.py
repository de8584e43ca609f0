"""Tools for what one hospital claims of its rows: fractions instead of counts, and what hides a count in them.

Security assumption: claims are shared and proven (`sums.measures`), and only sums over at least three members are
opened. One hospital has one voice, however many rows it has: it says fractions, never counts. A liar can claim only
what some rows would give, and moves a mean over V hospitals by at most 1 / V of its range; honest sums are off by at
most one unit of each part, from rounding, and by what `blur` does.

A fraction of few rows tells how many there are, and three such fractions can be told apart in their sum: each is a
number k / n, and few of these add up to just this. So in each claim every count of rows that are alike is moved by up
to half a row, drawn anew (`blur`): between k / n and its neighbours nothing tells where the truth lies. Nobody gets a
row of a kind that it does not have, and where all rows are alike nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fednode.crypto import Entropy
from fednode.errors import Rejected
from fednode.sums.measures import CLAIM, Claims, Plan, Tally, read_sums

PARTS_OF_A_ROW = 1 << 16
"""Rows are counted in these where counts are moved by less than one."""


def divide(unit: int, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return shares of `counts` (n,) in whole parts of `unit` that add up to it, largest remainders first; zeros if
    there is nothing to share."""
    total = int(counts.sum())
    if total == 0:
        return np.zeros_like(counts)
    exact = [unit * int(count) for count in counts]
    shares = [value // total for value in exact]
    order = sorted(range(len(exact)), key=lambda at: (-(exact[at] % total), at))
    for at in order[: unit - sum(shares)]:
        shares[at] += 1
    return np.array(shares, np.int64)


def blur(counts: NDArray[np.int64], entropy: Entropy | None) -> NDArray[np.int64]:
    """Return `counts` of rows (n,) in parts of a row, each that is not zero moved by up to half a row; exact without
    entropy, for figures that do not leave a hospital."""
    exact = counts * PARTS_OF_A_ROW
    if entropy is None:
        return exact
    drawn = np.frombuffer(entropy.random_bytes(2 * counts.size), "<u2").astype(np.int64) - PARTS_OF_A_ROW // 2
    return np.where(counts > 0, exact + drawn, 0)


def join(parts: Sequence[NDArray[np.int64]]) -> Claims:
    """Return the claims whose splits are `parts`, in order."""
    return np.concatenate([np.empty(0, np.int64), *parts]).astype(CLAIM)


def tally(plan: Plan, words: Sequence[int], members: int) -> tuple[Tally, ...]:
    """Read opened words; raise `Rejected` if they are not sums of proven claims."""
    try:
        return read_sums(plan, words, members)
    except ValueError as error:
        raise Rejected(str(error)) from None
