"""Replays the golden chains from their genesis on and prints height, block hash and state root of every block.

    python -m tests.ledger.golden.replay [folder]
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from fednode.audit.verify import ChainEntry as Entry
from fednode.audit.verify import Level, verify_chain
from fednode.chain.block import Block, decode_block
from fednode.ids import Hash
from fednode.ledger.genesis import parse_genesis
from fednode.ledger.rules import apply_block
from fednode.ledger.sums.course import BlockTime
from fednode.ledger.transactions import decode_transaction

FOLDER = Path(__file__).resolve().parent
"""The chain of a study."""


def describe(block: Block) -> str:
    """Return one line about a block."""
    return f"{block.height} {block.hash.hex()} {block.header.state_root.hex()}"


def write_entries(path: Path, entries: Iterable[Entry]) -> None:
    """Write blocks, certificates and receipts, each after its length."""
    with path.open("wb") as file:
        for entry in entries:
            receipts = entry.receipts or ()
            for part in (entry.block, entry.certificate, len(receipts).to_bytes(4, "big"), *receipts):
                file.write(len(part).to_bytes(4, "big") + part)


def read_entries(path: Path) -> Iterator[Entry]:
    """Read what `write_entries` wrote."""
    parts = _parts(path.read_bytes())
    for block in parts:
        certificate, count = next(parts), int.from_bytes(next(parts), "big")
        yield Entry(block, certificate, tuple(next(parts) for _ in range(count)))


def _parts(data: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        end = start + 4 + int.from_bytes(data[start : start + 4], "big")
        yield data[start + 4 : end]
        start = end


def replay(folder: Path) -> Iterator[str]:
    """Check every level, then run every block by the rules and name the state it leads to."""
    genesis = parse_genesis((folder / "genesis.toml").read_text())
    entries = list(read_entries(folder / "chain.bin"))
    report = verify_chain(entries, genesis, Level.EXECUTION)
    if not report.is_whole:
        raise SystemExit(f"the golden chain does not hold: {report.problem}")
    state = genesis.first_state()
    for entry in entries:
        block = decode_block(entry.block)
        transactions = tuple(decode_transaction(data) for data in block.transactions)
        at = BlockTime(block.height, block.header.time_ms, Hash(block.header.parent_hash))
        state = apply_block(state, at, transactions, block.evidence).state
        yield f"{block.height} {block.hash.hex()} {state.root.hex()}"


if __name__ == "__main__":
    for line in replay(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER):
        sys.stdout.write(line + "\n")
