"""Addresses that lead nowhere, to everybody or to several members are found where they are written down."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.dialling import find_shared, is_local, place_of, problem_of, warning_about, why_undialable
from fednode.p2p.addresses import parse_multiaddr

GOOD = (
    "/ip4/192.0.2.1/tcp/7700",
    "/ip4/10.0.0.3/tcp/1",
    "/ip6/2001:db8::7/tcp/65535",
    "/dns4/a.example/tcp/7700",
    "/dns/fed-node.anna.example./tcp/7700",
    "/dns6/single/tcp/80",
    "/ip4/127.0.0.1/tcp/7700",
    "/dns4/localhost/tcp/7700",
    "/dns4/a_b.example/tcp/7700",
    "/ip4/192.0.2.1/tcp/7700/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN",
    "/ip6/::1/tcp/5",
    "/ip6/fe80::1/tcp/5",
)
BAD = {
    "/ip4/0.0.0.0/tcp/7700": "every interface",
    "/ip6/::/tcp/7700": "every interface",
    "/ip4/0.1.2.3/tcp/7700": "every interface",
    "/ip6/::ffff:0.0.0.0/tcp/7700": "every interface",
    "/ip4/192.0.2.1/tcp/0": "port 0",
    "/dns4/a.example/tcp/00": "port 0",
    "/ip4/192.0.2.1/tcp/65536": "1 to 65535",
    "/ip4/192.0.2.1/tcp/-1": "1 to 65535",
    "/ip4/192.0.2.1/tcp/": "1 to 65535",
    "/ip4/192.0.2.1/tcp/7x": "1 to 65535",
    "/ip4/192.0.2.1/tcp/\u0667": "1 to 65535",
    "/ip4/192.0.2.256/tcp/1": "no IP address",
    "/ip4/a.example/tcp/1": "no IP address",
    "/ip6/:::/tcp/1": "no IP address",
    "/ip4/2001:db8::7/tcp/1": "write /ip6/",
    "/ip6/192.0.2.1/tcp/1": "write /ip4/",
    "/ip4/224.0.0.1/tcp/1": "no single machine",
    "/ip4/255.255.255.255/tcp/1": "no single machine",
    "/ip4/240.0.0.1/tcp/1": "no single machine",
    "/ip6/ff02::1/tcp/1": "no single machine",
    "/dns4/192.0.2.1/tcp/1": "write /ip4/192.0.2.1",
    "/dns4/a..b/tcp/1": "no host name",
    "/dns4/-a.example/tcp/1": "no host name",
    "/dns4/a b/tcp/1": "no host name",
    "/dns4//tcp/1": "no host name",
    "/dns4/b\u00fccher.example/tcp/1": "no host name",
    f"/dns4/{'a' * 64}.example/tcp/1": "no host name",
    f"/dns4/{'a.' * 127}/tcp/1": "no host name",
    "/dns4/anna.invalid/tcp/1": "never exists",
    "fednode.anna.example:7700": "TCP socket",
    "": "TCP socket",
    "/": "TCP socket",
    "/ip4/192.0.2.1/udp/7700": "TCP socket",
    "/ip4/192.0.2.1/tcp/1/p2p/": "TCP socket",
    "/ip4/192.0.2.1/tcp/1/p2p/xx": "no peer id",
    "/unix/x/tcp/1": "TCP socket",
    "/ip4/192.0.2.1/tcp/1/quic/x": "TCP socket",
}


@pytest.mark.parametrize("address", GOOD)
def test_addresses_that_lead_somewhere(address: str) -> None:
    assert why_undialable(address) == "" == problem_of([address])
    parse_multiaddr(address)


@pytest.mark.parametrize("address", BAD)
def test_addresses_that_lead_nowhere(address: str) -> None:
    assert BAD[address] in why_undialable(address)
    assert f"nobody can dial '{address}'" in problem_of([GOOD[0], address])


def test_only_a_wildcard_may_be_listened_on_besides() -> None:
    for address in (*GOOD, *BAD):
        may = why_undialable(address, to_listen=True) == ""
        assert may == (
            address in GOOD or address in ("/ip4/0.0.0.0/tcp/7700", "/ip6/::/tcp/7700", "/ip6/::ffff:0.0.0.0/tcp/7700")
        )


@given(st.text(alphabet="/ip46dnstcpu0123456789.:-ax ", max_size=40) | st.text(max_size=30))
def test_any_text_gives_a_verdict_and_what_passes_can_be_read(text: str) -> None:
    if why_undialable(text) == "":
        address = parse_multiaddr(text)
        assert 1 <= address.port <= 65_535 and place_of(text)[1] == str(address.port)
    is_local(text), warning_about([text]), problem_of([text, text]), find_shared([[text], [text]])


@given(st.ip_addresses(), st.integers(1, 65_535))
def test_an_ip_address_leads_to_one_machine_or_is_named(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    address = f"/ip{ip.version}/{ip}/tcp/{port}"
    plain = getattr(ip, "ipv4_mapped", None) or ip
    nowhere = (
        plain.is_unspecified
        or plain.is_multicast
        or (plain.version == 4 and (plain.packed[0] == 0 or plain.packed[0] >= 240))
    )
    assert bool(why_undialable(address)) == nowhere
    assert is_local(address) == plain.is_loopback


@pytest.mark.parametrize(
    "address",
    [
        "/ip4/127.0.0.1/tcp/1",
        "/ip4/127.9.9.9/tcp/1",
        "/ip6/::1/tcp/1",
        "/ip6/::ffff:127.0.0.1/tcp/1",
        "/dns4/localhost/tcp/1",
        "/dns/LocalHost./tcp/1",
        "/dns6/x.localhost/tcp/1",
    ],
)
def test_places_that_every_machine_is_itself(address: str) -> None:
    assert is_local(address) and address in warning_about([GOOD[0], address, address])
    assert warning_about([address, address]).count(address) == 1


def test_one_place_written_twice() -> None:
    for first, second in (
        ("/ip4/192.0.2.1/tcp/7700", "/ip4/192.0.2.1/tcp/07700"),
        ("/dns4/A.example/tcp/1", "/dns4/a.example./tcp/1"),
        ("/ip6/2001:db8::7/tcp/1", "/ip6/2001:0db8:0:0::7/tcp/1"),
        ("/ip4/192.0.2.1/tcp/1", "/ip6/::ffff:192.0.2.1/tcp/1"),
        ("/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.1/tcp/1/p2p/" + "Q" * 46),
    ):
        assert f"'{second}' is there twice" in problem_of([first, second])
        assert find_shared([[first], [second]]) == second and find_shared([[first, second], []]) == ""
    both = ["/dns4/a.example/tcp/1", "/dns6/a.example/tcp/1"]
    assert problem_of(both) == "", "a name may have addresses of both kinds"
    assert find_shared([both[:1], both[1:]]), "but not two owners"
    assert find_shared([["/dns4/a.example/tcp/1"], ["/dns4/a.example/tcp/2"], ["nonsense"], ["nonsense"]]) == ""
