"""Everything that meets py-libp2p: its parts that are used, wrapped or replaced."""

from fednode.p2p.libp2p import light  # noqa: F401  before any import of libp2p
