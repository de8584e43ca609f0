"""The measurements of `fednode bench round`: one federation of daemons on loopback, from its start to its idleness."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fednode.cli.reading import read_study
from fednode.cli.show import Say
from fednode.demo.federation import (
    BENCH_DATASET,
    LocalFederation,
    Record,
    bench_federation,
    cpu_seconds,
    percentile,
    shipped_study,
    wait_connected,
    wait_until,
)
from fednode.demo.run import sum_seconds
from fednode.errors import Refused, Unavailable

STEP_TIMEOUT_S = 120.0
QUIET_S = 2.0
"""Rest before a measurement of idleness: what the last block left behind is done by then."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    members: int
    rounds: int
    samples: int
    idle_s: int


def measure(sizes: Sizes, folder: Path, say: Say) -> dict[str, Any]:
    """Return every figure; raise `Unavailable` if the federation does not get as far."""
    from fednode.learn.form import to_toml

    federation = bench_federation(folder, sizes.members, say)
    study = dataclasses.replace(read_study(shipped_study(BENCH_DATASET)), local_epochs=1, rounds=sizes.rounds + 1)
    result: dict[str, Any] = {"members": sizes.members, "rounds": sizes.rounds, "cpu_count": os.cpu_count() or 1}
    with federation:
        say("starting the daemons")
        result["ready_s"] = _start(federation)
        at_rest = _memory(federation)
        result |= _submit(federation, sizes.samples, say)
        result["idle_rss_mb"] = max(at_rest, _memory(federation))
        result |= _rounds(federation, to_toml(study), sizes.rounds, say)
        result["round_rss_mb"] = _memory(federation)
        say(f"watching the daemons do nothing for {sizes.idle_s} s")
        result["idle_cpu_percent"] = _idle(federation, sizes.idle_s)
        say("killing a daemon and starting it again")
        result |= _fail_over(federation)
    return result


# --- start, memory, processor ---------------------------------------------------------------------------------

def _start(federation: LocalFederation) -> float:
    """Start all daemons at once; return the seconds until the last of them reaches every other."""
    begin = time.monotonic()
    federation.start(federation.hospitals)
    federation.wait_ready(federation.hospitals)
    for hospital in federation.hospitals:
        wait_connected(federation, hospital)
    return round(time.monotonic() - begin, 3)


def _memory(federation: LocalFederation) -> float:
    """Return the resident memory of the largest daemon in MB."""
    return max(float(hospital.ask_record("memory")["rss_mb"]) for hospital in federation.hospitals)


def _idle(federation: LocalFederation, idle_s: int) -> float:
    """Return the percentage of a processor that the busiest daemon uses while nothing happens."""
    time.sleep(QUIET_S)
    before, begin = [cpu_seconds(hospital) for hospital in federation.hospitals], time.monotonic()
    time.sleep(idle_s)
    federation.check_running()
    passed = time.monotonic() - begin
    used = [cpu_seconds(hospital) - start for hospital, start in zip(federation.hospitals, before, strict=True)]
    return round(100 * max(used) / passed, 2)


# --- transactions ---------------------------------------------------------------------------------------------

def _submit(federation: LocalFederation, samples: int, say: Say) -> dict[str, float]:
    """Time transactions one after another, each from a member drawn at random."""
    choose = random.Random(samples)
    inside, outside = [], []
    for number in range(samples):
        if number % 50 == 0:
            say(f"timing transactions: {number} of {samples}")
        hospital = choose.choice(federation.hospitals)
        begin = time.monotonic()
        inside.append(float(hospital.ask_record("submit_memo", text=f"bench {number}")["ms"]))
        outside.append(1000 * (time.monotonic() - begin))
    return {
        "submit_to_final_ms_p50": round(statistics.median(inside), 1),
        "submit_to_final_ms_p95": round(percentile(inside, 95), 1),
        "submit_at_client_ms_p50": round(statistics.median(outside), 1),
    }


# --- rounds ---------------------------------------------------------------------------------------------------

def _rounds(federation: LocalFederation, study: str, rounds: int, say: Say) -> dict[str, Any]:
    """Let a study run; return the times of its training rounds, the first left out."""
    first = federation.hospitals[0]
    say("proposing a study and approving it")
    made = first.ask_record("study_create", toml=study)["study"]
    for hospital in federation.hospitals:
        with contextlib.suppress(Refused):  # enough have approved already
            hospital.ask("study_vote", study=made, action="approve")
    seen, cpu = -1, 0.0

    def is_finished() -> bool | None:
        nonlocal seen, cpu
        record = first.ask_records("study_list")[0]
        if record["status"] in ("paused", "stopped", "rejected"):
            raise Refused(f"the bench's study is {record['status']}: {record['reason']}")
        if record["rounds_done"] != seen:
            seen = record["rounds_done"]
            say(f"rounds: {max(0, seen - 1)} of {rounds}")
            if seen == 1:
                cpu = -_used(federation)
        return True if record["status"] == "finished" else None

    wait_until(federation, is_finished, "the study", STEP_TIMEOUT_S + 10 * rounds, 0.25)
    cpu += _used(federation)
    reports = [report for report in first.ask_records("round_list") if report["kind"] == "training"][1:]
    failed = [report for report in reports if report["outcome"] != "ok"]
    if failed:
        raise Unavailable(f"{len(failed)} rounds failed, the first because: {failed[0]['reason']}; try again")
    seconds = [float(report["seconds"]) for report in reports]
    return {
        "secure_round_seconds_p50": round(statistics.median(seconds), 3),
        "secure_round_seconds_p95": round(percentile(seconds, 95), 3),
        "secure_sum_seconds_p50": round(statistics.median(map(sum_seconds, reports)), 3),
        "phase_seconds_p50": phase_seconds(reports),
        "blocks_per_round": statistics.median(r["closed_height"] - r["opened_height"] for r in reports),
        "cpu_seconds_per_round": round(cpu / (rounds + 1), 3),  # the closing round is a round too
        "round_seconds": seconds,
    }


def _used(federation: LocalFederation) -> float:
    return sum(cpu_seconds(hospital) for hospital in federation.hospitals)


def phase_seconds(reports: Sequence[Record]) -> dict[str, float]:
    """Return the median seconds of each phase, by the times of blocks; commit lasts until the last one has trained."""
    found: dict[str, list[float]] = {}
    for report in reports:
        for phase in report["phases"]:
            found.setdefault(phase["phase"], []).append(float(phase["seconds"]))
    return {name: round(statistics.median(values), 3) for name, values in found.items()}


# --- failure --------------------------------------------------------------------------------------------------

def _fail_over(federation: LocalFederation) -> dict[str, float]:
    """Kill a daemon and go on submitting, until each member has had its turns as leader; then start it again."""
    *others, victim = federation.hospitals
    federation.kill(victim)
    waits = [
        float(others[turn % len(others)].ask_record("submit_memo", text=f"bench without one {turn}")["ms"])
        for turn in range(2 * len(federation.hospitals))
    ]
    begin = time.monotonic()
    federation.start([victim])
    federation.wait_ready([victim])
    height = others[0].ask_record("chain_status")["height"]

    def is_back() -> bool | None:
        return True if victim.ask_record("chain_status")["height"] >= height else None

    wait_until(federation, is_back, f"{victim.name} catching up", STEP_TIMEOUT_S, 0.02)
    wait_connected(federation, victim)
    return {"failover_ms_max": round(max(waits), 1), "rejoin_s": round(time.monotonic() - begin, 3)}
