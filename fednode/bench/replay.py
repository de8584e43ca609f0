"""The measurement of `fednode bench replay`: how fast one process checks a chain in its store."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fednode.audit.verify import Level, stored_entries, verify_chain
from fednode.bench.chain import ChainMaker, transaction_bytes
from fednode.chain.leveldb import open_store
from fednode.cli.show import Say
from fednode.crypto import Ed25519Signer, Secret, sha256
from fednode.errors import VerificationFailed
from fednode.ids import MemberId
from fednode.ledger.genesis import make_genesis
from fednode.ledger.members.identity import make_identity_card

if TYPE_CHECKING:
    from fednode.crypto import Signer
    from fednode.ledger.genesis import Genesis

SAY_EVERY = 2_000


def measure(members: int, blocks: int, keys: int, level: int, folder: Path, say: Say) -> dict[str, Any]:
    """Fill a store with blocks of one transaction each, open it as any command would, and check it to `level`."""
    genesis, signers = _found(members)
    say("making the chain")
    store = open_store(folder / "chain", genesis)
    try:
        maker = ChainMaker(genesis, signers, keys)
        for number in range(1, blocks + 1):
            store.append(maker.decide([maker.memo(f"replay {number}")]))
            if number % SAY_EVERY == 0:
                say(f"making the chain: {number} of {blocks} blocks")
    finally:
        store.close()
    say("checking it")
    begin = time.perf_counter()
    store = open_store(folder / "chain", genesis)
    try:
        gc.freeze()  # as 'chain verify' does
        opened, cpu = time.perf_counter(), time.process_time()
        report = verify_chain(stored_entries(store), genesis, Level(level))
        passed, used = time.perf_counter() - opened, time.process_time() - cpu
    finally:
        store.close()
    if not report.is_whole or report.height != blocks:
        raise VerificationFailed(f"the benchmark's own chain does not hold: {report.problem}; report this")
    return {
        "members": members, "blocks": blocks, "keys": keys, "level": level, "tx_bytes": transaction_bytes(),
        "blocks_per_s": round(blocks / passed, 1), "cpu_ms_per_block": round(1000 * used / blocks, 3),
        "open_s": round(opened - begin, 3),
    }


def _found(members: int) -> tuple[Genesis, dict[MemberId, Signer]]:
    """Return a genesis of so many members and their keys."""
    cards, signers = [], []
    for number in range(members):
        sign, network = (Ed25519Signer(Secret(sha256(b"bench", what, bytes([number])))) for what in (b"sign", b"net"))
        addresses = (f"/ip4/127.0.0.1/tcp/{10_000 + number}",)
        cards.append(make_identity_card(f"Hospital {number}", addresses, sign, network))
        signers.append(sign)
    genesis = make_genesis("bench", cards, [], time.time_ns() // 1_000_000)
    by_key = {signer.public_key: signer for signer in signers}
    return genesis, {i: by_key[card.sign_key] for i, card in genesis.numbered}
