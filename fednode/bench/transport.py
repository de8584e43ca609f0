"""One large transfer between two processes: this network, py-libp2p as shipped and raw TCP, in turn in one run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, cast

import click

from fednode.cli.show import Say, print_json, print_table
from fednode.cli.site import Command, format_option
from fednode.documents import read_json
from fednode.errors import Unavailable

PREFIXES = {"ours": "", "stock": "stock_", "raw": "raw_tcp_"}
"""Of the keys of each kind."""

KINDS = ("raw", "stock", "ours")
MIB = 1024 * 1024


class _End:
    """A process that sends or receives; it answers every line with a line, or has ended."""

    def __init__(self, kind: str, role: str, size_bytes: int) -> None:
        self._name = f"{kind} {role}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fednode.p2p.libp2p.yardstick", kind, role, str(size_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, what: dict[str, object]) -> None:
        pipe = cast(IO[str], self._process.stdin)
        pipe.write(json.dumps(what) + "\n")
        pipe.flush()

    def hear(self) -> dict[str, object]:
        line = cast(IO[str], self._process.stdout).readline()
        if not line:
            raise Unavailable(f"The measured process ({self._name}) ended early; its message is above.")
        return cast("dict[str, object]", read_json(line))

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def _pair(kind: str, size_bytes: int) -> Iterator[tuple[_End, _End]]:
    """Start both ends and introduce them to each other."""
    with ExitStack() as ends:
        receiver, sender = (_End(kind, role, size_bytes) for role in ("receive", "send"))
        ends.callback(receiver.end)
        ends.callback(sender.end)
        at_receiver, at_sender = receiver.hear(), sender.hear()
        sender.tell(at_receiver)
        if at_sender:
            receiver.tell(at_sender)
        for end in (receiver, sender):
            end.hear()
        yield receiver, sender


def _transfer(receiver: _End, sender: _End) -> tuple[float, float]:
    """Return seconds until the receiver's confirmation, and processor seconds of both ends."""
    for end in (receiver, sender):
        end.tell({"go": True})
        end.hear()
    received, sent = receiver.hear(), sender.hear()
    return cast(float, sent["wall_s"]), cast(float, sent["cpu_s"]) + cast(float, received["cpu_s"])


def measure_kind(kind: str, size_bytes: int, repeats: int) -> list[tuple[float, float]]:
    """Return seconds and processor seconds of transfers of one kind; one transfer warms up."""
    with _pair(kind, size_bytes) as pair:
        return [_transfer(*pair) for _ in range(repeats + 1)][1:]


def measure(size_bytes: int, repeats: int, progress: Say) -> dict[str, float | int]:
    """Return medians over `repeats` transfers of each kind, the kinds taking turns, and the one before them apart."""
    from statistics import median

    taken: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    with ExitStack() as running:
        pairs = {kind: running.enter_context(_pair(kind, size_bytes)) for kind in KINDS}
        for number in range(repeats + 1):
            for kind, pair in pairs.items():
                progress(f"transfer {number} of {repeats}: {kind}")
                taken[kind].append(_transfer(*pair))
    result: dict[str, float | int] = {}
    for kind, prefix in PREFIXES.items():
        rates = [size_bytes / wall_s / 1e6 for wall_s, _ in taken[kind]]
        costs = [cpu_s * 1e9 / size_bytes for _, cpu_s in taken[kind]]
        result |= {
            f"{prefix}mb_per_s": round(median(rates[1:]), 1),
            f"{prefix}cpu_s_per_gb": round(median(costs[1:]), 3),
            f"{prefix}first_mb_per_s": round(rates[0], 1),
            f"{prefix}first_cpu_s_per_gb": round(costs[0], 3),
        }
    ratio = result["mb_per_s"] / result["stock_mb_per_s"]
    return {**result, "ratio_to_stock": round(ratio, 3), "size_bytes": size_bytes, "repeats": repeats}


@click.command("transport", cls=Command, example="fednode bench transport\nfednode bench transport --format json")
@click.option("--size", "size_mib", type=click.IntRange(1, 1024), default=100, show_default=True, metavar="MIB",
              help="Size of one transfer.")
@click.option("--repeats", type=click.IntRange(1, 100), default=5, show_default=True,
              help="Transfers of each kind; the medians count.")
@format_option
def bench_transport(size_mib: int, repeats: int, as_json: bool) -> None:
    """Time a large transfer between two processes.

    Time one large transfer between two processes on loopback.

    In turn: this network as the daemons use it (one blob, checksums at both ends included), py-libp2p as it is shipped
    (Noise and yamux, one stream), and a raw TCP connection. The seconds count until the receiver's confirmation, the
    processor seconds are those of both processes, threads and kernel included. The first transfer of each connection
    is told apart: it also pays for memory that was never touched before, and no later one does.
    """
    from fednode.demo.federation import ending_on_signals

    with ending_on_signals():
        result = measure(size_mib * MIB, repeats, _progress)
    if as_json:
        print_json(result)
        return
    if sys.stderr.isatty():
        click.echo(err=True)
    names = {"ours": "this network", "stock": "py-libp2p as shipped", "raw": "raw TCP"}
    keys = ("mb_per_s", "cpu_s_per_gb", "first_mb_per_s", "first_cpu_s_per_gb")
    rows = [(names[kind], *(f"{result[prefix + key]:g}" for key in keys)) for kind, prefix in PREFIXES.items()]
    print_table(["transport", "MB/s", "CPU s/GB, both ends", "first: MB/s", "CPU s/GB"], rows)
    click.echo(f"{result['ratio_to_stock']:g} times py-libp2p as shipped; {size_mib} MiB, medians of {repeats}")


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{text:<50}", err=True, nl=False)
