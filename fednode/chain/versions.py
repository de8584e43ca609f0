"""The version of the application's rules that is in force at a height, as headers name it.

Security assumption: every member runs a program that applies the same rules to a height. Which version is in force
at a height is the application's to decide, and is named by every header; a node that does
not know a version stops before the first block of it, so that it neither forks nor stands in the others' way.

This is not the version two programs agree on when they connect (`ids.PROTOCOL_VERSION`): releases on both sides of an
activation talk to each other, or nobody could be upgraded while the others run.
"""

from __future__ import annotations

from collections.abc import Collection

from fednode.codec import pack
from fednode.crypto import Domain, tagged_hash
from fednode.errors import Rejected
from fednode.ids import Hash


def compute_params_hash(version: int) -> Hash:
    """Return what a header names the version of the *next* height by, as `next_members_hash` names its members."""
    return tagged_hash(Domain.BLOCK, b"params", pack((version,)))


def describe_unknown(version: int, height: int, release: str, versions: Collection[int]) -> str:
    """Return, in one sentence, why a program that knows `versions` cannot go on at `height`, and what to install."""
    known = ", ".join(map(str, sorted(versions)))
    return (
        f"the members decided that protocol version {version} is in force from block {height} on, this program knows "
        f"{known}: install fednode {release or 'of the other members'} or later and start it again; nothing is lost"
    )


def check_version(version: int, height: int, versions: Collection[int], params_hash: bytes | None = None) -> None:
    """Raise `Rejected` unless the version of the block at `height` is among those known here.

    `params_hash`: what the header before it names the version by, None where that header is not known.
    """
    if params_hash is not None and compute_params_hash(version) != params_hash:
        raise Rejected(f"version {version} is not the protocol version that the block before names for it")
    if version not in versions:
        raise Rejected(describe_unknown(version, height, "", versions))
