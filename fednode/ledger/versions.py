"""The versions of the rules this program knows, and what each of them means: the one place where rules differ.

A new version is a new row of `VERSIONS`. A rule that changes reads its number from the row; a row never changes once
a chain has lived by it, and none is taken out while a chain that used it is to be checked from its genesis on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Rules:
    """What may differ between versions. `proposal_lapse_blocks`: an open proposal is dropped after so many blocks."""

    summary: str
    proposal_lapse_blocks: int


Versions = Mapping[int, Rules]

VERSIONS: Versions = MappingProxyType({
    1: Rules("the rules every chain begins with", proposal_lapse_blocks=1000),
})
"""Every version this program can execute."""
