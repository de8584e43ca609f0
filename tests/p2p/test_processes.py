"""Nodes as separate processes: killed, restarted, stopped and continued."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("node_process.py")


class Node:
    """A node process; every wait ends with its output, which the test run's own limit bounds."""

    def __init__(self, seed: bytes, address: str = "/ip4/127.0.0.1/tcp/0") -> None:
        self.seed = seed
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), seed.hex(), address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        hello = self.next("me")
        self.me: str = hello["me"]
        self.listening: list[str] = hello["listening"]

    def tell(self, *command: object) -> None:
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def next(self, key: str) -> dict:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            what = json.loads(line)
            if key in what:
                return what
        raise AssertionError(f"the node ended before it said {key!r}")

    def end(self) -> None:
        self.process.kill()
        self.process.send_signal(signal.SIGCONT)
        _, complaints = self.process.communicate()
        assert complaints == ""


@pytest.fixture
def three() -> Iterator[list[Node]]:
    nodes = [Node(os.urandom(32)) for _ in range(3)]
    introduce(nodes)
    for node in nodes:
        for _ in nodes[1:]:
            node.next("up")
    yield nodes
    for node in nodes:
        node.end()


def introduce(nodes: list[Node]) -> None:
    members = {node.me: node.listening for node in nodes}
    for node in nodes:
        node.tell("members", members)


def test_a_killed_process_is_noticed_at_once_and_meshed_again_after_its_restart(three: list[Node]) -> None:
    killed, *others = three
    started = time.monotonic()
    killed.process.kill()
    for node in others:
        assert node.next("down")["down"] == killed.me
    assert time.monotonic() - started < 4
    killed.end()
    three[0] = again = Node(killed.seed, killed.listening[0])
    assert (again.me, again.listening) == (killed.me, killed.listening)
    started = time.monotonic()
    again.tell("members", {node.me: node.listening for node in three})
    for node in others:
        assert node.next("up")["up"] == killed.me
        again.next("up")
    assert time.monotonic() - started < 30
    others[0].tell("send", again.me, "welcome back")
    assert again.next("frame") == {"frame": "welcome back", "peer": others[0].me}


def test_a_stopped_process_is_dropped_and_holds_up_nobody(three: list[Node]) -> None:
    stopped, a, b = three
    started = time.monotonic()
    stopped.process.send_signal(signal.SIGSTOP)
    a.tell("blob", stopped.me, 50_000_000)
    a.tell("blob", b.me, 1_000_000)
    assert b.next("blob") == {"blob": 1_000_000, "peer": a.me}
    a.tell("send", b.me, "through")
    assert b.next("frame")["frame"] == "through"
    for node in (a, b):
        assert node.next("down")["down"] == stopped.me
    assert time.monotonic() - started > 4
    stopped.process.send_signal(signal.SIGCONT)
    for node in (a, b):
        assert node.next("up")["up"] == stopped.me
    a.tell("send", stopped.me, "good morning")
    assert stopped.next("frame")["frame"] == "good morning"


STRANGER = """
import sys
import trio
from libp2p import new_host
from libp2p.crypto.rsa import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.security.noise.transport import PROTOCOL_ID, Transport
from multiaddr import Multiaddr

keys = create_new_key_pair()
noise = Transport(keys, noise_privkey=create_x25519_key_pair().private_key)
host = new_host(key_pair=keys, sec_opt={PROTOCOL_ID: noise})

async def knock():
    async with host.run(listen_addrs=[]):
        try:
            await host.connect(PeerInfo(ID.from_base58(sys.argv[1]), [Multiaddr(sys.argv[2])]))
        except SwarmException:
            print("refused")
        await host.close()

trio.run(knock)
"""


def test_a_key_of_a_kind_that_no_member_has_is_refused(three: list[Node]) -> None:
    a, b, _ = three
    # a process of its own: in one that has loaded libp2p for the daemon, other kinds of keys are left out
    arguments = [sys.executable, "-W", "ignore", "-c", STRANGER, a.me, a.listening[0]]
    stranger = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)
    assert stranger.stdout == "refused\n"
    a.tell("send", b.me, "nobody there")
    assert b.next("frame")["frame"] == "nobody there"
