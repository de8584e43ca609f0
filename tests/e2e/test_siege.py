"""A thousand strangers' sockets and a member at its quotas, against three honest daemons of four.

Their memory and the time to finality are compared with those of runs in between in which the attacker burns the same
processor time and connects to nobody: on a machine with few processors that alone costs something.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import trio

from fednode.bench.chain import memo_text
from fednode.bench.relay import Relay
from fednode.cli.reading import read_genesis
from fednode.core.membership import dial_map, peer_map
from fednode.crypto import Secret
from fednode.documents import read_json
from fednode.home.keystore import unlock_keystore
from fednode.ids import PROTOCOL_VERSION, MemberId, PeerId
from fednode.p2p.addresses import parse_multiaddr
from fednode.p2p.libp2p.network import NetworkSettings, create_network, quiet_logging
from tests.e2e.federation import PASSPHRASE, Federation, Hospital, free_ports, make_federation

SOCKETS = 1000
MAX_GROWTH_MB = 50.0
MAX_RATIO = 3.0
DELAY_MS, BACK_S = 50, 10.0
PAUSE_S = 0.05


def rss_mb(hospital: Hospital) -> float:
    """Resident memory of a daemon, from outside."""
    text = Path(f"/proc/{hospital.pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


class Watch:
    """Times to finality and the most memory, while something goes on."""

    def __init__(self, honest: list[Hospital]) -> None:
        self.honest = honest
        self.peak_mb = [0.0] * len(honest)

    def look(self) -> None:
        """Note the memory of all."""
        self.peak_mb = [max(peak, rss_mb(hospital)) for peak, hospital in zip(self.peak_mb, self.honest, strict=True)]

    def during(self, name: str, process: subprocess.Popen[str]) -> tuple[list[tuple[float, float]], dict[str, Any]]:
        """Hand in one line after the other until `process` ends; return when and its milliseconds, and what it told."""
        times, turn = [], 0
        while process.poll() is None:
            hospital = self.honest[turn % len(self.honest)]
            done = hospital.call("submit_memo", text=memo_text(f"{name} {turn} {time.time_ns()}"))
            times.append((time.monotonic(), done["ms"]))
            self.look()
            turn += 1
            time.sleep(PAUSE_S)  # the pace of the load, not a wait for something
        assert process.stdout is not None
        with process.stdout as output:
            told = output.read()
        assert process.returncode == 0, told
        return times, json.loads(told.splitlines()[-1])


def launch(*arguments: str) -> subprocess.Popen[str]:
    """Start the attacker."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.besieger", *arguments],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )


def by_kind(times: list[tuple[float, float]], told: dict[str, Any]) -> dict[str, str]:
    """Return the median and the number of lines while each kind was under way."""
    begins = [*told["begins"].items(), ("end", times[-1][0] + 1)]
    found = {}
    for (name, begin), (_, end) in itertools.pairwise(begins):
        part = [ms for at, ms in times if begin <= at < end]
        text = f"{statistics.median(part):.0f} ms of {len(part)} lines" if part else "no line"
        found[name] = f"{text}, sent {told['sent'].get(name)}"
    return found


def besiege(federation: Federation, turns: int, seconds: float) -> tuple[list[float], list[float], Watch]:
    """Sieges and burns in turn; return the times of both and what was seen of the memory."""
    honest = [federation[member] for member in (1, 2, 3)]
    watch, siege, quiet = Watch(honest), [], []
    warm = watch.during("warm-up", launch("burn", "0.1", "3"))
    assert len(warm[0]) > 3
    before = [rss_mb(hospital) for hospital in honest]
    watch.peak_mb = list(before)
    for turn in range(turns):
        attacker = launch("siege", str(federation[4].home.root), str(seconds), str(SOCKETS))
        times, told = watch.during(f"siege {turn}", attacker)
        siege += [ms for _, ms in times]
        assert set(told["begins"]) <= set(told["sent"]), f"a kind reached nobody: {told}"
        sys.stdout.write(f"siege {turn}: cut off {told['cut_off']} times, {told['cpu_s']:.1f} s of processor\n")
        sys.stdout.write("".join(f"  {name}: {text}\n" for name, text in by_kind(times, told).items()))
        times, told = watch.during(f"burn {turn}", launch("burn", str(told["cpu_s"]), str(seconds)))
        quiet += [ms for _, ms in times]
    growth = [peak - start for peak, start in zip(watch.peak_mb, before, strict=True)]
    sys.stdout.write(f"memory {before} MB, grew by {growth} MB at most\n")
    watch.peak_mb = growth
    return siege, quiet, watch


