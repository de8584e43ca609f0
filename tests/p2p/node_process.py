"""One node as a process of its own: reads commands, prints one JSON object per event. Run by test_processes.py."""

from __future__ import annotations

import json
import sys

import trio

from fednode.crypto import Secret
from fednode.ids import PeerId
from fednode.p2p.libp2p.network import NetworkSettings, create_network
from fednode.p2p.mesh import Mesh
from fednode.p2p.network import BlobReceived, PeerDown, PeerUp, Received


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201  this is how it speaks to the test


async def obey(network: Mesh, nursery: trio.Nursery) -> None:
    async for line in trio.wrap_file(sys.stdin):
        verb, *arguments = json.loads(line)
        if verb == "members":
            network.set_members({PeerId(peer): tuple(addresses) for peer, addresses in arguments[0].items()})
        elif verb == "send":
            say(sent=network.send(PeerId(arguments[0]), arguments[1].encode()))
        elif verb == "blob":
            say(sent=network.send_blob(PeerId(arguments[0]), b"", bytes(arguments[1])))
    nursery.cancel_scope.cancel()


async def report(network: Mesh) -> None:
    while True:
        match await network.receive():
            case PeerUp(peer):
                say(up=peer)
            case PeerDown(peer, reason):
                say(down=peer, reason=reason)
            case Received(peer, data):
                say(frame=data.decode(), peer=peer)
            case BlobReceived(peer, _, data):
                say(blob=len(data), peer=peer)


async def main(seed: bytes, address: str) -> None:
    network = create_network(
        NetworkSettings(Secret(seed), (address,), 1, bytes(32)), lambda peer, header, size_bytes: True
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        say(me=network.me, listening=network.listening)
        nursery.start_soon(report, network)
        nursery.start_soon(obey, network, nursery)


if __name__ == "__main__":
    trio.run(main, bytes.fromhex(sys.argv[1]), sys.argv[2])
