"""What a member announces makes nobody resolve or dial what its own configuration does not allow."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from fednode.crypto import Secret
from fednode.p2p.addresses import parse_multiaddr
from fednode.p2p.libp2p.network import NetworkSettings, _Libp2pHost
from fednode.p2p.reach import CLOUD_METADATA, SPECIAL, check_allow, make_reach

PUBLIC = make_reach((), ("/dns4/fednode.anna.example/tcp/7700", "/ip4/93.184.216.34/tcp/7700", "/ip4/0.0.0.0/tcp/7700"))
INSIDE = make_reach((), ("/ip4/10.1.0.5/tcp/7700", "/ip4/127.0.0.1/tcp/7700", "/dns4/fed.lan/tcp/1"))
LISTED = make_reach(("93.184.216.0/24", "*.clinic.example", "anna.example", "192.168.7.0/24"), ("/ip4/10.1.0.5/tcp/1",))

REFUSED_OUTSIDE = [
    "/ip4/10.0.0.1/tcp/22", "/ip4/172.16.3.4/tcp/80", "/ip4/192.168.1.1/tcp/80", "/ip4/127.0.0.1/tcp/6379",
    "/ip4/169.254.169.254/tcp/80", "/ip4/0.0.0.0/tcp/1", "/ip4/100.64.1.1/tcp/1", "/ip4/224.0.0.1/tcp/1",
    "/ip4/255.255.255.255/tcp/1", "/ip4/198.18.0.1/tcp/1", "/ip6/::1/tcp/1", "/ip6/::/tcp/1", "/ip6/fd00::1/tcp/1",
    "/ip6/fe80::1/tcp/1", "/ip6/fe80::1%eth0/tcp/1", "/ip6/ff02::1/tcp/1", "/ip6/::ffff:10.0.0.1/tcp/1",
    "/ip6/::ffff:127.0.0.1/tcp/1", "/ip6/2002:a00:1::/tcp/1", "/ip6/64:ff9b::a00:1/tcp/1", "/ip6/::10.0.0.1/tcp/1",
    "/ip6/fd00:ec2::254/tcp/80", "/dns4/localhost/tcp/1", "/dns/printer/tcp/9100", "/dns/db.internal/tcp/5432",
    "/dns/router.local/tcp/1", "/dns/1.0.0.10.in-addr.arpa/tcp/1", "/dns4/2130706433/tcp/1", "/dns4/127.1/tcp/1",
    "/dns4/0x7f.1/tcp/1", "/dns4/a b.example/tcp/1", "/dns4/*.example.org/tcp/1", "/dns4/" + "a" * 64 + ".org/tcp/1",
    "/dns4/" + ".".join(["aa"] * 90) + "/tcp/1", "/unix/var/tcp/1", "nonsense", "/ip4/1.2.3.4/tcp/99999", "",
]


@pytest.mark.parametrize("address", REFUSED_OUTSIDE)
def test_a_federation_on_the_internet_dials_nothing_inside(address: str) -> None:
    assert PUBLIC.why_not(address)


@pytest.mark.parametrize("address", [
    "/ip4/93.184.216.35/tcp/7700", "/ip6/2606:2800:220:1::1/tcp/1", "/dns4/new.berta.example.org/tcp/1",
    "/dns4/fednode.anna.example/tcp/1", "/dns/xn--mnchen-3ya.de/tcp/1", "/dns/Example.ORG./tcp/1",
])
def test_it_dials_what_is_public(address: str) -> None:
    assert PUBLIC.why_not(address) is None


def test_a_federation_inside_dials_its_own_ranges_and_no_others() -> None:
    for right in ("/ip4/10.200.0.1/tcp/1", "/ip4/127.0.0.2/tcp/1", "/dns4/fed.lan/tcp/1"):
        assert INSIDE.why_not(right) is None
    for wrong in ("/ip4/192.168.1.1/tcp/1", "/ip4/169.254.169.254/tcp/80", "/dns4/other.lan/tcp/1", "/ip6/::1/tcp/1"):
        assert INSIDE.why_not(wrong)
    assert make_reach((), ("/ip4/169.254.1.1/tcp/1",)).why_not("/ip4/169.254.169.254/tcp/80")
    assert make_reach((), ("/dns4/localhost/tcp/1",)).why_not("/ip4/127.0.0.1/tcp/80") is None


def test_a_list_is_all_that_is_dialled() -> None:
    for right in ("/ip4/93.184.216.1/tcp/1", "/dns/a.b.clinic.example/tcp/1", "/dns/ANNA.example/tcp/1",
                  "/ip4/192.168.7.9/tcp/1"):
        assert LISTED.why_not(right) is None
    for wrong in ("/ip4/93.184.217.1/tcp/1", "/dns/clinic.example/tcp/1", "/dns/evilclinic.example/tcp/1",
                  "/ip4/10.1.0.5/tcp/1", "/dns/x.anna.example/tcp/1", "/ip4/192.168.8.1/tcp/1"):
        assert LISTED.why_not(wrong)
    assert LISTED.may_dial("8.8.8.8")  # a listed name leads there
    assert LISTED.may_dial("10.1.0.5") and not LISTED.may_dial("192.168.8.1")
    assert not LISTED.may_dial("169.254.169.254")
    assert make_reach(("169.254.169.254",), ()).may_dial("169.254.169.254")


@given(st.ip_addresses() | st.sampled_from(SPECIAL).flatmap(lambda network: st.ip_addresses(network=network)))
def test_whatever_is_special_is_not_dialled_from_outside(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    is_special = any(ip in network for network in SPECIAL) or ip in CLOUD_METADATA
    mapped = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None)
    if is_special:
        assert not PUBLIC.may_dial(str(ip))
    if ip.version == 4:
        for wrapped in (f"::ffff:{ip}", str(ipaddress.IPv6Address((0x2002 << 112) | (int(ip) << 80)))):
            assert PUBLIC.may_dial(wrapped) == PUBLIC.may_dial(str(ip))
    elif mapped is None and ip.is_private:
        assert not PUBLIC.may_dial(str(ip)) or str(ip).startswith("2001:")  # documentation and benchmarks go nowhere


@given(st.text(max_size=40) | st.from_regex(r"/(ip4|ip6|dns4?|dns6)/[^/]{0,80}/tcp/[0-9]{1,6}", fullmatch=True))
def test_any_text_gets_a_verdict(text: str) -> None:
    for reach in (PUBLIC, INSIDE, LISTED):
        assert reach.why_not(text) is None or reach.why_not(text)


@pytest.mark.parametrize("entry", ["203.0.113.7", "10.1.0.0/16", "2001:db8::/32", "anna.example", "*.anna.example"])
def test_entries_of_the_list(entry: str) -> None:
    assert check_allow(entry) == entry


@pytest.mark.parametrize("entry", ["", "*", "10.1.0.1/16", "a/b", "-a.example", "1.2.3", "a..b", "/ip4/1.2.3.4/tcp/1"])
def test_entries_that_are_none(entry: str) -> None:
    with pytest.raises(ValueError, match="no address, network or name"):
        check_allow(entry)


def test_where_a_name_leads_is_looked_at_before_anything_is_sent() -> None:
    async def main() -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        target = parse_multiaddr(f"/dns4/localhost/tcp/{port}")

        def host(may_dial: Callable[[str], bool]) -> _Libp2pHost:
            return _Libp2pHost(NetworkSettings(Secret(bytes(32)), ("/ip4/127.0.0.1/tcp/0",), 1, bytes(32), may_dial))

        with pytest.raises(OSError, match="may be dialled"):
            await host(PUBLIC.may_dial)._connect(target)
        with trio.move_on_after(0) as scope:
            await listener.accept()
        assert scope.cancelled_caught
        with trio.fail_after(5):
            stream = await host(INSIDE.may_dial)._connect(target)
            await (await listener.accept()).aclose()
            await stream.aclose()
        await listener.aclose()

    trio.run(main)
