"""The plain half of `bench secure-sum --processes`: N processes that sum unprotected, and what that takes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, cast

from fednode.cli.ask import as_record
from fednode.demo.federation import Record, clean_environment
from fednode.documents import read_json
from fednode.errors import Unavailable


@dataclass(frozen=True, slots=True)
class PlainFigures:
    """What each sum took; processor seconds and bytes are means over sums and members."""

    walls_s: tuple[float, ...]
    cpu_s: float
    sent_bytes: int


class _Peer:
    """A process that answers every line with a line, or has ended."""

    def __init__(self, members: int, index: int, length: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fednode.bench.plain_sum", str(members), str(index), str(length)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean_environment(),
        )

    def tell(self, what: Record) -> None:
        try:
            pipe = cast(IO[str], self._process.stdin)
            pipe.write(json.dumps(what) + "\n")
            pipe.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def hear(self) -> Record:
        line = cast(IO[str], self._process.stdout).readline()
        if not line:
            raise self._ended()
        return as_record(read_json(line))

    def _ended(self) -> Unavailable:
        return Unavailable(
            f"a process of the plain sum ended with code {self._process.wait()}; its message is above, try again"
        )

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


def _ask(peers: list[_Peer], what: Record) -> list[Record]:
    """Ask all at once; return all answers."""
    for peer in peers:
        peer.tell(what)
    return [peer.hear() for peer in peers]


@contextmanager
def _connected(members: int, length: int) -> Iterator[list[_Peer]]:
    """Start all processes and introduce them to each other."""
    with ExitStack() as running:
        peers = []
        for index in range(members):
            peers.append(_Peer(members, index, length))
            running.callback(peers[-1].end)
        found = [peer.hear() for peer in peers]
        _ask(peers, {"others": [(entry["peer"], entry["address"]) for entry in found]})
        yield peers


def measure_plain(members: int, length: int, sums: int) -> PlainFigures:
    """Sum `sums` times after one that warms up: from the last process that begins to the last that has the sum."""
    walls: list[float] = []
    with _connected(members, length) as peers:
        _ask(peers, {"do": "sum"})
        before = _ask(peers, {"do": "count"})
        for _ in range(sums):
            times = _ask(peers, {"do": "sum"})
            walls.append(max(entry["ended"] for entry in times) - max(entry["begun"] for entry in times))
        after = _ask(peers, {"do": "count"})
    used, sent = (
        statistics.mean(late[key] - early[key] for early, late in zip(before, after, strict=True)) / sums
        for key in ("cpu_s", "sent_bytes")
    )
    return PlainFigures(tuple(walls), used, round(sent))
