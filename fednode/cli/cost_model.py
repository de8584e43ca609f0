"""What a secure round costs, as a function of members and parameters, with constants measured on this machine.

Per phase, processor seconds of one member are a sum of non-negative terms 1, N, N^2, d and N d, and bytes of 1, N - 1,
(N - 1)^2, d and -d / N (a reduce-scatter sends (N - 1) / N of the vector). Their factors come from small sums in this
process (`measure_samples`); what is larger is extrapolated. Added are bytes over the line and blocks at the ledger's
pace.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fednode.errors import StorageError
from fednode.node.files import PUBLIC_FILE, read_bounded, write_atomic

FORMAT = 2
MAX_FILE_BYTES = 1 << 20
SAMPLES = ((4, 1_000), (10, 1_000), (31, 1_000), (4, 1_000_000), (10, 1_000_000))
"""Members and parameters of the sums that are measured; N = 3 f + 1, as the degree of the sharing counts."""

MESSAGE_DELAYS = 3
"""Of a block, as in any PBFT: proposal, first votes, second votes."""

BLOCK_CPU_S = 0.006
"""A member's work for one block (`fednode bench round`: about 5.5 ms)."""

DAEMON_MB = 110
"""A daemon at rest with a study."""

VECTORS_IN_MEMORY = 4
"""Own vector, masked vector, others' chunks, the sum; see the session's bounds."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured sum: processor seconds and bytes of a member, by phase."""

    members: int
    params: int
    cpu_s: Mapping[str, float]
    sent_bytes: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Site:
    """Where the round will run: the line of every hospital, and how many members share one machine's processors."""

    mbit_per_s: float
    latency_ms: float
    members_per_machine: int = 1
    cores: int = 2


@dataclass(frozen=True, slots=True)
class PhaseCost:
    """One phase at one member."""

    name: str
    cpu_s: float
    sent_mb: float
    received_mb: float
    wall_s: float


Terms = Callable[[int, int], NDArray[np.float64]]


def cpu_terms(members: int, params: int) -> NDArray[np.float64]:
    """Return what processor time is made of."""
    d = params / 1e6
    return np.array([1.0, members, members**2, d, members * d])


def byte_terms(members: int, params: int) -> NDArray[np.float64]:
    """Return what bytes are made of: others to send to, and of the vector what does not stay at home."""
    d, others = params / 1e6, members - 1
    return np.array([1.0, others, others**2, d, -d / members])


def fit(terms: Terms, points: Sequence[tuple[int, int]], values: Sequence[float]) -> tuple[float, ...]:
    """Return non-negative factors of the terms, least squares of relative errors (terms that turn negative go)."""
    measured = np.array(values)
    scale = 1 / np.maximum(measured, 1e-9 + 0.02 * measured.max())
    matrix = np.array([terms(*point) for point in points]) * scale[:, None]
    found = np.zeros(matrix.shape[1])
    kept = list(range(matrix.shape[1]))
    while kept:
        factors = np.linalg.lstsq(matrix[:, kept], measured * scale, rcond=None)[0]
        if factors.min() >= 0:
            found[kept] = factors
            break
        kept.pop(int(factors.argmin()))
    return tuple(map(float, found))


@dataclass(frozen=True, slots=True)
class CostModel:
    """Factors of the terms by phase; phases in the order they run."""

    cpu: Mapping[str, tuple[float, ...]]
    sent: Mapping[str, tuple[float, ...]]

    @staticmethod
    def of(samples: Sequence[Sample]) -> CostModel:
        """Fit a model to measured sums."""
        points = [(sample.members, sample.params) for sample in samples]
        names = dict.fromkeys(name for sample in samples for name in sample.cpu_s)
        return CostModel(
            {name: fit(cpu_terms, points, [sample.cpu_s.get(name, 0.0) for sample in samples]) for name in names},
            {name: fit(byte_terms, points, [sample.sent_bytes.get(name, 0.0) for sample in samples]) for name in names},
        )

    def phases(self, members: int, params: int, site: Site) -> list[PhaseCost]:
        """Return what each phase of a round with `params` vector elements costs a member."""
        share = max(1.0, site.members_per_machine / site.cores)
        costs = []
        for name, factors in self.cpu.items():
            cpu_s = float(np.dot(factors, cpu_terms(members, params)))
            sent_mb = float(np.dot(self.sent[name], byte_terms(members, params))) / 1e6
            is_phase = name not in ("quantise", "apply")
            block_s = (MESSAGE_DELAYS + 1) * site.latency_ms / 1000 + BLOCK_CPU_S * share if is_phase else 0.0
            line_s = 8 * sent_mb * site.members_per_machine / site.mbit_per_s
            costs.append(PhaseCost(name, cpu_s, sent_mb, sent_mb, cpu_s * share + line_s + block_s))
        return costs


def memory_mb(params: int) -> float:
    """Return the memory of a daemon in a round."""
    return DAEMON_MB + VECTORS_IN_MEMORY * 4 * params / 1e6


# --- measuring, and keeping what was measured -----------------------------------------------------------------

def measure_samples(say: Callable[[str], None]) -> list[Sample]:
    """Run the small sums that the factors are fitted to: about ten seconds on a quiet machine."""
    from fednode.cli.bench_secure_sum import cpu_by_phase, sent_by_phase
    from fednode.cli.sum_in_process import SumInProcess

    found = []
    for number, (members, params) in enumerate(SAMPLES, 1):
        say(f"measuring sums of {members} members and {params} parameters ({number} of {len(SAMPLES)})")
        run = SumInProcess(members, params, 0.0, number, lambda text: None)
        run.run()
        found.append(Sample(members, params, cpu_by_phase(run), sent_by_phase(run)))
    return found


def save_model(path: Path, model: CostModel) -> None:
    """Keep the factors for later plans."""
    kept = {"format": FORMAT, "made_ms": time.time_ns() // 1_000_000, "cpu_count": os.cpu_count() or 1,
            "cpu": model.cpu, "sent": model.sent}
    write_atomic(path, json.dumps(kept, indent=1).encode(), PUBLIC_FILE)


def load_model(path: Path) -> CostModel | None:
    """Return the kept factors, None if there are none; raise `StorageError` if the file is damaged."""
    if not path.exists():
        return None
    data = read_bounded(path, MAX_FILE_BYTES, "file of measured constants", StorageError)
    try:
        kept = json.loads(data)
        if kept["format"] != FORMAT:
            raise ValueError
        cpu, sent = (
            {str(name): tuple(map(float, row)) for name, row in kept[key].items()} for key in ("cpu", "sent")
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StorageError(f"{path} is damaged or of another version; run fednode plan --calibrate") from None
    if set(cpu) != set(sent) or any(len(row) != len(cpu_terms(1, 1)) for row in (*cpu.values(), *sent.values())):
        raise StorageError(f"{path} is damaged or of another version; run fednode plan --calibrate")
    return CostModel(cpu, sent)
