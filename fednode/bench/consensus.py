"""The measurements of `fednode bench consensus`: whole daemons on loopback with signatures and synced stores."""

from __future__ import annotations

import contextlib
import os
import random
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fednode.bench.chain import ChainMaker, memo_text, transaction_bytes
from fednode.bench.relay import Relay
from fednode.chain.consensus.recovery import VoteSigner, initial_record
from fednode.chain.leveldb import open_store
from fednode.chain.vote import NIL, NO_VIEW, PRECOMMIT
from fednode.cli.reading import read_genesis
from fednode.cli.show import Say
from fednode.crypto import Secret
from fednode.demo.federation import (
    Hospital,
    LocalFederation,
    cpu_seconds,
    found_federation,
    free_ports,
    percentile,
    wait_connected,
    wait_until,
)
from fednode.errors import FednodeError
from fednode.home.keystore import Keys, unlock_keystore
from fednode.home.sign_state import SignStateFile
from fednode.ids import MemberId, View

STEP_TIMEOUT_S = 120.0
CALLERS = 2
"""Callers per daemon, so that one's transactions wait in the pool while the other's are being decided."""
MAX_BATCH = 28
"""Transactions of one request: those of both callers stay below the 60 that a member may have on their way."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. `delay_ms`: one way between any two daemons; `in_flight`: transactions on their way
    during the load, all members together; `kills`: leaders killed, one after the other.
    """

    members: int
    seconds: int
    samples: int
    in_flight: int
    delay_ms: int
    keys: int
    kills: int


def measure(sizes: Sizes, folder: Path, say: Say) -> dict[str, Any]:
    """Return every figure; raise `Unavailable` if the federation does not get as far."""
    say("making keys")
    table = folder / "no-data.csv"
    table.write_text("x\n")
    inner = free_ports(sizes.members)
    outer = free_ports(sizes.members) if sizes.delay_ms else inner
    federation = found_federation(folder, "bench", [table] * sizes.members, [], list(zip(inner, outer, strict=True)))
    if sizes.keys:
        say(f"filling the state with {sizes.keys} records")
        _fill(federation, sizes.keys)
    cables = Relay(dict(zip(outer, inner, strict=True)), sizes.delay_ms) if sizes.delay_ms else contextlib.nullcontext()
    result: dict[str, Any] = {
        "members": sizes.members, "tx_bytes": transaction_bytes(), "keys": sizes.keys, "delay_ms": sizes.delay_ms,
        "cpu_count": os.cpu_count() or 1, "load_before": round(os.getloadavg()[0], 2),
    }
    with cables, federation:
        say("starting the daemons")
        federation.start(federation.hospitals)
        federation.wait_ready(federation.hospitals)
        for hospital in federation.hospitals:
            wait_connected(federation, hospital)
        result |= _one_by_one(federation, sizes.samples, say)
        if sizes.seconds:
            result |= _under_load(federation, sizes, say)
        if sizes.kills:
            result |= _fail_over(federation, sizes.kills, say)
    return result


# --- a state of some size -------------------------------------------------------------------------------------

def _fill(federation: LocalFederation, keys: int) -> None:
    """Give every store a first block that carries so many records, and every sign-state the vote for it."""
    genesis = read_genesis(federation.genesis_path)
    unlocked = {MemberId(hospital.number): _unlock(hospital) for hospital in federation.hospitals}
    maker = ChainMaker(genesis, {member: found.sign for member, found in unlocked.items()}, keys)
    decided = maker.decide([maker.memo("first")])
    block = decided.block
    for hospital in federation.hospitals:
        key = unlocked[MemberId(hospital.number)].sign
        first = initial_record(genesis.chain_id, key.public_key)
        signer = VoteSigner(genesis.chain_id, MemberId(hospital.number), key, first)
        signer.sign(PRECOMMIT, block.height, View(0), NO_VIEW, block.hash, lambda: (NO_VIEW, NIL, None))
        assert signer.record is not None, "it has just signed"
        SignStateFile(hospital.home.sign_state).create(signer.record)
        store = open_store(hospital.home.chain, genesis)
        try:
            store.append(decided)
        finally:
            store.close()


def _unlock(hospital: Hospital) -> Keys:
    passphrase = (hospital.home.keystore.parent / "passphrase").read_bytes().strip()
    return unlock_keystore(hospital.home.keystore, Secret(passphrase))


# --- one transaction at a time --------------------------------------------------------------------------------

def _one_by_one(federation: LocalFederation, samples: int, say: Say) -> dict[str, float]:
    """Time transactions one after another, each from a member drawn at random, as its caller sees them."""
    choose = random.Random(samples)
    outside, inside, cpu = [], [], -_used(federation)
    for number in range(samples):
        if number % 50 == 0:
            say(f"one at a time: {number} of {samples}")
        hospital, text = choose.choice(federation.hospitals), memo_text(f"one {number}")
        begin = time.perf_counter()
        inside.append(float(hospital.ask_record("submit_memo", text=text)["ms"]))
        outside.append(1000 * (time.perf_counter() - begin))
    cpu += _used(federation)
    return {
        "latency_ms_p50": round(statistics.median(outside), 1),
        "latency_ms_p99": round(percentile(outside, 99), 1),
        "latency_inside_ms_p50": round(statistics.median(inside), 1),
        "cpu_ms_per_block": round(1000 * cpu / samples / len(federation.hospitals), 2),
    }


