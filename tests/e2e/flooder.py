"""A member gone bad, as a process: it holds real keys, speaks the wire, and sends as much nonsense as it can.

    python -m tests.e2e.flooder HOME KIND MESSAGES_PER_S SECONDS

Every kind is one that the connection cannot refuse: the frames are well formed, or the keys are right, or both. What
it has sent, and how often it was cut off, is its last line.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import trio

from fednode.bench.chain import memo_text
from fednode.chain.consensus.messages import ConsensusMessage, Status
from fednode.chain.sync import encode_sync
from fednode.chain.vote import NO_VIEW, PREVOTE, Vote, domain_of, sign_bytes
from fednode.cli.reading import read_genesis
from fednode.codec import encode
from fednode.core import traffic
from fednode.core.membership import dial_map
from fednode.crypto import Secret
from fednode.errors import Rejected
from fednode.home.files import Home
from fednode.home.keystore import Keys, unlock_keystore
from fednode.ids import PROTOCOL_VERSION, Height, MemberId, PeerId, View
from fednode.ledger.bodies import Memo
from fednode.ledger.genesis import Genesis
from fednode.ledger.transactions import sign_transaction
from fednode.p2p import network as net
from fednode.p2p.libp2p.network import NetworkSettings, create_network, quiet_logging
from fednode.p2p.mesh import Mesh
from tests.e2e.federation import PASSPHRASE

TICKS_PER_S = 100
LARGE_BYTES = 1 << 20


Attacker = TypeVar("Attacker", bound="Flooder")


class Flooder:
    """One member's keys, what it knows of the chain, and a way to make each kind of nonsense."""

    def __init__(self, keys: Keys, member: MemberId, genesis: Genesis) -> None:
        self.keys, self.member, self.genesis = keys, member, genesis
        self.random = random.Random(member)
        self.height = 1
        self.nonce = time.time_ns() // 1000
        self.sent = self.refused = self.downs = 0
        self.large = self.random.randbytes(LARGE_BYTES)

    # --- kinds: each returns what to do with the network for one message to one peer

    def kinds(self) -> dict[str, Callable[[], bytes]]:
        """Frames by the name of their kind."""
        return {
            "garbage": lambda: bytes([self.random.randrange(1, 5)]) + self.random.randbytes(200),
            "stale": lambda: self._vote(max(1, self.height - self.random.randrange(5, 50))),
            "future": lambda: self._vote(self.height + self.random.randrange(1000, 100_000)),
            "double": lambda: self._vote(self.height + 1),
            "forged": lambda: self._vote(self.height + 1, is_forged=True),
            "spam": self._transaction,
            "large": lambda: bytes([traffic.TRANSACTIONS.code]) + self.large,
            "claims": lambda: traffic.SYNC.frame(self._claim()),
        }

    def _vote(self, height: int, is_forged: bool = False) -> bytes:
        value, chain_id = self.random.randbytes(32), self.genesis.chain_id
        message = sign_bytes(chain_id, PREVOTE, height, 0, NO_VIEW, value)
        signature = self.random.randbytes(64) if is_forged else self.keys.sign.sign(domain_of(PREVOTE), message)
        vote: ConsensusMessage = Vote(PREVOTE, Height(height), View(0), NO_VIEW, value, self.member, signature)
        return traffic.CONSENSUS.frame(vote)

    def _transaction(self) -> bytes:
        self.nonce += 1
        body = Memo(memo_text(f"spam {self.nonce}"))
        until = Height(self.height + 50)
        made = sign_transaction(self.keys.sign, self.genesis.chain_id, self.member, self.nonce, until, body)
        return traffic.TRANSACTIONS.frame(traffic.Transactions((made.data,)))

    def _claim(self) -> Status:
        far = Height(self.height + self.random.randrange(10_000))
        return Status(PROTOCOL_VERSION, self.genesis.chain_id, far, self.random.randbytes(32))

    # --- sending

    async def run(self, network: Mesh, kind: str, per_s: int, seconds: float) -> None:
        """Send to everybody that is connected, for so long."""
        names = sorted(self.kinds()) if kind == "mixed" else [kind]
        make, until, turn = self.kinds(), time.monotonic() + seconds, 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(network.run)
            nursery.start_soon(self._listen, network)
            while time.monotonic() < until:
                begin = time.monotonic()
                for peer in network.connected():
                    name = names[turn % len(names)]
                    for _ in range(per_s // TICKS_PER_S):
                        self._send(network, peer, name, make)
                turn += self.downs > turn  # another kind after each time that it was cut off
                await trio.sleep(max(0.0, 1 / TICKS_PER_S - (time.monotonic() - begin)))
            nursery.cancel_scope.cancel()

    def _send(self, network: Mesh, peer: PeerId, name: str, make: dict[str, Callable[[], bytes]]) -> None:
        if name == "blobs":
            done = network.send_blob(peer, encode(traffic.ModelHeader(bytes(32)), traffic.BlobHeader), self.large)
        elif name == "announcements":
            done = network.announce(encode_sync(self._claim()))
        else:
            done = network.send(peer, make[name]())
        self.sent += done
        self.refused += not done

    async def _listen(self, network: Mesh) -> None:
        while True:
            event = await network.receive()
            if isinstance(event, net.PeerDown):
                self.downs += 1
            elif isinstance(event, net.Received):
                try:
                    frame = traffic.decode_frame(event.data)
                except Rejected:
                    continue
                if isinstance(frame.message, Vote):
                    self.height = max(self.height, frame.message.height - 1)


def enter(home: Home, kind: type[Attacker]) -> tuple[Attacker, Mesh]:
    """Return the member whose home this is, as an attacker of a kind, and its network."""
    quiet_logging()
    keys, genesis = unlock_keystore(home.keystore, Secret(PASSPHRASE.encode())), read_genesis(home.genesis)
    member = genesis.member_of(keys.public.sign)
    settings = NetworkSettings(keys.network_seed, ("/ip4/127.0.0.1/tcp/0",), PROTOCOL_VERSION, genesis.chain_id)
    network = create_network(settings, lambda peer, header, size: False)
    network.set_members(dial_map(genesis.first_state(), member, PeerId(keys.public.peer_id)))
    return kind(keys, member, genesis), network


def main(home: Home, kind: str, per_s: int, seconds: float) -> None:
    """Flood, then tell."""
    flooder, network = enter(home, Flooder)
    trio.run(flooder.run, network, kind, per_s, seconds)
    sys.stdout.write(json.dumps({"sent": flooder.sent, "refused": flooder.refused, "cut_off": flooder.downs}) + "\n")


if __name__ == "__main__":
    main(Home(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
