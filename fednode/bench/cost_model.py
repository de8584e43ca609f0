"""What a secure round costs, as a function of members and parameters, with constants measured on this machine.

Per phase, processor seconds of one member are a sum of non-negative terms 1, N, N^2, d and N d. Bytes are the terms
N - 1 and N (N - 1), for every message goes to all others and some grow with N, and d (N - 1) / N, for a reduce-scatter
keeps one chunk at home. Their factors come from small sums in this process (`measure_samples`); what is larger is
extrapolated, with the longer proofs and sketches of many members (`grow`). Added are what the daemon does around the
protocol (`Machine`: transport, small and large writes, the new model), blocks at the ledger's pace, and the line.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import inf
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fednode.cli.show import Say
from fednode.documents import Unreadable, read_json
from fednode.errors import StorageError
from fednode.home.files import PRIVATE_FOLDER, PUBLIC_FILE, environment, read_bounded, write_atomic
from fednode.sums.bounds import FEW, strength_of

FORMAT = 2
MAX_FILE_BYTES = 1 << 20
SAMPLES = ((4, 1_000), (10, 1_000), (31, 1_000), (10, 1_000_000), (4, 4_000_000))
"""Members and parameters of the sums that are measured; N = 3 f + 1, as the degree of the sharing counts."""

MESSAGE_DELAYS = 3
"""Of a block, as in any PBFT: proposal, first votes, second votes."""

BLOCK_CPU_S = 0.006
"""A member's work for one block (`fednode bench round`: about 5.5 ms)."""

BLOCKS_PER_PHASE = 1.4
"""Some messages come in one block later than the others (`round show` of rounds on a quiet machine)."""

BLOCK_KB = 1.3
"""What each member sends each other for a block: votes, its share of proposals without what they carry."""

BULK_PHASES = ("roster", "digest", "proof")
"""What is sent there goes past the ledger; everything else is sent twice, once more in blocks."""

BLOCK_WRITES = 3
"""Durable writes of a block, one after another: two votes, the block itself."""

DISK_SAMPLE_BYTES = 16_000_000
MERGE_SHARE = 2.0
"""Adding the sum to the old model costs as much as writing the new one."""

RECORD_BYTES, MODEL_BYTES = 4, 8
"""Of a parameter in the record of a round and in a model file."""

DAEMON_MB = 130
"""A daemon at its peak in a round of a small model."""

VECTORS_IN_MEMORY = 4
"""Own vector, masked vector, others' chunks, the sum; see the session's bounds."""

BEFORE_SUM = ("quantise", "record", "keys", "ack", "answer")
"""What is done while some hospital still trains, or before its update is ready."""

OFF_LEDGER = ("quantise", "record", "apply", "model")
"""Parts of a round that wait for no block."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured sum: processor seconds and bytes of a member, by phase."""

    members: int
    params: int
    cpu_s: Mapping[str, float]
    sent_bytes: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Machine:
    """What a daemon of this machine needs around the protocol, alone on its processor and its disk.

    Transport: processor seconds of both ends. A million parameters, processor seconds: to put their vector on record,
    encrypted; to compute and write the new model.
    """

    transport_s_per_gb: float
    small_write_s: float
    disk_s_per_gb: float
    record_s_per_million: float
    model_s_per_million: float


@dataclass(frozen=True, slots=True)
class Site:
    """Where the round will run: the line of every hospital, and how many members share one machine's processors."""

    mbit_per_s: float = inf
    latency_ms: float = 0.0
    members_per_machine: int = 1
    cores: int = 2


@dataclass(frozen=True, slots=True)
class PhaseCost:
    """One phase at one member. `cpu_s` is the protocol's, `around_cpu_s` that of transport, ledger and disk."""

    name: str
    cpu_s: float
    around_cpu_s: float
    sent_mb: float
    received_mb: float
    wall_s: float


Terms = Callable[[int, int], NDArray[np.float64]]


def cpu_terms(members: int, params: int) -> NDArray[np.float64]:
    """Return what processor time is made of."""
    d = params / 1e6
    return np.array([1.0, members, members**2, d, members * d])


def byte_terms(members: int, params: int) -> NDArray[np.float64]:
    """Return what bytes are made of."""
    others = members - 1
    return np.array([others, members * others, params / 1e6 * others / members])


