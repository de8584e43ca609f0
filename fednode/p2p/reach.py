"""Which hosts this daemon resolves and dials. Pure.

Security assumption: a member writes its own addresses, and a block makes them known to all; without this, one member
makes the daemons of the others knock at any machine inside their walls. Names are judged before they are resolved,
and what they resolve to is judged again: whoever owns a name decides where it leads.

    `allow` empty       every public address. A special range (private, loopback, link-local, ...) only where the
                        federation is on it: this daemon's own addresses, or those that the genesis gives.
    `allow` not empty   only what it lists: an address, a network such as 10.1.0.0/16, a name, or *.hospital.example.
                        A name that is listed may be resolved; where it leads must be public, listed, or a range the
                        federation is on.

The address from which clouds hand out credentials is never dialled unless it is listed itself.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fednode.errors import ConfigError
from fednode.p2p.addresses import parse_multiaddr

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SPECIAL: tuple[Network, ...] = tuple(map(ipaddress.ip_network, (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4", "::/96", "100::/64", "fc00::/7", "fe80::/10",
    "fec0::/10", "ff00::/8",
)))
"""Not of the public Internet: the IANA registries of special-purpose addresses (RFC 6890), multicast, site-local."""

CLOUD_METADATA: tuple[Ip, ...] = tuple(map(ipaddress.ip_address, ("169.254.169.254", "fd00:ec2::254")))

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NAME = re.compile(r"(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.?")
_NOT_LISTED = "[network] allow does not list it"
_LOCAL_ENDS = ("local", "localhost", "internal", "intranet", "lan", "home", "corp", "arpa", "test", "invalid", "onion")
"""Last parts of names that no public server answers (RFC 6761, 6762, 8375, and what sites use)."""


def check_allow(entry: str) -> str:
    """Return an entry of the list as it is; raise `ValueError` with cause and fix unless it is one."""
    try:
        ipaddress.ip_network(entry)
    except ValueError:
        if "/" in entry or len(entry) > 253 or not _NAME.fullmatch(entry.lower()) or entry.replace(".", "").isdigit():
            text = f"'{entry}' is no address, network or name; write 203.0.113.7, 10.1.0.0/16, or *.hospital.example"
            raise ValueError(text) from None
    return entry


@dataclass(frozen=True, slots=True)
class Reach:
    """`networks` and `names` are what is listed, `is_listed` whether only that; `home` what the federation is on."""

    networks: tuple[Network, ...] = ()
    names: tuple[str, ...] = ()
    is_listed: bool = False
    home: frozenset[Network] = frozenset()
    home_names: frozenset[str] = frozenset()

    def why_not(self, address: str) -> str | None:
        """Return why a member's multiaddr is not dialled, nor a name in it resolved; None if it may be."""
        try:
            host = parse_multiaddr(address).host
        except ConfigError:
            return "it is no address"
        ip = _ip(host)
        if ip is None:
            return self._why_not_name(host.lower().rstrip("."))
        if self.is_listed and not any(_plain(ip) in network for network in self.networks):
            return _NOT_LISTED
        return self._why_not_ip(ip)

    def may_dial(self, host: str) -> bool:
        """Whether to connect to an address: one that `why_not` let through, or to which such a name leads."""
        ip = _ip(host)
        return ip is not None and self._why_not_ip(ip) is None

    def _why_not_ip(self, ip: Ip) -> str | None:
        ip = _plain(ip)
        if any(ip in network for network in self.networks):
            return None
        if ip in CLOUD_METADATA:
            return "it is the address from which a cloud hands out credentials"
        ranges = [network for network in SPECIAL if ip in network]
        if ranges and not self.home.intersection(ranges):
            return f"it is in the range {ranges[0]}, on which this federation is not"
        return None

    def _why_not_name(self, name: str) -> str | None:
        last = name.rpartition(".")[2]
        if not _NAME.fullmatch(name) or name.startswith("*") or len(name) > 253 or last[:1].isdigit():
            return "it is no name of a host"
        if name in self.home_names or any(_matches(name, pattern) for pattern in self.names):
            return None
        if self.is_listed:
            return _NOT_LISTED
        if last == name or last in _LOCAL_ENDS:
            return "it is a name of a local network"
        return None


def make_reach(allow: Sequence[str], agreed: Iterable[str]) -> Reach:
    """Return what may be dialled: `allow` of the configuration, `agreed` addresses of this daemon and the genesis."""
    networks, names = [], []
    for entry in allow:
        try:
            networks.append(ipaddress.ip_network(check_allow(entry)))
        except ValueError:
            names.append(entry.lower().rstrip("."))
    home: set[Network] = set()
    home_names: set[str] = set()
    for address in agreed:
        try:
            host = parse_multiaddr(address).host
        except ConfigError:
            continue
        ip = _ip(host)
        if ip is None:
            home_names.add(host.lower().rstrip("."))
            if host == "localhost":
                home.update(network for network in SPECIAL if ipaddress.ip_address("127.0.0.1") in network)
                home.update(network for network in SPECIAL if ipaddress.ip_address("::1") in network)
        elif not ip.is_unspecified:
            home.update(network for network in SPECIAL if _plain(ip) in network)
    listed = tuple(networks), tuple(names), bool(allow)
    return Reach(*listed, frozenset(home), frozenset(() if allow else home_names))


def _ip(host: str) -> Ip | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _plain(ip: Ip) -> Ip:
    """Return the IPv4 address inside an IPv6 one that only wraps it: what is dialled in the end."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    teredo = ip.teredo
    return ip.ipv4_mapped or ip.sixtofour or (teredo[1] if teredo is not None else ip)


def _matches(name: str, pattern: str) -> bool:
    return name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern
