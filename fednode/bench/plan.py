"""`fednode plan`: what a round of a study will cost, before anybody has run one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fednode.cli.show import print_json, print_pairs, print_table
from fednode.cli.site import Figure, command, format_option, pass_site
from fednode.cli.site import Site as HomeSite
from fednode.errors import UsageError

if TYPE_CHECKING:
    from fednode.bench.cost_model import CostModel
    from fednode.bench.cost_model import Site as Line

CONSTANTS_FILE = "plan-constants.json"
MODEL_BYTES = 8
"""Of one parameter in a model file."""


@command(
    "plan",
    example="fednode plan --study genesis/heart.toml --members 4\n"
    "fednode plan --params 25600000 --members 10 --mbit 1000 --latency-ms 10\nfednode plan --calibrate",
)
@click.option("--study", "study_path", type=click.Path(path_type=Path), metavar="FILE", help="Study file.")
@click.option("--params", type=click.IntRange(1, 1 << 30), help="Parameters of the model, instead of a study file.")
@click.option("--members", type=click.IntRange(3, 256), default=4, show_default=True, help="Number of hospitals.")
@click.option("--mbit", type=Figure(0.1),
              help="Line of each hospital, megabit per second each way.  [default: 1000]")
@click.option("--latency-ms", type=Figure(0), help="One-way delay between hospitals.  [default: 5]")
@click.option("--one-machine", is_flag=True,
              help="All members run on this machine, as in the demo: no line and no delay unless given.")
@click.option("--calibrate", is_flag=True, help="Measure this machine again (about 10 s) and keep the constants.")
@format_option
@pass_site
def plan(
    site: HomeSite, study_path: Path | None, params: int | None, members: int, mbit: float | None,
    latency_ms: float | None, one_machine: bool, calibrate: bool, as_json: bool,
) -> None:
    """Tell what a secure round will cost.

    Seconds of each phase, MB sent and received, and memory, for one member. The constants are measured on this machine
    the first time and kept in the home. Training is not part of the plan; quantise, record, keys and ack go on while
    others still train.
    """
    from fednode.bench.cost_model import BEFORE_SUM, Site, ledger_mb, memory_mb

    if study_path is None and params is None and not calibrate:
        raise UsageError("nothing to plan; give --study FILE or --params NUMBER, or only --calibrate")
    lengths = {} if study_path is None else _study_lengths(study_path)
    length = params if study_path is None else max(lengths)
    model = _constants(site, calibrate)
    if length is None:
        return
    cores = os.cpu_count() or 1
    if mbit is None:
        mbit = inf if one_machine else 1000.0
    if latency_ms is None:
        latency_ms = 0.0 if one_machine else 5.0
    line = Site(mbit, latency_ms, members if one_machine else 1, cores)
    phases = model.phases(members, length, line)
    total = {
        "members": members, "params": length,
        "cpu_s": sum(phase.cpu_s for phase in phases),
        "daemon_cpu_s": sum(phase.cpu_s + phase.around_cpu_s for phase in phases),
        "wall_s": sum(phase.wall_s for phase in phases),
        "sum_wall_s": sum(phase.wall_s for phase in phases if phase.name not in BEFORE_SUM),
        "sent_mb": sum(phase.sent_mb for phase in phases),
        "received_mb": sum(phase.received_mb for phase in phases),
        "ledger_mb": ledger_mb(members, phases), "memory_mb": memory_mb(length),
    }
    whole = _whole_study(model, members, line, lengths)
    if as_json:
        print_json({"study": whole, **{key: _rounded(value) for key, value in total.items()},
                    "phases": [{key: _rounded(value) for key, value in asdict(phase).items()} for phase in phases]})
        return
    if whole is not None:
        print_pairs([
            ("the whole study", f"{whole['rounds']} rounds among {members} hospitals"),
            ("time, without training", _duration(whole["wall_s"])),
            ("processor of each hospital", f"{_duration(whole['cpu_s'])}, without training"),
            ("each hospital sends", f"{whole['sent_mb']:.1f} MB"),
            ("each hospital receives", f"{whole['received_mb']:.1f} MB"),
            ("disk, for models and chain", f"{whole['disk_mb']:.1f} MB"),
            ("memory of a daemon", f"{total['memory_mb']:.0f} MB"),
        ])
        click.echo("\none training round of it:")
    rows = [
        (phase.name, f"{phase.cpu_s:.3f}", f"{phase.around_cpu_s:.3f}", f"{phase.wall_s:.3f}", f"{phase.sent_mb:.3f}",
         f"{phase.received_mb:.3f}")
        for phase in phases
    ]
    print_table(["phase", "protocol s", "around it s", "seconds", "MB sent", "MB received"], rows)
    print_pairs([
        ("members", str(members)), ("vector", f"{length} numbers of 4 bytes"),
        ("a round, without training", f"{total['wall_s']:.2f} s"),
        ("of which after the last update", f"{total['sum_wall_s']:.2f} s"),
        ("processor, for the protocol", f"{total['cpu_s']:.2f} s"),
        ("with transport, ledger and disk", f"{total['daemon_cpu_s']:.2f} s"),
        ("each member sends", f"{total['sent_mb']:.2f} MB"),
        ("and for blocks and votes", f"{total['ledger_mb']:.2f} MB"),
        ("memory of a daemon", f"{total['memory_mb']:.0f} MB"),
    ])


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def _constants(site: HomeSite, calibrate: bool) -> CostModel:
    """Return this machine's constants; measure them if there are none yet."""
    from fednode.bench.cost_model import CostModel, load_model, measure_machine, measure_samples, save_model

    path = site.home.var / CONSTANTS_FILE
    model = None if calibrate else load_model(path)
    if model is None:
        def say(text: str) -> None:
            click.echo(text, err=True)

        model = CostModel.of(measure_samples(say), measure_machine(say))
        if site.home.root.exists():
            save_model(path, model)
            click.echo(f"constants of this machine kept in {path}", err=True)
        elif calibrate:
            click.echo(f"there is no home at {site.home.root}, so the constants are not kept; fednode init", err=True)
    return model