def grow(phase: str, members: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return by how much each term of processor time and of bytes is larger than where there are few members.

    Proofs have more repetitions, which is nearly all there is to answer and a seventh of what is dealt; sketches have
    more rows.
    """
    strength = strength_of(members)
    repetitions, rows = strength.repetitions / FEW.repetitions, strength.rows / FEW.rows
    match phase:
        case "share":
            cpu, sent = repetitions, strength.entry_bits / FEW.entry_bits * 6 / 7 + repetitions / 7
        case "proof":
            cpu = sent = repetitions
        case _:
            return np.ones(5), np.ones(3)
    return np.array([cpu, cpu, cpu, rows, rows]), np.array([sent, sent, 1.0])


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
    """Factors of the terms by phase, phases in the order they run; and the machine."""

    cpu: Mapping[str, tuple[float, ...]]
    sent: Mapping[str, tuple[float, ...]]
    machine: Machine

    @staticmethod
    def of(samples: Sequence[Sample], machine: Machine) -> CostModel:
        """Fit a model to measured sums."""
        points = [(sample.members, sample.params) for sample in samples]
        names = dict.fromkeys(name for sample in samples for name in sample.cpu_s)
        return CostModel(
            {name: fit(cpu_terms, points, [sample.cpu_s.get(name, 0.0) for sample in samples]) for name in names},
            {name: fit(byte_terms, points, [sample.sent_bytes.get(name, 0.0) for sample in samples]) for name in names},
            machine,
        )

    def phases(self, members: int, params: int, site: Site) -> list[PhaseCost]:
        """Return what each phase of a round with `params` vector elements costs a member."""
        costs = [self._phase(name, members, params, site) for name in self.cpu]
        record = self._stored("record", self.machine.record_s_per_million * params / 1e6, RECORD_BYTES * params, site)
        model = self._stored("model", self.machine.model_s_per_million * params / 1e6, MODEL_BYTES * params, site)
        return [*costs[:1], record, *costs[1:], model]

    def _stored(self, name: str, cpu_s: float, size_bytes: int, site: Site) -> PhaseCost:
        """Return what it takes to compute and write a file; members of one machine write to one disk."""
        disk_s = self.machine.disk_s_per_gb * size_bytes / 1e9 * site.members_per_machine
        share = max(1.0, site.members_per_machine / site.cores)
        return PhaseCost(name, 0.0, cpu_s, 0.0, 0.0, max(cpu_s * share, disk_s))

    def _phase(self, name: str, members: int, params: int, site: Site) -> PhaseCost:
        share = max(1.0, site.members_per_machine / site.cores)
        cpu_growth, sent_growth = grow(name, members)
        cpu_s = float(np.dot(self.cpu[name], cpu_growth * cpu_terms(members, params)))
        sent_mb = float(np.dot(self.sent[name], sent_growth * byte_terms(members, params))) / 1e6
        transport_s = self.machine.transport_s_per_gb * sent_mb / 1000
        line_s = 8 * sent_mb * site.members_per_machine / site.mbit_per_s
        wall_s, block_cpu_s = cpu_s * share + max(line_s, transport_s * share), 0.0
        if name not in OFF_LEDGER:
            block_cpu_s = BLOCKS_PER_PHASE * BLOCK_CPU_S
            block_s = (BLOCK_CPU_S + BLOCK_WRITES * self.machine.small_write_s) * share
            wall_s += BLOCKS_PER_PHASE * (block_s + (MESSAGE_DELAYS + 1) * site.latency_ms / 1000)
        return PhaseCost(name, cpu_s, transport_s + block_cpu_s, sent_mb, sent_mb, wall_s)


def ledger_mb(members: int, phases: Sequence[PhaseCost]) -> float:
    """Return what a daemon sends besides: votes, and messages once more inside blocks."""
    voted = [phase for phase in phases if phase.name not in OFF_LEDGER]
    again_mb = sum(phase.sent_mb for phase in voted if phase.name not in BULK_PHASES)
    return again_mb + len(voted) * BLOCKS_PER_PHASE * (members - 1) * BLOCK_KB / 1000


def memory_mb(params: int) -> float:
    """Return the memory of a daemon in a round, at its peak; its worker is a process of its own."""
    return DAEMON_MB + VECTORS_IN_MEMORY * 4 * params / 1e6


# --- measuring, and keeping what was measured -----------------------------------------------------------------

def measure_samples(say: Say) -> list[Sample]:
    """Run the small sums that the factors are fitted to: about ten seconds on a quiet machine."""
    from fednode.bench.secure_sum import cpu_by_phase, sent_by_phase
    from fednode.bench.sum_in_process import SumInProcess

    found = []
    for number, (members, params) in enumerate(SAMPLES, 1):
        say(f"measuring sums of {members} members and {params} parameters ({number} of {len(SAMPLES)})")
        run = SumInProcess(members, params, 0.0, number, lambda text: None)
        run.run()
        found.append(Sample(members, params, cpu_by_phase(run), sent_by_phase(run)))
    return found


def measure_machine(say: Say) -> Machine:
    """Measure one transfer between two processes, and what a daemon writes: with its own functions, small sizes."""
    say("measuring a transfer and the disk")
    with tempfile.TemporaryDirectory(prefix="fednode-plan-") as folder:
        path = Path(folder) / "file"
        small = _quickest(lambda: write_atomic(path, bytes(200)), 9)
        large = _quickest(lambda: write_atomic(path, bytes(DISK_SAMPLE_BYTES)), 3)
        record_s, model_s = _measure_storage(path)
    disk_s_per_gb = max(0.0, large.wall_s - small.wall_s) * 1e9 / DISK_SAMPLE_BYTES
    return Machine(_measure_transport(), small.wall_s, disk_s_per_gb, record_s, model_s)


def _measure_transport() -> float:
    from fednode.bench.transport import MIB, measure_kind

    return min(cpu_s * 1e9 / (32 * MIB) for _, cpu_s in measure_kind("ours", 32 * MIB, 3))


def _measure_storage(path: Path) -> tuple[float, float]:
    """Return the processor seconds to record a vector and to make a model, of a million parameters each."""
    from fednode.bench.sum_processes import study_of
    from fednode.crypto import Secret, encrypt_at_rest
    from fednode.learn.layout import Layout, Scaling
    from fednode.learn.model_file import ModelFile, write_model
    from fednode.learn.units import UNIT

    spec = study_of(1_000_000, 1)
    size, count = Layout.of(spec).size, spec.data.features
    model = ModelFile(bytes(32), 1, spec, Scaling((0,) * count, (UNIT,) * count), np.arange(size, dtype=np.int64))
    key, vector = Secret(bytes(32)), bytes(RECORD_BYTES * size)
    record = _quickest(lambda: write_atomic(path, encrypt_at_rest(key, vector)), 3)
    made = _quickest(lambda: write_model(model), 3)
    data = write_model(model)
    stored = _quickest(lambda: write_atomic(path, data), 3)
    return record.cpu_s * 1e6 / size, (MERGE_SHARE * made.cpu_s + stored.cpu_s) * 1e6 / size


@dataclass(frozen=True, slots=True)
class _Run:
    wall_s: float
    cpu_s: float


def _quickest(work: Callable[[], object], times: int) -> _Run:
    """Return the least seconds of several runs: the others were held up by something else."""
    walls, cpus = [], []
    for _ in range(times):
        begin, cpu_s = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - begin)
        cpus.append(time.process_time() - cpu_s)
    return _Run(min(walls), min(cpus))


def save_model(path: Path, model: CostModel) -> None:
    """Keep the factors for later plans."""
    kept = {"format": FORMAT, "made_ms": time.time_ns() // 1_000_000, "cpu_count": os.cpu_count() or 1,
            "cpu": model.cpu, "sent": model.sent, "machine": asdict(model.machine)}
    with environment("create the folder", path.parent):
        path.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    write_atomic(path, json.dumps(kept, indent=1).encode(), PUBLIC_FILE)


def load_model(path: Path) -> CostModel | None:
    """Return the kept factors, None if there are none or an older version kept them; raise `StorageError` if the file
    is damaged."""
    if not path.exists():
        return None
    data = read_bounded(path, MAX_FILE_BYTES, "file of measured constants", StorageError)
    damaged = StorageError(f"{path} is damaged; run fednode plan --calibrate")
    try:
        kept = read_json(data)
        if int(kept["format"]) < FORMAT:
            return None
        if kept["format"] != FORMAT:
            raise ValueError
        cpu, sent = (
            {str(name): tuple(map(float, row)) for name, row in kept[key].items()} for key in ("cpu", "sent")
        )
        machine = Machine(**{field.name: float(kept["machine"][field.name]) for field in fields(Machine)})
    except (Unreadable, ValueError, KeyError, TypeError, AttributeError):
        raise damaged from None
    is_whole = set(cpu) == set(sent) and all(len(row) == len(cpu_terms(4, 1)) for row in cpu.values())
    if not is_whole or any(len(row) != len(byte_terms(4, 1)) for row in sent.values()):
        raise damaged
    return CostModel(cpu, sent, machine)
