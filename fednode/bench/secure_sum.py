"""The measurements of `fednode bench secure-sum`."""

from __future__ import annotations

import resource
import statistics
import time
from typing import Any

from fednode.bench.sum_in_process import SumInProcess, sum_plainly
from fednode.cli.show import Say

LINES = (
    ("cpu_s_per_member", "s", "processor time of a member, without transport"),
    ("plain_cpu_s_per_member", "s", "the same for an unprotected sum"),
    ("wall_s", "s", "all members one after another"),
    ("plain_wall_s", "s", "the same for an unprotected sum"),
    ("bytes_sent_per_member", "", "bytes a member sends"),
    ("plain_bytes_sent_per_member", "", "the same for an unprotected sum"),
    ("bytes_ratio", "", "their ratio"),
    ("constant_kb", "KB", "of the bytes, what does not depend on the model"),
    ("feldman_s", "s", "dealing keys and checking shares"),
    ("proofs_s", "s", "coin, sketches and proofs"),
    ("peak_rss_mb", "MB", "memory of this process with all members"),
    ("max_abs_error", "", "largest error of the mean, relative to the clip"),
)
PROOF_PHASES = ("coin", "share", "proof")
KEY_PHASES = ("keys", "ack", "answer")


def measure(members: int, params: int, loss: float, seed: int, say: Say) -> dict[str, Any]:
    """Run one sum and the same in the plain; return every figure, medians over the members."""
    begin = time.monotonic()
    run = SumInProcess(members, params, loss, seed, say)
    error = run.run()
    wall_s = time.monotonic() - begin
    say("the same in the plain")
    begin = time.monotonic()
    plain_cpu_s, plain_bytes = sum_plainly(members, params, seed)
    plain_wall_s = time.monotonic() - begin
    cpu = cpu_by_phase(run)
    sent = int(statistics.median(member.chunk_bytes + member.other_bytes for member in run.members))
    return {
        "members": members,
        "params": params,
        "loss": loss,
        "cpu_s_per_member": round(sum(cpu.values()), 4),
        "plain_cpu_s_per_member": round(plain_cpu_s, 4),
        "wall_s": round(wall_s, 3),
        "plain_wall_s": round(plain_wall_s, 3),
        "bytes_sent_per_member": sent,
        "plain_bytes_sent_per_member": plain_bytes,
        "bytes_ratio": round(sent / plain_bytes, 4),
        "constant_kb": round(statistics.median(member.other_bytes for member in run.members) / 1000, 1),
        "feldman_s": round(sum(cpu.get(name, 0.0) for name in KEY_PHASES), 4),
        "proofs_s": round(sum(cpu.get(name, 0.0) for name in PROOF_PHASES), 4),
        "rules_cpu_s": round(sum(run.rules_cpu_s.values()), 4),
        "phase_cpu_s": {name: round(seconds, 4) for name, seconds in cpu.items()},
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "max_abs_error": error,
    }


def cpu_by_phase(run: SumInProcess) -> dict[str, float]:
    """Return the processor seconds of the median member in each phase, the ledger rules included."""
    phases = dict.fromkeys(name for member in run.members for name in member.cpu_s)
    return {
        name: statistics.median(member.cpu_s[name] for member in run.members) + run.rules_cpu_s.get(name, 0.0)
        for name in phases
    }


def sent_by_phase(run: SumInProcess) -> dict[str, float]:
    """Return the bytes the median member sends in each phase."""
    phases = dict.fromkeys(name for member in run.members for name in member.sent_bytes)
    return {name: statistics.median(member.sent_bytes[name] for member in run.members) for name in phases}