def check(watch: Watch) -> None:
    """Memory is bounded, and nobody honest was cut off."""
    assert max(watch.peak_mb) < MAX_GROWTH_MB
    for hospital in watch.honest:
        lines = [read_json(line) for line in hospital.home.journal.read_text().splitlines()]
        assert {line["member"] for line in lines if line["kind"] == "cut-off"} <= {4}
        assert hospital.status()["connected"] >= 2


async def come_back(federation: Federation, addresses: dict[PeerId, tuple[str, ...]]) -> float:
    """Connect to `addresses` with the keys of member 3, whose daemon does not run; return the seconds it took."""
    home = federation[3].home
    keys, genesis = unlock_keystore(home.keystore, Secret(PASSPHRASE.encode())), read_genesis(home.genesis)
    settings = NetworkSettings(keys.network_seed, ("/ip4/127.0.0.1/tcp/0",), PROTOCOL_VERSION, genesis.chain_id)
    network = create_network(settings, lambda peer, header, size: False)
    begin, came = time.monotonic(), set()
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        network.set_members(addresses)
        with trio.move_on_after(3 * BACK_S):
            while len(came) < len(addresses):
                came |= network.connected()
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    assert len(came) == len(addresses), f"it came back to {len(came)} of {len(addresses)}"
    return time.monotonic() - begin


def endure(root: Path, turns: int, seconds: float) -> tuple[float, float]:
    """The whole of it; return how many times as long finality took, and the seconds until a member was back."""
    report = sys.stdout.write
    federation = make_federation(root, None)
    try:
        federation.start()
        federation[4].kill()
        siege, quiet, watch = besiege(federation, turns, seconds)
        check(watch)
        report(f"finality {statistics.median(siege):.0f} ms besieged, {statistics.median(quiet):.0f} ms burning\n")
        federation[3].kill()
        quiet_logging()
        me, state = MemberId(3), federation.genesis.first_state()
        own = peer_map(state)[me]
        others = {
            peer: parse_multiaddr(addresses[0]).port for peer, addresses in dial_map(state, me, own).items()
            if peer != peer_map(state)[MemberId(4)]
        }
        outer = free_ports(len(others))
        relay = Relay(dict(zip(outer, others.values(), strict=True)), DELAY_MS)
        addresses = {
            peer: (f"/ip4/127.0.0.1/tcp/{port}",) for peer, port in zip(others, outer, strict=True)
        }
        with relay, launch("siege", str(federation[4].home.root), str(3 * BACK_S), str(SOCKETS)) as attacker:
            time.sleep(5)  # the strangers fill the places first
            took = trio.run(come_back, federation, addresses)
            attacker.kill()
        report(f"a member {DELAY_MS} ms away was back after {took:.1f} s\n")
        return statistics.median(siege) / statistics.median(quiet), took
    finally:
        federation.kill()


@pytest.mark.slow
def test_a_short_siege(tmp_path: Path) -> None:
    """Times are for the long one: this one shares its processors with other tests."""
    endure(tmp_path, 1, 12)


@pytest.mark.soak
def test_a_siege_of_minutes(tmp_path: Path) -> None:
    ratio, took = endure(tmp_path, 3, 60)
    assert ratio < MAX_RATIO
    assert took < BACK_S