def _study_lengths(path: Path) -> dict[int, int]:
    """Return how many rounds of each length of vector a study has: statistics, training, and the closing one."""
    from fednode.cli.reading import read_study
    from fednode.ledger.sums.records import RoundKind
    from fednode.rounds.jobs import vector_length

    spec = read_study(path)
    lengths: dict[int, int] = {}
    for kind, count in ((RoundKind.STATISTICS, 1), (RoundKind.TRAINING, spec.rounds), (RoundKind.CLOSING, 1)):
        length = vector_length(spec, kind)
        lengths[length] = lengths.get(length, 0) + count
    return lengths


def _whole_study(model: CostModel, members: int, line: Line, lengths: Mapping[int, int]) -> dict[str, float] | None:
    """Return the cost of all rounds of a study for one member; None where only a number of parameters was given.

    Every training round leaves a model of 8 bytes a parameter on the disk, and its part of the chain.
    """
    from fednode.bench.cost_model import ledger_mb

    if not lengths:
        return None
    found = {"rounds": 0.0, "wall_s": 0.0, "cpu_s": 0.0, "sent_mb": 0.0, "received_mb": 0.0, "disk_mb": 0.0}
    for length, count in lengths.items():
        phases = model.phases(members, length, line)
        chain_mb = ledger_mb(members, phases)
        model_mb = MODEL_BYTES * length / 1e6 if length == max(lengths) else 0.0
        found["rounds"] += count
        found["wall_s"] += count * sum(phase.wall_s for phase in phases)
        found["cpu_s"] += count * sum(phase.cpu_s + phase.around_cpu_s for phase in phases)
        found["sent_mb"] += count * (chain_mb + sum(phase.sent_mb for phase in phases))
        found["received_mb"] += count * (chain_mb + sum(phase.received_mb for phase in phases))
        found["disk_mb"] += count * (chain_mb + model_mb)
    return {**{name: _rounded(value) for name, value in found.items()}, "rounds": int(found["rounds"])}


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else \
        f"{seconds / 3600:.1f} h"
