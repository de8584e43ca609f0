"""Hospitals of tests: keys from their names, and their identity cards."""

from __future__ import annotations

from functools import cache

from fednode.crypto import Ed25519Signer, Secret
from fednode.ledger.members.identity import IdentityCard, make_identity_card
from tests.support.seeds import seed_of


def signer_of(name: str, kind: str = "sign") -> Ed25519Signer:
    """Return the key of a hospital that signs votes and transactions, or (`kind` "network") its connections."""
    return Ed25519Signer(Secret(seed_of(name, kind)))


@cache
def make_card(name: str) -> IdentityCard:
    """Return the identity card of a hospital."""
    return make_identity_card(name, ("/ip4/127.0.0.1/tcp/4001",), signer_of(name), signer_of(name, "network"))


def make_cards(count: int) -> list[IdentityCard]:
    """Return the cards of `count` hospitals."""
    return [make_card(f"hospital-{number}") for number in range(count)]
