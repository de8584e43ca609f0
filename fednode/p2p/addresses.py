"""Multiaddrs of TCP sockets and peer ids, without the libraries for them. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from fednode.errors import ConfigError
from fednode.ids import PeerId

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_HOST_KINDS = ("ip4", "ip6", "dns", "dns4", "dns6")
_IPV6_SITE_BITS = 64
_IDENTITY_ED25519 = bytes.fromhex("002408011220")
"""Identity multihash (code 0, 36 bytes) of the protobuf {key type: Ed25519, data: 32 bytes}."""


def peer_id_of(network_public_key: bytes) -> PeerId:
    """Return the peer id of a 32-byte Ed25519 public key (libp2p specification, peer-ids)."""
    if len(network_public_key) != 32:
        raise ValueError("an Ed25519 public key has 32 bytes")
    number = int.from_bytes(_IDENTITY_ED25519 + network_public_key, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    return PeerId("1" + digits)  # the leading zero byte is written as "1"


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """Host and port of a multiaddr."""

    host: str
    port: int


def parse_multiaddr(text: str) -> SocketAddress:
    """Parse `/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT`, ignoring a trailing `/p2p/ID`; raises `ConfigError`."""
    parts = text.split("/")
    is_known = len(parts) in (5, 7) and parts[0] == "" and parts[1] in _HOST_KINDS and parts[3] == "tcp"
    if not is_known or (len(parts) == 7 and parts[5] != "p2p") or not parts[2]:
        raise ConfigError(f"{text!r} is not an address of the form /ip4/192.0.2.1/tcp/7700.")
    if not (parts[4].isascii() and parts[4].isdigit() and int(parts[4]) <= 65_535):
        raise ConfigError(f"{text!r} has no port between 0 and 65535.")
    return SocketAddress(parts[2], int(parts[4]))


def format_multiaddr(host: str, port: int) -> str:
    """Return the multiaddr of a numeric host and a port."""
    return f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{port}"


def source_of(host: str) -> str:
    """Return what strangers at an address are counted by: an IPv4 address, the site of an IPv6 one, or the text."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((int(address), _IPV6_SITE_BITS), strict=False).network_address)
        address = address.ipv4_mapped
    return str(address)
