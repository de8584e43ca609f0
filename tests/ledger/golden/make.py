"""Makes a golden chain anew: a simulated federation trains a study while members crash, and its chain is kept.

    python -m tests.ledger.golden.make

Only a change of the rules or of an encoding, that is, of the protocol version, is a reason to run this: every state
root of a chain that exists must stay what it was.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fednode.chain.block import receipts_data
from fednode.codec import encode
from fednode.ledger.genesis import genesis_to_toml
from tests.ledger.golden.replay import FOLDER, Entry, describe, write_entries
from tests.sim.whole.world import Plan, World

SEED, FAULTS = 16, 4


def make(folder: Path) -> int:
    """Write genesis, blocks and roots; return the height."""
    world = World(Plan(SEED, faults=FAULTS))
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
    sys.stdout.write(f"{make(FOLDER)} blocks\n")