def _used(federation: LocalFederation) -> float:
    return sum(map(cpu_seconds, federation.hospitals))


# --- load -----------------------------------------------------------------------------------------------------

class _Load:
    """Callers that keep transactions on their way until `until`, and what became of them."""

    def __init__(self, federation: LocalFederation, in_flight: int, until: float) -> None:
        self.done: list[tuple[float, int, float]] = []
        """When a request was answered, how many transactions it held, and how many seconds it took."""
        self.error: FednodeError | None = None
        self._until = until
        callers = CALLERS * len(federation.hospitals)
        self._batch = max(1, min(MAX_BATCH, in_flight // callers))
        self._threads = [
            threading.Thread(target=self._call, args=(hospital, caller), daemon=True)
            for hospital in federation.hospitals for caller in range(CALLERS)
        ]

    def run(self) -> int:
        """Return when every caller is done; return the transactions on their way at any moment."""
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()
        if self.error is not None:
            raise self.error
        return self._batch * len(self._threads)

    def _call(self, hospital: Hospital, caller: int) -> None:
        number = 0
        while self.error is None and (begin := time.monotonic()) < self._until:
            names = [f"load {hospital.number} {caller} {number + index}" for index in range(self._batch)]
            number += self._batch
            try:
                hospital.ask("submit_memos", texts=list(map(memo_text, names)))
            except FednodeError as error:
                self.error = error
                return
            now = time.monotonic()
            self.done.append((now, self._batch, now - begin))


def _under_load(federation: LocalFederation, sizes: Sizes, say: Say) -> dict[str, Any]:
    """Keep transactions coming and count those that are final by the end; the last answers may come later."""
    say(f"under load for {sizes.seconds} s")
    first = federation.hospitals[0]
    height, cpu, begin = int(first.ask_record("chain_status")["height"]), _used(federation), time.monotonic()
    load = _Load(federation, sizes.in_flight, begin + sizes.seconds)
    in_flight = load.run()
    passed = time.monotonic() - begin
    cpu = _used(federation) - cpu
    height = int(first.ask_record("chain_status")["height"]) - height
    count = sum(number for _, number, _ in load.done)
    timely = sum(number for at, number, _ in load.done if at <= begin + sizes.seconds)
    return {
        "in_flight": in_flight,
        "tx_per_s": round(timely / sizes.seconds, 1),
        "blocks_per_s": round(height / passed, 1),
        "cpu_ms_per_tx": round(1000 * cpu / count / sizes.members, 3),
        "load_latency_ms_p50": round(1000 * statistics.median(seconds for _, _, seconds in load.done), 1),
        "load_latency_ms_p99": round(1000 * percentile([seconds for _, _, seconds in load.done], 99), 1),
        "rss_mb": max(float(hospital.ask_record("memory")["rss_mb"]) for hospital in federation.hospitals),
    }


# --- dead leaders ---------------------------------------------------------------------------------------------

def _fail_over(federation: LocalFederation, kills: int, say: Say) -> dict[str, Any]:
    """Kill whoever leads the next block, hand a transaction to another member at once, and time it."""
    waits = []
    for number in range(kills):
        say(f"killing the leader: {number + 1} of {kills}")
        leader = _await_agreement(federation)
        victim = federation.hospitals[leader - 1]
        others = [hospital for hospital in federation.hospitals if hospital is not victim]
        federation.kill(victim)
        begin = time.perf_counter()
        others[number % len(others)].ask("submit_memo", text=memo_text(f"failover {number}"))
        waits.append(time.perf_counter() - begin)
        federation.start([victim])
        federation.wait_ready([victim])
        for hospital in federation.hospitals:
            wait_connected(federation, hospital)
    return {"failover_s": round(statistics.median(waits), 3), "failover_s_all": [round(wait, 3) for wait in waits]}


def _await_agreement(federation: LocalFederation) -> int:
    """Return who leads the next block once all members are at the same height and name the same."""

    def leader() -> int | None:
        found = {(s["height"], s["leader"]) for s in _statuses(federation)}
        return int(found.pop()[1]) if len(found) == 1 else None

    return wait_until(federation, leader, "agreement on the next leader", STEP_TIMEOUT_S, 0.05)


def _statuses(federation: LocalFederation) -> Iterator[Any]:
    return (hospital.ask_record("chain_status") for hospital in federation.hospitals)


def measure_all(sizes: Sequence[Sizes], folder: Path, say: Say) -> list[dict[str, Any]]:
    """Measure federations of several sizes, one after the other."""
    results = []
    for each in sizes:
        home = folder / f"members-{each.members}"
        home.mkdir()
        results.append(measure(each, home, partial(_say_for, each.members, say)))
    return results


def _say_for(members: int, say: Say, text: str) -> None:
    say(f"{members} members: {text}")
