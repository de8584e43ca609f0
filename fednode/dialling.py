"""Which addresses can be dialled at all: what a member announces must lead somewhere, and to this member alone. Pure.

An address that nobody can dial is found when it is written down, not by hospitals that wait for a connection: once it
stands in a genesis, only a block can change it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence

_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LONGEST_NAME = 253
"""Characters of a host name (RFC 1035), dots included."""

_PEER_ID = re.compile(r"[1-9A-HJ-NP-Za-km-z]{46,60}")
_FAMILIES = {"ip4": 4, "ip6": 6}
_LIKE = "write it like /dns4/fednode.hospital.example/tcp/7700 or /ip4/192.0.2.1/tcp/7700"


def as_multiaddr(text: str) -> str:
    """Return what people write, `anna.example:7700` or `[2001:db8::1]:7700`, as a multiaddr; all else as it is."""
    host, mark, port = text.strip().rpartition(":")
    if text.startswith("/") or not mark or not host:
        return text
    host = host.removeprefix("[").removesuffix("]")
    try:
        kind = f"ip{ipaddress.ip_address(host).version}"
    except ValueError:
        kind = "dns"
    return f"/{kind}/{host}/tcp/{port}"


def port_of(address: str) -> str:
    """Return the port of a multiaddr that can be dialled."""
    return address.split("/")[4]


def why_undialable(address: str, *, to_listen: bool = False) -> str:
    """Return why no other hospital can dial this multiaddr, and what to write; empty if one could.

    `to_listen`: the address is listened on, so it may name every interface of the machine.
    """
    parts = address.split("/")
    if len(parts) not in (5, 7) or parts[0] or parts[1] not in ("ip4", "ip6", "dns", "dns4", "dns6"):
        return f"it is no address of a TCP socket; {_LIKE}"
    if parts[3] != "tcp" or (len(parts) == 7 and (parts[5] != "p2p" or not parts[6])):
        return f"it is no address of a TCP socket; {_LIKE}"
    if not (parts[4].isascii() and parts[4].isdigit() and len(parts[4]) <= 5 and int(parts[4]) <= 65_535):
        return "its port is no number from 1 to 65535; write the port the daemon listens on"
    if int(parts[4]) == 0:
        return "port 0 is no port that can be dialled; write the one the daemon listens on"
    if len(parts) == 7 and not _PEER_ID.fullmatch(parts[6]):
        return f"'{parts[6]}' is no peer id; leave /p2p/ and what follows out, the card has it"
    return _why_no_ip(parts[1], parts[2], to_listen) if parts[1] in _FAMILIES else _why_no_name(parts[2])


def _why_no_ip(kind: str, host: str, to_listen: bool) -> str:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return f"'{host}' is no IP address; {_LIKE}"
    if ip.version != _FAMILIES[kind]:
        return f"'{host}' is an address of IP version {ip.version}; write /ip{ip.version}/{host}"
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_unspecified and to_listen:
        return ""
    if ip.is_unspecified or (ip.version == 4 and int(ip) < 1 << 24):
        return f"{host} means every interface of a machine and can only be listened on; write the one others reach"
    if ip.is_multicast or (ip.version == 4 and int(ip) >= 240 << 24):
        return f"{host} belongs to no single machine; write the address others reach this one by"
    return ""


def _why_no_name(host: str) -> str:
    labels = host.removesuffix(".").split(".")
    if len(host) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        return f"'{host}' is no host name (letters, digits, hyphens and dots); {_LIKE}"
    if labels[-1].isdigit():
        return f"'{host}' is no host name but numbers; write /ip4/{host} if it is an IP address"
    if labels[-1].lower() == "invalid":
        return f"'{host}' is a name that never exists; write the one others reach this machine by"
    return ""


def is_local(address: str) -> bool:
    """Whether a multiaddr leads every machine to itself: loopback, or a name of it."""
    parts = address.split("/")
    host = parts[2].removesuffix(".").lower() if len(parts) > 2 else ""
    if parts[1:2] and parts[1] in _FAMILIES:
        try:
            ip = ipaddress.ip_address(host)
        except ValueError:
            return False
        return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback
    return host in ("localhost", "localhost.localdomain") or host.endswith(".localhost")


def place_of(address: str) -> tuple[str, str]:
    """Return host and port, the same for every way of writing one place. The multiaddr must be dialable."""
    parts = address.split("/")
    host = parts[2].removesuffix(".").lower()
    if parts[1] in _FAMILIES:
        ip = ipaddress.ip_address(host)
        host = str(getattr(ip, "ipv4_mapped", None) or ip)
    return host, str(int(parts[4]))


def find_shared(groups: Iterable[Sequence[str]]) -> str:
    """Return an address of one group whose place another group has too; empty if there is none."""
    owners: dict[tuple[str, str], int] = {}
    for number, group in enumerate(groups):
        for address in group:
            if not why_undialable(address) and owners.setdefault(place_of(address), number) != number:
                return address
    return ""


def problem_of(addresses: Sequence[str]) -> str:
    """Return what is wrong with a member's addresses, in one sentence that names the one; empty if nothing is."""
    seen: set[tuple[str, ...]] = set()
    for address in addresses:
        if reason := why_undialable(address):
            return f"nobody can dial '{address}': {reason}"
        kind = address.split("/")[1]
        place = ("ip" if kind in _FAMILIES else kind, *place_of(address))  # one name may have both kinds of address
        if place in seen:
            return f"the address '{address}' is there twice; write each once"
        seen.add(place)
    return ""


def warning_about(addresses: Iterable[str]) -> str:
    """Return one sentence that names all addresses which lead every machine to itself; empty if there is none."""
    local = list(dict.fromkeys(address for address in addresses if is_local(address)))
    if not local:
        return ""
    verb = "leads" if len(local) == 1 else "lead"
    return f"{', '.join(local)} {verb} every machine to itself: right for a trial on one machine, no other gets there"
