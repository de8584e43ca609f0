from __future__ import annotations

import pytest
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID

from fednode.errors import ConfigError
from fednode.p2p.addresses import SocketAddress, format_multiaddr, parse_multiaddr, peer_id_of


@pytest.mark.parametrize("seed", [bytes(32), bytes(range(32)), b"\xff" * 32])
def test_peer_ids_are_those_of_libp2p(seed: bytes) -> None:
    public_key = create_new_key_pair(seed).public_key
    assert peer_id_of(public_key.to_bytes()) == ID.from_pubkey(public_key).to_base58()


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("/ip4/192.0.2.1/tcp/7700", "192.0.2.1", 7700),
        ("/ip6/::1/tcp/0", "::1", 0),
        ("/dns4/node.example.org/tcp/65535", "node.example.org", 65535),
        ("/ip4/192.0.2.1/tcp/7700/p2p/12D3KooW", "192.0.2.1", 7700),
    ],
)
def test_addresses_parse(text: str, host: str, port: int) -> None:
    assert parse_multiaddr(text) == SocketAddress(host, port)


@pytest.mark.parametrize("text", ["", "192.0.2.1:7700", "/ip4/192.0.2.1/udp/7700", "/ip4//tcp/1", "/ip4/a/tcp/70000"])
def test_what_is_no_address_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="address of the form|no port"):
        parse_multiaddr(text)


def test_formatting_is_the_inverse() -> None:
    for text in ("/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/2"):
        address = parse_multiaddr(text)
        assert format_multiaddr(address.host, address.port) == text
