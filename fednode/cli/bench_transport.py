"""One large transfer between two processes: this network, py-libp2p as shipped and raw TCP, in turn in one run."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, cast

from fednode.errors import Unavailable

KINDS = ("raw", "stock", "ours")
MIB = 1024 * 1024


class _End:
    """A process that sends or receives; it answers every line with a line, or has ended."""

    def __init__(self, kind: str, role: str, size_bytes: int) -> None:
        self._name = f"{kind} {role}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fednode.p2p.libp2p_yardstick", kind, role, str(size_bytes)],
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
        return cast("dict[str, object]", json.loads(line))

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


def measure(size_bytes: int, repeats: int, progress: Callable[[str], None]) -> dict[str, float | int]:
    """Return medians over `repeats` transfers of each kind, the kinds taking turns; one transfer each warms up."""
    taken: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    with ExitStack() as running:
        pairs = {kind: running.enter_context(_pair(kind, size_bytes)) for kind in KINDS}
        for number in range(repeats + 1):
            for kind, pair in pairs.items():
                progress(f"transfer {number} of {repeats}: {kind}")
                figures = _transfer(*pair)
                if number:
                    taken[kind].append(figures)
    rates = {kind: statistics.median(size_bytes / wall_s / 1e6 for wall_s, _ in taken[kind]) for kind in KINDS}
    costs = {kind: statistics.median(cpu_s * 1e9 / size_bytes for _, cpu_s in taken[kind]) for kind in KINDS}
    return {
        "mb_per_s": round(rates["ours"], 1),
        "cpu_s_per_gb": round(costs["ours"], 3),
        "stock_mb_per_s": round(rates["stock"], 1),
        "stock_cpu_s_per_gb": round(costs["stock"], 3),
        "raw_tcp_mb_per_s": round(rates["raw"], 1),
        "raw_tcp_cpu_s_per_gb": round(costs["raw"], 3),
        "ratio_to_stock": round(rates["ours"] / rates["stock"], 3),
        "size_bytes": size_bytes,
        "repeats": repeats,
    }
