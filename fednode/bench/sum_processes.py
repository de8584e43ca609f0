"""The measurements of `fednode bench secure-sum --processes`: the sum among real daemons, and the plain one beside it.

A federation on loopback trains a network whose hidden widths bring it as near to the wanted size as they can. What the
daemons do is read from outside: their journals (when an update was trained, its input ready, the sum known, the round
concluded), the reports on the ledger (how long each phase took) and the system (processor time and memory). Times of
different processes are compared by the one clock of this machine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fednode.bench.round import phase_seconds
from fednode.bench.sum_plain import measure_plain
from fednode.cli.reading import read_study
from fednode.cli.show import Say
from fednode.demo.federation import (
    BENCH_DATASET,
    Hospital,
    LocalFederation,
    Record,
    bench_federation,
    cpu_seconds,
    run_module,
    shipped_study,
    wait_connected,
    wait_until,
)
from fednode.documents import read_json
from fednode.errors import Refused, Unavailable, UsageError

if TYPE_CHECKING:
    from fednode.learn.study import StudySpec

MAX_LAYERS, MAX_WIDTH = 8, 4096
PHASE_TIMEOUT_S = 600
"""No phase is to end by votes, however busy the machine is."""

ROUND_TIMEOUT_S, PARAMS_PER_S = 120.0, 100_000
POLL_S = 0.05

LINES = (
    ("params", "", "parameters of the model"),
    ("wall_s", "s", "the sum: from the last update that is trained to the last daemon that knows the sum"),
    ("input_s", "s", "of which until the last update is rounded and encrypted on the disk"),
    ("concluded_s", "s", "and until the last daemon has the new model on the disk"),
    ("plain_wall_s", "s", "an unprotected sum by as many processes over the same transport"),
    ("keys_s", "s", "keys and acknowledgements, while training runs"),
    ("cpu_s_per_member", "s", "processor time of the protocol, without transport (one process for all)"),
    ("plain_cpu_s_per_member", "s", "the same for an unprotected sum"),
    ("daemon_cpu_s_per_round", "s", "processor time of a daemon for a whole round, transport and ledger included"),
    ("plain_process_cpu_s", "s", "processor time of a process for an unprotected sum, transport included"),
    ("bytes_sent_per_member", "", "bytes a daemon sends in a round, as they leave its sockets"),
    ("plain_bytes_sent_per_member", "", "bytes a process sends for an unprotected sum"),
    ("bytes_ratio", "", "their ratio"),
    ("feldman_s", "s", "dealing keys and checking shares"),
    ("proofs_s", "s", "coin, sketches and proofs"),
    ("peak_rss_mb", "MB", "memory of the largest daemon at its peak"),
    ("loop_held_ms_max", "ms", "the longest step of a daemon during which its network waited"),
    ("max_abs_error", "", "largest error of the mean, relative to the clip (one process for all)"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """A line of a journal that tells a step: it ended at `ended_ms` (Unix time) and held the loop for `held_ms`."""

    kind: str
    ended_ms: int
    held_ms: float

    @property
    def begun_ms(self) -> float:
        """When it began."""
        return self.ended_ms - self.held_ms


@dataclass(frozen=True, slots=True)
class Used:
    """What all daemons have used since their start."""

    cpu_s: float
    sent_bytes: int


def measure(members: int, params: int, rounds: int, folder: Path, say: Say) -> dict[str, Any]:
    """Return every figure; raise `Unavailable` if the federation does not get as far."""
    from fednode.learn.layout import Layout
    from fednode.ledger.sums.records import RoundKind
    from fednode.rounds.jobs import vector_length

    study = study_of(params, rounds)
    reached, length = Layout.of(study).size, vector_length(study, RoundKind.TRAINING)
    say(f"plain sums of {length} numbers among {members} processes")
    plain = measure_plain(members, length, rounds)
    say("the protocol's processor time, all members in one process")
    inside = _measure_in_process(members, reached)
    result = {"members": members, "params": reached, "rounds": rounds, "cpu_count": os.cpu_count() or 1}
    found = _measure_daemons(members, study, folder, say)
    say("plain sums once more, for what else the machine does changes")
    plain_walls = [*plain.walls_s, *measure_plain(members, length, rounds).walls_s]
    plain_wall_s = statistics.median(plain_walls)
    return result | found | {
        "plain_wall_s": round(plain_wall_s, 3),
        "plain_walls_s": [round(wall_s, 3) for wall_s in plain_walls],
        "plain_process_cpu_s": round(plain.cpu_s, 3),
        "plain_bytes_sent_per_member": plain.sent_bytes,
        "bytes_ratio": round(found["bytes_sent_per_member"] / plain.sent_bytes, 4),
        "wall_ratio": round(found["wall_s"] / plain_wall_s, 3),
    } | {
        key: inside[key]
        for key in ("cpu_s_per_member", "plain_cpu_s_per_member", "feldman_s", "proofs_s", "max_abs_error")
    }


# --- what is summed -------------------------------------------------------------------------------------------

def study_of(params: int, rounds: int) -> StudySpec:
    """Return a study whose model has as nearly `params` parameters as its widths allow, and runs `rounds` + 1 times."""
    from fednode.learn.layout import Layout
    from fednode.learn.models.mlp import Mlp
    from fednode.learn.study import with_model
    from fednode.learn.units import MAX_PARAMETERS

    if params > MAX_PARAMETERS:
        raise UsageError(f"a model has at most {MAX_PARAMETERS} parameters; choose fewer --params")
    shipped = read_study(shipped_study(BENCH_DATASET))
    patient = dataclasses.replace(shipped.timeouts, train_timeout_s=PHASE_TIMEOUT_S, phase_timeout_s=PHASE_TIMEOUT_S)
    base = dataclasses.replace(shipped, local_epochs=1, rounds=rounds + 1, timeouts=patient)

    def size(widths: Sequence[int]) -> int:
        try:
            return Layout.of(with_model(base, Mlp(tuple(widths)))).size
        except ValueError:  # the model would be too large
            return MAX_PARAMETERS + 1

    return with_model(base, Mlp(tuple(nearest_widths(params, size))))


def nearest_widths(params: int, size: Callable[[Sequence[int]], int]) -> list[int]:
    """Return hidden widths, few and equal but for the last, so that `size(widths)` is as near to `params` as can be."""
    best = [1]
    for layers in range(1, MAX_LAYERS + 1):
        width = _largest(params, partial(_of_layers, size, layers))
        front = [width] * (layers - 1)
        last = _largest(params, partial(_with_last, size, front))
        for candidate in ([*front, last], [*front, min(MAX_WIDTH, last + 1)]):
            if abs(size(candidate) - params) < abs(size(best) - params):
                best = candidate
        if width < MAX_WIDTH and layers > 1:
            break
    return best


def _of_layers(size: Callable[[Sequence[int]], int], layers: int, width: int) -> int:
    return size([width] * layers)


def _with_last(size: Callable[[Sequence[int]], int], front: Sequence[int], width: int) -> int:
    return size([*front, width])


def _largest(params: int, size: Callable[[int], int]) -> int:
    """Return the largest width of at most `params` parameters, at least 1."""
    low, high = 1, MAX_WIDTH
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if size(middle) <= params else (low, middle - 1)
    return low


def _measure_in_process(members: int, params: int) -> Record:
    """Run the same sum with all members in one process, whose memory is gone afterwards."""
    command = ["bench", "secure-sum", "--members", str(members), "--params", str(params), "--format", "json"]
    return run_module("fednode.cli.main", *command, purpose="sums for all members")


# --- the daemons ----------------------------------------------------------------------------------------------

def _measure_daemons(members: int, study: StudySpec, folder: Path, say: Say) -> dict[str, Any]:
    federation = bench_federation(folder, members, say)
    with federation:
        say("starting the daemons")
        federation.start(federation.hospitals)
        federation.wait_ready(federation.hospitals)
        for hospital in federation.hospitals:
            wait_connected(federation, hospital)
        used = _run_study(federation, study, say)
        reports = federation.hospitals[0].ask_records("round_list")
        peaks = [peak_rss_mb(hospital) for hospital in federation.hospitals]
    steps = [read_steps(hospital.home.journal) for hospital in federation.hospitals]
    measured = study.rounds - 1
    return {
        **round_times(reports, steps),
        "daemon_cpu_s_per_round": round(used.cpu_s / members / measured, 3),
        "bytes_sent_per_member": round(used.sent_bytes / members / measured),
        "peak_rss_mb": round(max(peaks), 1),
        "loop_held_ms_max": round(max(step.held_ms for lines in steps for step in lines), 1),
        "loop_held_ms": _held_by_kind(steps),
    }


def _run_study(federation: LocalFederation, study: StudySpec, say: Say) -> Used:
    """Let the study run; return what the daemons used in all training rounds but the first, which warms up."""
    from fednode.learn.form import to_toml
    from fednode.learn.layout import Layout

    first, seen = federation.hospitals[0], -1
    used: list[Used] = []
    made = first.ask_record("study_create", toml=to_toml(study))["study"]
    for hospital in federation.hospitals:
        with contextlib.suppress(Refused):  # enough have approved already
            hospital.ask("study_vote", study=made, action="approve")

    def is_finished() -> bool | None:
        nonlocal seen
        record = first.ask_records("study_list")[0]
        if record["status"] in ("paused", "stopped", "rejected"):
            raise Refused(f"the bench's study is {record['status']}: {record['reason']}")
        if record["rounds_done"] != seen:
            seen = record["rounds_done"]
            say(f"rounds: {max(0, seen - 1)} of {study.rounds - 1}")
            if seen in (1, study.rounds):
                used.append(_used(federation))
        return True if record["status"] == "finished" else None

    timeout_s = (study.rounds + 2) * (ROUND_TIMEOUT_S + Layout.of(study).size / PARAMS_PER_S)
    wait_until(federation, is_finished, "the study", timeout_s, POLL_S)
    if len(used) < 2:
        raise Unavailable("rounds went by faster than they could be watched; measure more --params or --rounds")
    return Used(used[1].cpu_s - used[0].cpu_s, used[1].sent_bytes - used[0].sent_bytes)


def _used(federation: LocalFederation) -> Used:
    statuses = [hospital.ask_record("status") for hospital in federation.hospitals]
    return Used(
        sum(map(cpu_seconds, federation.hospitals)), sum(int(status["network"]["bytes_sent"]) for status in statuses)
    )


def peak_rss_mb(hospital: Hospital) -> float:
    """Return the most memory a running daemon has had; its worker is a process of its own and not counted."""
    assert hospital.process is not None, "only running daemons are measured"
    for line in Path(f"/proc/{hospital.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise Unavailable("this system does not tell the memory of a process; use Linux")


# --- reading journals and reports -----------------------------------------------------------------------------

def read_steps(path: Path) -> list[Step]:
    """Return the steps of a journal in order, the rotated part before it included."""
    found = []
    for part in (path.with_suffix(".1.jsonl"), path):
        for line in part.read_bytes().splitlines() if part.exists() else ():
            record = read_json(line)
            if "held_us" in record:
                found.append(Step(record["kind"], record["t"], record["held_us"] / 1000))
    return found


def round_times(reports: Sequence[Record], steps: Sequence[Sequence[Step]]) -> dict[str, Any]:
    """Return medians over the training rounds but the first; raise `Unavailable` unless every round went well."""
    failed = [report for report in reports if report["outcome"] != "ok" or report["voids"]]
    if failed:
        raise Unavailable(f"round {failed[0]['number']} of the bench did not go well: {failed[0]['reason']}; try again")
    ready, known, concluded = (
        [[step for step in lines if step.kind == f"computed-{job}"] for lines in steps]
        for job in ("MakeInput", "Unmask", "Conclude")
    )
    trained = [_before(lines, "worked", ready[index]) for index, lines in enumerate(steps)]
    if any(len(lines) != len(reports) for found in (trained, ready, known, concluded) for lines in found):
        raise Unavailable("a daemon's journal does not have every round; run the benchmark again")
    walls: list[float] = []
    inputs: list[float] = []
    ends: list[float] = []
    chosen = [index for index, report in enumerate(reports) if report["kind"] == "training"][1:]
    for index in chosen:
        begun_ms = max(lines[index].begun_ms for lines in trained)
        for found, last in ((inputs, ready), (walls, known), (ends, concluded)):
            found.append((max(lines[index].begun_ms for lines in last) - begun_ms) / 1000)
    phases = phase_seconds([reports[index] for index in chosen])
    return {
        "wall_s": round(statistics.median(walls), 3),
        "input_s": round(statistics.median(inputs), 3),
        "concluded_s": round(statistics.median(ends), 3),
        "keys_s": round(sum(phases.get(name, 0.0) for name in ("keys", "ack", "answer")), 3),
        "phase_wall_s": phases,
        "round_wall_s": round(statistics.median(float(reports[index]["seconds"]) for index in chosen), 3),
        "walls_s": [round(wall_s, 3) for wall_s in walls],
    }


def _before(steps: Sequence[Step], kind: str, marks: Sequence[Step]) -> list[Step]:
    """Return the last step of a kind before each mark."""
    return [
        max((step for step in steps if step.kind == kind and step.begun_ms <= mark.begun_ms), key=lambda s: s.begun_ms)
        for mark in marks
    ]



def _held_by_kind(steps: Sequence[Sequence[Step]]) -> dict[str, float]:
    """Return the longest step of each kind that held a loop for more than a few milliseconds."""
    longest: dict[str, float] = {}
    for lines in steps:
        for step in lines:
            longest[step.kind] = max(longest.get(step.kind, 0.0), step.held_ms)
    return {kind: round(held, 1) for kind, held in sorted(longest.items(), key=lambda e: -e[1]) if held > 5}
