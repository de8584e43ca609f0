"""The unprotected sum of N processes over the transport of the daemons: the yardstick of `bench secure-sum`.

Run as `python -m fednode.bench.plain_sum MEMBERS INDEX LENGTH` by the benchmark, which says on standard input what to
do and reads one JSON object a line. Reduce-scatter and all-gather: every process sends chunk c of its vector to its
owner c, owners sum and send the sum to everybody. Chunks are blobs on the bulk stream, Noise and the muxer included,
exactly as a daemon sends them. The keys are thrown away with the process.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import cast

import numpy as np
import trio
from numpy.typing import NDArray

from fednode.crypto import Secret, sha256
from fednode.documents import read_json
from fednode.errors import Unavailable
from fednode.ids import PeerId
from fednode.p2p.libp2p.network import NetworkSettings, create_network
from fednode.p2p.mesh import Mesh
from fednode.p2p.network import BlobReceived, PeerDown, PeerUp

LISTEN = "/ip4/127.0.0.1/tcp/0"
PART, SUM = b"part", b"sum"
Vector = NDArray[np.uint32]


def bounds_of(length: int, members: int) -> list[tuple[int, int]]:
    """Return where the chunk of each owner begins and ends."""
    return [(length * k // members, length * (k + 1) // members) for k in range(members)]


def vector_of(index: int, length: int) -> Vector:
    """Return the vector of one process; the sum over all of them is known (`expected_sum`)."""
    return np.arange(length, dtype=np.uint32) * np.uint32(2 * index + 1)


def expected_sum(members: int, length: int) -> Vector:
    """Return the sum of the vectors of all processes, modulo 2^32."""
    return np.arange(length, dtype=np.uint32) * np.uint32(members * members)


class Peer:
    """One process: its vector, its place among the others, and the network between them."""

    def __init__(self, members: int, index: int, length: int) -> None:
        self._index = index
        self._bounds = bounds_of(length, members)
        self._vector = vector_of(index, length)
        self._expected = expected_sum(members, length)
        settings = NetworkSettings(Secret(os.urandom(32)), (LISTEN,), 1, sha256(b"plain sum"))
        self.network: Mesh = create_network(settings, lambda peer, header, size_bytes: True)
        self._owners: list[PeerId] = []

    async def connect(self, others: Sequence[tuple[str, str]]) -> None:
        """Learn who is who, in order of the chunks, and wait until everybody can be reached."""
        self._owners = [PeerId(peer) for peer, _ in others]
        self.network.set_members({
            PeerId(peer): (address,) for peer, address in others if PeerId(peer) != self.network.me
        })
        missing = set(self._owners) - {self.network.me}
        while missing:
            event = await self.network.receive()
            if isinstance(event, PeerUp):
                missing.discard(event.peer)

    async def sum(self) -> Vector:
        """Sum once together with all others; return the whole sum."""
        vector, bounds = self._vector, self._bounds
        for owner, (low, high) in zip(self._owners, bounds, strict=True):
            self._send(owner, PART, vector[low:high])
        low, high = bounds[self._index]
        total = np.empty(len(vector), np.uint32)
        own = total[low:high]
        own[:] = vector[low:high]
        parts = sums = len(self._owners) - 1
        while parts or sums:
            event = await self.network.receive()
            if isinstance(event, PeerDown):
                raise Unavailable(f"the plain sum lost a process ({event.reason}); run the benchmark again")
            if not isinstance(event, BlobReceived):
                continue
            values = np.frombuffer(event.data, np.uint32)
            if event.header == PART:
                await trio.to_thread.run_sync(np.add, own, values, own)
                parts -= 1
                if not parts:
                    for owner in self._owners:
                        self._send(owner, SUM, own)
            else:
                start, stop = bounds[self._owners.index(event.peer)]
                await trio.to_thread.run_sync(np.copyto, total[start:stop], values)
                sums -= 1
        return total

    def _send(self, to: PeerId, header: bytes, values: Vector) -> None:
        if to != self.network.me and not self.network.send_blob(to, header, values.data):
            raise Unavailable("the plain sum could not send a chunk; run the benchmark again")

    async def measure(self) -> dict[str, float]:
        """Sum once; return when it began and when the whole sum was here (Unix time, seconds)."""
        begun = time.time()
        total = await self.sum()
        ended = time.time()
        if not np.array_equal(total, self._expected):
            raise Unavailable("the plain sum of the benchmark is wrong; this is a bug")
        return {"begun": begun, "ended": ended}

    def count(self) -> dict[str, float]:
        """Return processor seconds and bytes sent since the start."""
        return {"cpu_s": time.process_time(), "sent_bytes": self.network.counters()["bytes_sent"]}


def _say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def _hear() -> dict[str, object]:
    line = await trio.wrap_file(sys.stdin).readline()
    return cast("dict[str, object]", read_json(line or "{}"))


async def main(members: int, index: int, length: int) -> None:
    """Serve: who the others are, then each line heard asks for a sum or for what was used so far."""
    peer = Peer(members, index, length)
    async with trio.open_nursery() as nursery:
        await nursery.start(peer.network.run)
        _say(peer=peer.network.me, address=peer.network.listening[0])
        others = cast("list[tuple[str, str]]", (await _hear())["others"])
        await peer.connect(others)
        _say(connected=True)
        while what := await _hear():
            _say(**(await peer.measure() if what["do"] == "sum" else peer.count()))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, *map(int, sys.argv[1:4]))
