"""Signers of the simulated members: a keyed hash, or real Ed25519 where a run asks for it."""

from __future__ import annotations

from hashlib import blake2b

from fednode import crypto
from fednode.chain.vote import Member, MemberSet, SignatureCheck
from fednode.crypto import Domain, Ed25519Signer, Secret, Signer
from fednode.ids import Hash, MemberId

CHAIN_ID = Hash(crypto.sha256(b"a simulated chain"))
GENESIS_MS = 1_700_000_000_000


class KeyedHashSigner:
    """Unforgeable within the simulator, which signs for no key it does not hold; 20 times faster."""

    def __init__(self, seed: bytes) -> None:
        self._public = blake2b(seed, digest_size=32).digest()

    @property
    def public_key(self) -> bytes:
        return self._public

    def sign(self, domain: Domain, message: bytes) -> bytes:
        return blake2b(domain.value + message, key=self._public, digest_size=64).digest()


def is_keyed_hash_valid(public_key: bytes, domain: Domain, message: bytes, signature: bytes) -> bool:
    """The check that belongs to `KeyedHashSigner`."""
    return blake2b(domain.value + message, key=public_key, digest_size=64).digest() == signature


def make_members(count: int, is_real: bool = False) -> tuple[MemberSet, dict[MemberId, Signer], SignatureCheck]:
    """Return a member set, its signers and the signature check that fits them."""
    seeds = [bytes([index]) * 32 for index in range(1, count + 1)]
    signers: list[Signer] = [Ed25519Signer(Secret(seed)) if is_real else KeyedHashSigner(seed) for seed in seeds]
    signers.sort(key=lambda signer: signer.public_key)
    by_id = {MemberId(number): signer for number, signer in enumerate(signers, start=1)}
    members = MemberSet(tuple(Member(member, signer.public_key) for member, signer in by_id.items()))
    return members, by_id, crypto.is_signature_valid if is_real else is_keyed_hash_valid
