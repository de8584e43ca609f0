"""Makes a golden chain anew: a simulated federation trains a study while members crash, and its chain is kept.

    python -m tests.ledger.golden.make [1|2]

The number is the sum rule of the study; without it, both chains are made.
Only a change of the rules or of an encoding, that is, of the protocol version, is a reason to run this: every state
root of a chain that exists must stay what it was.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fednode.codec import encode
from fednode.learn.spec import PROVEN_SUM_RULE
from fednode.ledger.genesis import genesis_to_toml
from fednode.ledger.rules import receipts_data
from tests.ledger.golden.replay import FOLDER, PROVEN_FOLDER, Entry, describe, write_entries
from tests.sim.whole.world import Plan, World

SEED, FAULTS = 16, 4


def make(folder: Path, sum_rule: int = 1) -> int:
    """Write genesis, blocks and roots; return the height."""
    world = World(Plan(SEED, faults=FAULTS, sum_rule=sum_rule))
    world.run()
    blocks = world.nodes[1].disk.blocks  # type: ignore[index]  # a member's number
    entries = [
        Entry(decided.block.encoded, encode(decided.certificate), receipts_data(decided.receipts))
        for decided in blocks
    ]
    (folder / "genesis.toml").write_text(genesis_to_toml(world.genesis))
    write_entries(folder / "chain.bin", entries)
    (folder / "roots.txt").write_text("".join(f"{describe(decided.block)}\n" for decided in blocks))
    return len(blocks)


if __name__ == "__main__":
    for rule in map(int, sys.argv[1:] or "12"):
        sys.stdout.write(f"{make(PROVEN_FOLDER if rule == PROVEN_SUM_RULE else FOLDER, rule)} blocks\n")
