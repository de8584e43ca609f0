"""Imports libp2p without the packages of transports that are never used here. Import it before anything of libp2p.

`import libp2p` loads every transport it knows: QUIC, WebSocket, WebRTC, UPnP, mDNS, automatic TLS and metrics, about
450 modules of other packages. Left out they save 29 MB of resident memory and a quarter of a second per daemon, most
of what the network layer costs (measured with 0.8.1 on Python 3.11). 150 modules of its own, for other ways to find
and reach peers, are a third of the time that is left. All are replaced only while libp2p is being imported, and only
where nobody imported them before; anything that did use one would fail by name.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

UNUSED_PACKAGES = frozenset(
    {
        "Crypto",  # with coincurve and fastecdsa: keys that are not Ed25519, which no member has
        "OpenSSL",  # with service_identity: certificates of QUIC
        "aioquic",
        "coincurve",
        "dns",  # resolver of /dnsaddr; host names are resolved by the system
        "fastecdsa",
        "httpx",  # automatic TLS
        "miniupnpc",  # port mapping
        "prometheus_client",
        "requests",  # port mapping
        "service_identity",
        "trio_websocket",
        "wsproto",
        "zeroconf",  # mDNS
    }
)

UNUSED_PARTS = frozenset(
    {
        "libp2p.bitswap",  # blocks by content, with the metrics of it
        "libp2p.discovery",  # peers are the members on the ledger
        "libp2p.kad_dht",
        "libp2p.peer.persistent",  # the peer store is in memory
        "libp2p.records",  # of the DHT
        "libp2p.relay",  # every member reaches every other
    }
)
"""Each is only named where the library is told to use it, and nothing of it is caught as an exception elsewhere."""


def _is_unused(name: str) -> bool:
    return name.partition(".")[0] in UNUSED_PACKAGES or any(
        name == part or name.startswith(part + ".") for part in UNUSED_PARTS
    )


class _AbsentType(type):
    """A class whose attributes are such classes again, enough for base classes and annotations."""

    def __getattr__(cls, name: str) -> type:
        return _absent(f"{cls.__name__}.{name}")


def _absent(name: str) -> type:
    if name.rpartition(".")[2].startswith("__"):
        raise AttributeError(name)

    def create(self: object, *args: object, **kwargs: object) -> None:
        """The library creates a resolver at import; creating is harmless."""

    def refuse(self: object, attribute: str) -> None:
        raise RuntimeError(f"{name}.{attribute} is left out by fednode.p2p.libp2p.light")

    return _AbsentType(name, (), {"__init__": create, "__getattr__": refuse})


class _AbsentModule(ModuleType):
    def __getattr__(self, name: str) -> type:
        return _absent(f"{self.__name__}.{name}")


class _AbsentFinder(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if _is_unused(fullname) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _AbsentModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


@contextmanager
def _left_out() -> Iterator[None]:
    finder = _AbsentFinder()
    sys.meta_path.insert(0, finder)
    is_collecting = gc.isenabled()
    gc.disable()  # all that is loaded stays, and need not be looked through on the way
    try:
        yield
    finally:
        if is_collecting:
            gc.enable()
        sys.meta_path.remove(finder)
        for name, module in tuple(sys.modules.items()):
            if isinstance(module, _AbsentModule):
                del sys.modules[name]


with _left_out():
    import libp2p  # noqa: F401
