"""`fednode bench`: what this program costs on this machine, measured as its users would."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from fednode.bench.transport import bench_transport
from fednode.cli.show import print_json, print_table
from fednode.cli.site import Figure, Group, format_option
from fednode.errors import UsageError

T = TypeVar("T")

ALL_SIZES = (4, 7, 10, 16)
MAX_PROCESSES = 16


@click.group("bench", cls=Group)
def bench() -> None:
    """Measure rounds, ledger and transport here."""


bench.add_command(bench_transport)


@bench.command("round", example="fednode bench round\nfednode bench round --format json")
@click.option("--members", type=click.IntRange(4, 16), default=4, show_default=True, help="Number of daemons.")
@click.option("--rounds", type=click.IntRange(1, 1000), default=20, show_default=True, help="Rounds measured.")
@click.option("--samples", type=click.IntRange(1, 10_000), default=200, show_default=True,
              help="Transactions timed from submission to finality.")
@click.option("--idle-seconds", "idle_s", type=click.IntRange(1, 600), default=20, show_default=True,
              help="How long the daemons are watched doing nothing.")
@format_option
def bench_round(members: int, rounds: int, samples: int, idle_s: int, as_json: bool) -> None:
    """Time secure rounds of daemons on loopback.

    Time secure rounds, transactions, start-up, memory and idleness of daemons on loopback.

    Every daemon is a process of its own; the model is that of the demo (4161 parameters). A round counts from the
    block that opens it to the block that closes it. One pass over the local rows trains while keys are exchanged, so
    the updates are ready when they are due; the first round is left out.
    """
    from fednode.bench.round import Sizes, measure

    result = _in_folder(lambda folder: measure(Sizes(members, rounds, samples, idle_s), folder, _progress))
    if as_json:
        print_json(result)
    else:
        _print(result)


@bench.command(
    "consensus",
    example="fednode bench consensus --members 4 --format json\nfednode bench consensus --all\n"
    "fednode bench consensus --members 7 --delay-ms 50 --seconds 0 --kills 0",
)
@click.option("--members", type=click.IntRange(4, 32), multiple=True, default=(4,), show_default=True,
              help="Number of daemons; may be given several times.")
@click.option("--all", "is_all", is_flag=True, help="The sizes 4, 7, 10 and 16.")
@click.option("--seconds", type=click.IntRange(0, 3600), default=60, show_default=True, help="Length of the load.")
@click.option("--samples", type=click.IntRange(1, 10_000), default=200, show_default=True,
              help="Transactions timed one at a time.")
@click.option("--in-flight", type=click.IntRange(8, 1792), default=1792, show_default=True,
              help="Transactions on their way during the load; at most 56 for each daemon.")
@click.option("--delay-ms", type=click.IntRange(0, 1000), default=0, show_default=True,
              help="One way between any two daemons, through relays outside of them.")
@click.option("--keys", type=click.IntRange(0, 1_000_000), default=0, show_default=True,
              help="Records that the state holds from the start.")
@click.option("--kills", type=click.IntRange(0, 100), default=5, show_default=True, help="Leaders killed.")
@format_option
def bench_consensus(
    members: tuple[int, ...], is_all: bool, seconds: int, samples: int, in_flight: int, delay_ms: int, keys: int,
    kills: int, as_json: bool,
) -> None:
    """Time transactions through whole daemons.

    Time transactions of 256 bytes through whole daemons: one at a time, under load, with the leader killed.

    Every daemon is a process with keys and a synced store of its own. Latency counts from the call on the control
    socket to its answer, after the block is stored; one transaction at a time, from members drawn at random. A
    transaction is a line for auditors. The load hands them over in requests of up to 28, two callers to a daemon.
    """
    from fednode.bench.consensus import Sizes, measure_all

    chosen = ALL_SIZES if is_all else members
    sizes = [Sizes(number, seconds, samples, in_flight, delay_ms, keys, kills) for number in chosen]
    results = _in_folder(lambda folder: measure_all(sizes, folder, _progress))
    if as_json:
        print_json(results[0] if len(results) == 1 else results)
    else:
        _print_columns(CONSENSUS_LINES, results)


@bench.command("replay", example="fednode bench replay\nfednode bench replay --keys 100000 --format json")
@click.option("--members", type=click.IntRange(4, 32), default=4, show_default=True, help="Members that sign.")
@click.option("--blocks", type=click.IntRange(1, 1_000_000), default=10_000, show_default=True, help="Blocks.")
@click.option("--keys", type=click.IntRange(0, 1_000_000), default=0, show_default=True,
              help="Records that the state holds from the start.")
@click.option("--level", type=click.IntRange(0, 4), default=2, show_default=True, help="As for 'chain verify'.")
@format_option
def bench_replay(members: int, blocks: int, keys: int, level: int, as_json: bool) -> None:
    """Time the checking of a stored chain.

    Check a chain in its store, as 'chain verify' does, in one process: blocks of one 256-byte transaction each.

    The chain is made first, which takes longer; every member's signature is in every certificate.
    """
    from fednode.bench.replay import measure

    result = _in_folder(lambda folder: measure(members, blocks, keys, level, folder, _progress))
    if as_json:
        print_json(result)
    else:
        _print_columns(REPLAY_LINES, [result])


@bench.command(
    "secure-sum",
    example="fednode bench secure-sum --members 10 --params 1000000\n"
    "fednode bench secure-sum --members 4 --params 4161 --loss 0.1 --format json\n"
    "fednode bench secure-sum --members 4 --params 1000000 --processes --format json",
)
@click.option("--members", type=click.IntRange(3, 100), default=4, show_default=True, help="Number of members.")
@click.option("--params", type=click.IntRange(1, 1 << 26), default=1_000_000, show_default=True,
              help="Parameters of the model.")
@click.option("--loss", type=Figure(0, 0.9), default=0.0, show_default=True,
              help="Share of chunks that get lost on their way.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the vectors and of the losses.")
@click.option("--processes", is_flag=True, help="Real daemons on loopback that train and sum, up to 16 members.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True,
              help="Rounds measured with --processes; the medians count.")
@format_option
def bench_secure_sum(
    members: int, params: int, loss: float, seed: int, processes: bool, rounds: int, as_json: bool
) -> None:
    """Time the phases of one secure sum.

    Take one secure sum apart: processor time, bytes and memory of its phases.

    All members run in this process, one after another, over the real ledger rules and without a network; figures are
    those of one member. The same vectors are then summed in the plain by the same reduce-scatter and all-gather.

    With --processes every member is a daemon with libp2p, a ledger and a worker that trains; wall_s counts from the
    last update that is trained until the last daemon knows the sum. The plain sum then runs among as many processes
    over the same transport. The protocol's processor time is still that of one process, without transport.
    """
    if processes:
        _bench_processes(members, params, loss, rounds, as_json)
        return
    from fednode.bench.secure_sum import LINES as SUM_LINES
    from fednode.bench.secure_sum import measure

    result = measure(members, params, loss, seed, _progress)
    if as_json:
        print_json(result)
        return
    _print_columns(SUM_LINES, [result])
    phases = ", ".join(f"{name} {seconds:.3f}" for name, seconds in result["phase_cpu_s"].items())
    click.echo(f"processor time of the phases, in seconds: {phases}")


def _bench_processes(members: int, params: int, loss: float, rounds: int, as_json: bool) -> None:
    from fednode.bench.sum_processes import LINES as PROCESS_LINES
    from fednode.bench.sum_processes import measure

    if loss or members > MAX_PROCESSES:
        raise UsageError(f"--processes takes at most {MAX_PROCESSES} members and no --loss; leave out --processes")
    result = _in_folder(lambda folder: measure(members, params, rounds, folder, _progress))
    if as_json:
        print_json(result)
        return
    _print_columns(PROCESS_LINES, [result])
    phases = ", ".join(f"{name} {seconds:.3f}" for name, seconds in result["phase_wall_s"].items())
    click.echo(f"phases by the ledger, medians in seconds (commit lasts until training is over): {phases}")


def _in_folder(measure: Callable[[Path], T]) -> T:
    """Return what is measured in a folder that is gone afterwards, whatever ends the measurement."""
    from fednode.demo.federation import ending_on_signals

    folder = Path(tempfile.mkdtemp(prefix="fednode-bench-"))
    try:
        with ending_on_signals():
            return measure(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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


CONSENSUS_LINES = (
    ("members", "", "daemons"),
    ("tx_bytes", "B", "a transaction"),
    ("latency_ms_p50", "ms", "submitted to final, one at a time, median"),
    ("latency_ms_p99", "ms", "the same, 99 of 100"),
    ("cpu_ms_per_block", "ms", "processor time of a daemon for a block with one transaction"),
    ("tx_per_s", "/s", "transactions under load"),
    ("blocks_per_s", "/s", "blocks under load"),
    ("cpu_ms_per_tx", "ms", "processor time of a daemon for a transaction under load"),
    ("load_latency_ms_p50", "ms", "a request of the load, median"),
    ("rss_mb", "MB", "memory after the load, largest daemon"),
    ("failover_s", "s", "leader killed: until the next transaction is final, median"),
)
REPLAY_LINES = (
    ("blocks", "", "blocks"),
    ("tx_bytes", "B", "a transaction"),
    ("keys", "", "records in the state besides"),
    ("open_s", "s", "opening the store and checking its end"),
    ("blocks_per_s", "/s", "blocks checked"),
    ("cpu_ms_per_block", "ms", "processor time for a block"),
)


def _print_columns(lines: Sequence[tuple[str, str, str]], results: Sequence[Mapping[str, Any]]) -> None:
    """One column for each result; a line that was not measured is left out."""
    if sys.stderr.isatty():
        click.echo(err=True)
    rows = [
        [text, *(f"{result[key]:g} {unit}".rstrip() for result in results)]
        for key, unit, text in lines if key in results[0]
    ]
    print_table(["measured", *("value" for _ in results)], rows)


def _print(result: Mapping[str, Any]) -> None:
    if sys.stderr.isatty():
        click.echo(err=True)
    rows = [(text, f"{result[key]:g} {unit}".rstrip()) for key, unit, text in LINES]
    print_table(["measured", "value"], rows)
    phases = ", ".join(f"{name} {seconds:.3f}" for name, seconds in result["phase_seconds_p50"].items())
    click.echo(f"phases of a round, medians in seconds: {phases}")
    click.echo(f"{result['members']} daemons on {result['cpu_count']} processors, {result['rounds']} rounds")
