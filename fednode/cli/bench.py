"""`fednode bench`: what this program costs on this machine, measured as its users would."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from fednode.cli.show import print_json, print_table
from fednode.cli.site import Group, format_option


@click.group("bench", cls=Group)
def bench() -> None:
    """Measure rounds and the ledger on this machine."""


@bench.command("round", example="fednode bench round\nfednode bench round --format json")
@click.option("--members", type=click.IntRange(4, 16), default=4, show_default=True, help="Number of daemons.")
@click.option("--rounds", type=click.IntRange(1, 1000), default=20, show_default=True, help="Rounds measured.")
@click.option("--samples", type=click.IntRange(1, 10_000), default=200, show_default=True,
              help="Transactions timed from submission to finality.")
@click.option("--idle-seconds", "idle_s", type=click.IntRange(1, 600), default=20, show_default=True,
              help="How long the daemons are watched doing nothing.")
@format_option
def bench_round(members: int, rounds: int, samples: int, idle_s: int, as_json: bool) -> None:
    """Time secure rounds, transactions, start-up, memory and idleness of daemons on loopback.

    Every daemon is a process of its own; the model is that of the demo (4161 parameters). A round counts from the
    block that opens it to the block that closes it. One pass over the local rows trains while keys are exchanged, so
    the updates are ready when they are due; the first round is left out.
    """
    from fednode.cli.bench_round import Sizes, measure
    from fednode.cli.local_federation import ending_on_signals

    folder = Path(tempfile.mkdtemp(prefix="fednode-bench-"))
    try:
        with ending_on_signals():
            result = measure(Sizes(members, rounds, samples, idle_s), folder, _progress)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        print_json(result)
    else:
        _print(result)


def _progress(text: str) -> None:
    """Say what is being measured; on a terminal the line is written over."""
    if sys.stderr.isatty():
        click.echo(f"\r{text:<70}", err=True, nl=False)
    else:
        click.echo(text, err=True)


LINES = (
    ("secure_round_seconds_p50", "s", "a secure round, median"),
    ("secure_round_seconds_p95", "s", "a secure round, 95 of 100"),
    ("secure_sum_seconds_p50", "s", "of which the secure sum, from the first chunk to the sum known"),
    ("blocks_per_round", "", "blocks of a round"),
    ("cpu_seconds_per_round", "s", "processor time of a round, all daemons together"),
    ("submit_to_final_ms_p50", "ms", "a transaction from submission to finality, median"),
    ("submit_to_final_ms_p95", "ms", "a transaction, 95 of 100"),
    ("submit_at_client_ms_p50", "ms", "the same as the command line sees it"),
    ("ready_s", "s", "all daemons started at once: until each reaches every other"),
    ("idle_rss_mb", "MB", "memory before the first round, largest daemon"),
    ("round_rss_mb", "MB", "memory after all rounds, largest daemon"),
    ("idle_cpu_percent", "%", "processor while nothing happens, busiest daemon"),
    ("failover_ms_max", "ms", "the longest wait for a transaction after a daemon was killed"),
    ("rejoin_s", "s", "the killed daemon started again, until it has the whole chain"),
)


def _print(result: Mapping[str, Any]) -> None:
    if sys.stderr.isatty():
        click.echo(err=True)
    rows = [(text, f"{result[key]:g} {unit}".rstrip()) for key, unit, text in LINES]
    print_table(["measured", "value"], rows)
    phases = ", ".join(f"{name} {seconds:.3f}" for name, seconds in result["phase_seconds_p50"].items())
    click.echo(f"phases of a round, medians in seconds: {phases}")
    click.echo(f"{result['members']} daemons on {result['cpu_count']} processors, {result['rounds']} rounds")
