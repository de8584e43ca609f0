"""`fednode plan`: what a round of a study will cost, before anybody has run one."""

from __future__ import annotations

import os
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

CONSTANTS_FILE = "plan-constants.json"


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
    length = params if study_path is None else _vector_length(study_path)
    model = _constants(site, calibrate)
    if length is None:
        return
    cores = os.cpu_count() or 1
    if mbit is None:
        mbit = inf if one_machine else 1000.0
    if latency_ms is None:
        latency_ms = 0.0 if one_machine else 5.0
    phases = model.phases(members, length, Site(mbit, latency_ms, members if one_machine else 1, cores))
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
    if as_json:
        print_json({**{key: _rounded(value) for key, value in total.items()},
                    "phases": [{key: _rounded(value) for key, value in asdict(phase).items()} for phase in phases]})
        return
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


def _vector_length(path: Path) -> int:
    from fednode.cli.reading import read_study
    from fednode.ledger.sums.records import RoundKind
    from fednode.rounds.jobs import vector_length

    return vector_length(read_study(path), RoundKind.TRAINING)
