"""Every primitive the node uses, in one place, but for `keystream`: the only file that imports PyNaCl.

Security assumptions: SHA-256 is collision resistant; Ed25519 as libsodium verifies it (strict: canonical s,
no small-order keys) is unforgeable; discrete logarithms in the prime-order subgroup of edwards25519 are hard;
X25519 sealed boxes, XSalsa20-Poly1305, AES-128 and Argon2id are what their names promise. Every signature carries
a domain tag, so one made for a block, a transaction or a handshake is worthless anywhere else.

Scalars are Python integers in [0, GROUP_ORDER); points are their 32-byte encodings.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

from nacl import bindings, exceptions, pwhash, secret
from nacl.public import PrivateKey, PublicKey, SealedBox

from fednode.errors import KeystoreError, Rejected
from fednode.ids import Hash
from fednode.kernels.library import MAX_INDEX, POINT_BYTES, are_commitments, base_less, evaluate_commitments

GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
"""Order of the prime-order subgroup of edwards25519 (RFC 8032, section 5.1)."""

COFACTOR = 8
"""Points of edwards25519 for each point of the subgroup."""

IDENTITY = b"\x01" + bytes(31)
"""The neutral element, which no message may carry as a point."""

SIGNATURE_BYTES = 64
SEALED_OVERHEAD_BYTES = 48
"""Bytes a sealed box adds: an ephemeral X25519 key and a Poly1305 tag."""

T = TypeVar("T")


class Domain(bytes, Enum):
    """Domain tags of signatures and hashes; part of the protocol, never reused for something else."""

    PROPOSAL = b"fednode/1/proposal"
    PREVOTE = b"fednode/1/prevote"
    PRECOMMIT = b"fednode/1/precommit"
    TRANSACTION = b"fednode/1/transaction"
    IDENTITY_CARD = b"fednode/1/identity-card"
    POSSESSION = b"fednode/1/possession"
    CHECKPOINT = b"fednode/1/checkpoint"
    GENESIS = b"fednode/1/genesis"
    BLOCK = b"fednode/1/block"
    STUDY = b"fednode/1/study"
    MODEL = b"fednode/1/model"
    STATE = b"fednode/1/state"
    ROUND = b"fednode/1/round"
    PRESENCE = b"fednode/1/presence"
    SUCCESSION = b"fednode/1/succession"


class Secret(Generic[T]):
    """Holds a value that must never be printed, logged or journalled; `reveal()` is easy to grep for."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """Return the value itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(...)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a Secret is never serialised")


@dataclass(frozen=True, slots=True)
class Verified(Generic[T]):
    """A message whose signature has been checked against `sender`'s key on the ledger."""

    value: T
    sender: int


class Entropy(Protocol):
    """Source of unpredictable bytes: the operating system in a node, a seeded stream in the simulator."""

    def random_bytes(self, count: int) -> bytes:
        """Return `count` fresh bytes."""
        ...


class Signer(Protocol):
    """Signs for one member without showing its key."""

    @property
    def public_key(self) -> bytes:
        """The 32-byte Ed25519 key."""
        ...

    def sign(self, domain: Domain, message: bytes) -> bytes:
        """Return the 64-byte signature over the domain tag and `message`."""
        ...


# --- hashes ---------------------------------------------------------------------------------------------------

def sha256(*parts: bytes | bytearray | memoryview) -> Hash:
    """Return SHA-256 of the concatenation of `parts`."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return Hash(digest.digest())


class Sha256:
    """SHA-256 of what comes part by part."""

    __slots__ = ("_digest",)

    def __init__(self, begun: hashlib._Hash | None = None) -> None:
        self._digest = hashlib.sha256() if begun is None else begun

    def update(self, part: bytes | bytearray | memoryview) -> None:
        """Take the next part."""
        self._digest.update(part)

    def digest(self) -> Hash:
        """Return the hash of all parts so far, joined."""
        return Hash(self._digest.digest())


def tagged_hash(domain: Domain, *parts: bytes | bytearray | memoryview) -> Hash:
    """Return SHA-256 over the length-prefixed domain tag and length-prefixed parts, so parts cannot be shifted."""
    return Hash(_prefixed(domain, parts).digest())


def begin_tagged_hash(domain: Domain, *parts: bytes, last_bytes: int) -> Sha256:
    """Return a `tagged_hash` that lacks only its last part, of `last_bytes`, which the caller adds piece by piece."""
    digest = _prefixed(domain, parts)
    digest.update(last_bytes.to_bytes(8, "big"))
    return Sha256(digest)


def _prefixed(domain: Domain, parts: Iterable[bytes | bytearray | memoryview]) -> hashlib._Hash:
    digest = hashlib.sha256()
    for part in (domain.value, *parts):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest


def hkdf_sha256(key: bytes, context: bytes, length_bytes: int = 32, salt: bytes = b"") -> bytes:
    """Derive `length_bytes` (at most 8160) from `key` for one `context` (HKDF, RFC 5869)."""
    extracted = hmac.digest(salt or bytes(32), key, "sha256")
    output, block, counter = b"", b"", 1
    while len(output) < length_bytes:
        block = hmac.digest(extracted, block + context + bytes([counter]), "sha256")
        output, counter = output + block, counter + 1
    return output[:length_bytes]


# --- signatures -----------------------------------------------------------------------------------------------

class Ed25519Signer:
    """Signs with a key held in memory."""

    __slots__ = ("_public", "_secret")

    def __init__(self, seed: Secret[bytes]) -> None:
        self._public, secret_key = bindings.crypto_sign_seed_keypair(seed.reveal())
        self._secret = Secret(secret_key)

    @property
    def public_key(self) -> bytes:
        """The 32-byte Ed25519 key."""
        return self._public

    def sign(self, domain: Domain, message: bytes) -> bytes:
        """Return the 64-byte signature over the domain tag and `message`."""
        return bindings.crypto_sign(_signed_bytes(domain, message), self._secret.reveal())[:SIGNATURE_BYTES]


def _signed_bytes(domain: Domain, message: bytes) -> bytes:
    return bytes([len(domain.value)]) + domain.value + message


def is_signature_valid(public_key: bytes, domain: Domain, message: bytes, signature: bytes) -> bool:
    """Check a signature by libsodium's strict rule, the only Ed25519 rule in this project."""
    return is_raw_signature_valid(public_key, _signed_bytes(domain, message), signature)


def is_raw_signature_valid(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """The same check without a domain tag: for published test vectors and for `is_signature_valid`."""
    if len(public_key) != 32 or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        bindings.crypto_sign_open(signature + message, public_key)
    except exceptions.BadSignatureError:
        return False
    return True


def is_member_key_valid(public_key: bytes) -> bool:
    """Whether a signing key is a canonical point of the prime-order subgroup, so it has no second encoding."""
    return is_point_valid(public_key)


# --- public-key encryption ------------------------------------------------------------------------------------

def x25519_public(secret_key: Secret[bytes]) -> bytes:
    """Return the 32-byte X25519 public key of a 32-byte secret key."""
    return bytes(PrivateKey(secret_key.reveal()).public_key)


def x25519(secret_key: Secret[bytes], public_key: bytes) -> bytes:
    """Return the shared X25519 secret (RFC 7748); raise `Rejected` for a low-order public key."""
    try:
        return bindings.crypto_scalarmult(secret_key.reveal(), public_key)
    except (exceptions.RuntimeError, exceptions.TypeError, exceptions.ValueError):
        raise Rejected("low-order X25519 key") from None


def seal(recipient: bytes, message: bytes) -> bytes:
    """Encrypt to an X25519 key (libsodium sealed box); 48 bytes longer. Anonymous: bind the sender inside."""
    return SealedBox(PublicKey(recipient)).encrypt(message)


def seal_from(ephemeral: Secret[bytes], recipient: bytes, message: bytes) -> bytes:
    """Seal with a given 32-byte ephemeral key, so that the same box can be made again; `unseal` opens it.

    The ephemeral key must be as secret and as unpredictable as the message and serve for one box only: the nonce is a
    hash of both public keys. Raises `Rejected` for a low-order recipient key.
    """
    public = x25519_public(ephemeral)
    nonce = hashlib.blake2b(public + recipient, digest_size=24).digest()
    try:
        return public + bindings.crypto_box_easy(message, nonce, recipient, ephemeral.reveal())
    except (exceptions.CryptoError, exceptions.TypeError, exceptions.ValueError):
        raise Rejected("low-order X25519 key") from None


def unseal(secret_key: Secret[bytes], box: bytes) -> bytes:
    """Open a sealed box; raise `Rejected` if it was not made for this key or was changed."""
    try:
        return SealedBox(PrivateKey(secret_key.reveal())).decrypt(box)
    except (exceptions.CryptoError, exceptions.TypeError, exceptions.ValueError):
        raise Rejected("sealed box does not open") from None


# --- encryption at rest ---------------------------------------------------------------------------------------

ARGON2_MEMORY_BYTES = 64 * 1024 * 1024
ARGON2_PASSES = 3
ARGON2_SALT_BYTES = 16


def derive_passphrase_key(passphrase: Secret[bytes], salt: bytes) -> Secret[bytes]:
    """Turn a passphrase into a 32-byte key: Argon2id, 64 MiB, 3 passes (RFC 9106), about 0.2 s."""
    return Secret(
        pwhash.argon2id.kdf(
            32, passphrase.reveal(), salt, opslimit=ARGON2_PASSES, memlimit=ARGON2_MEMORY_BYTES
        )
    )


def encrypt_at_rest(key: Secret[bytes], message: bytes) -> bytes:
    """Encrypt and authenticate for our own disk (XSalsa20-Poly1305, random nonce); 40 bytes longer."""
    return bytes(secret.SecretBox(key.reveal()).encrypt(message))


def decrypt_at_rest(key: Secret[bytes], box: bytes) -> bytes:
    """Open what `encrypt_at_rest` made; raise `KeystoreError` if the key is another one or a byte was changed."""
    try:
        return secret.SecretBox(key.reveal()).decrypt(box)
    except (exceptions.CryptoError, exceptions.ValueError):
        raise KeystoreError("this file does not open with this key: wrong passphrase, or the file is damaged") from None


# --- the group ------------------------------------------------------------------------------------------------

def is_point_valid(point: bytes) -> bool:
    """Whether 32 bytes are a canonical, prime-order point other than the identity."""
    return len(point) == 32 and bool(bindings.crypto_core_ed25519_is_valid_point(point))


def random_scalar(entropy: Entropy) -> int:
    """Return a uniform scalar in [1, GROUP_ORDER); bias below 2^-250."""
    while True:
        value = int.from_bytes(entropy.random_bytes(64), "little") % GROUP_ORDER
        if value:
            return value


def scalar_bytes(value: int) -> bytes:
    """Return the 32-byte little-endian encoding of a scalar in [0, GROUP_ORDER)."""
    if not 0 <= value < GROUP_ORDER:
        raise ValueError("scalar out of range")
    return value.to_bytes(32, "little")


def scalar_from_bytes(data: bytes) -> int:
    """Decode a canonical 32-byte scalar; raise `Rejected` if it is not below GROUP_ORDER."""
    value = int.from_bytes(data, "little")
    if len(data) != 32 or value >= GROUP_ORDER:
        raise Rejected("scalar is not canonical")
    return value


def base_times(value: int) -> bytes:
    """Return value * G for a non-zero scalar (zero has no valid point and raises `ValueError`)."""
    if value % GROUP_ORDER == 0:
        raise ValueError("zero times the base point is the identity, which no message may carry")
    return bindings.crypto_scalarmult_ed25519_base_noclamp(scalar_bytes(value % GROUP_ORDER))


def point_times(value: int, point: bytes) -> bytes:
    """Return value * point; `point` must have passed `is_point_valid`, the scalar must not be zero."""
    return bindings.crypto_scalarmult_ed25519_noclamp(scalar_bytes(value), point)


def point_add(left: bytes, right: bytes) -> bytes:
    """Return left + right. The sum of a point and its negative is the identity: callers compare, never re-use it."""
    return bindings.crypto_core_ed25519_add(left, right)


def are_commitments_valid(commitments: Sequence[bytes]) -> bool:
    """Whether a dealer's commitments may be used: C_0, a key, passes `is_point_valid`; the rest need a little less.

    They are canonical points that are not of small order; a part of small order in them means nothing to anybody, for
    every check of a share takes it away (`is_share_valid`). Ten times faster than the strict check of each.
    """
    if not commitments or any(len(point) != POINT_BYTES for point in commitments):
        return False
    return is_point_valid(commitments[0]) and are_commitments(b"".join(commitments[1:]))


def is_share_valid(commitments: Sequence[bytes], index: int, share: int) -> bool:
    """Check 8 share * G == 8 sum_k index^k * C_k (Feldman 1987): the share lies on the committed polynomial.

    Security assumption: `commitments` have passed `are_commitments_valid` (none that is not even a point comes
    through here); `index` is the holder's MemberId, 1 or more. Write C_k = c_k G + t_k, c_k modulo GROUP_ORDER and t_k
    of order 1, 2, 4 or 8: both are unique, and t_0 = 0. The factor 8 takes every t_k away, so the check holds exactly
    if share = sum_k c_k index^k. It is the same for all who check: a holder, the rule for an answered complaint, and
    whoever rebuilds a secret come to one verdict, and any T valid shares give c_0, the scalar of C_0 itself. Without
    the factor the verdict would hang on index modulo 8, and a dealer could be right for some holders and, for the same
    polynomial, wrong for others. `share` enters only in a multiplication by libsodium, in constant time.
    """
    if not 0 < share < GROUP_ORDER or not 1 <= index <= MAX_INDEX:
        return False
    if any(len(point) != POINT_BYTES for point in commitments):
        return False
    return evaluate_commitments(b"".join(commitments), index) == base_times(COFACTOR * share)


def prove_knowledge(scalar: int, context: bytes, entropy: Entropy) -> bytes:
    """Schnorr proof (64 bytes: R, s) that the maker of `scalar` * G knows `scalar`, bound to `context`.

    Without it a member could post a copy of another's key point first and have the owner's refused as 'seen'.
    """
    nonce = random_scalar(entropy)
    point, commitment = base_times(scalar), base_times(nonce)
    challenge = _schnorr_challenge(point, commitment, context)
    return commitment + scalar_bytes((nonce + challenge * scalar) % GROUP_ORDER)


def is_knowledge_proven(point: bytes, context: bytes, proof: bytes) -> bool:
    """Check a proof of `prove_knowledge` for a point that passed `is_point_valid`.

    R must be the encoding of s G - c P: a point of the prime-order group then, as G and P are; it is not the identity.
    """
    if len(proof) != 64 or proof[:32] == IDENTITY:
        return False
    response = int.from_bytes(proof[32:], "little")
    if not 0 < response < GROUP_ORDER:
        return False
    challenge = _schnorr_challenge(point, proof[:32], context)
    if challenge == 0:
        return False
    return base_less(proof[32:], scalar_bytes(challenge), point) == proof[:32]


def _schnorr_challenge(point: bytes, commitment: bytes, context: bytes) -> int:
    parts = b"fednode/1/schnorr" + point + commitment + context
    return int.from_bytes(hashlib.sha512(parts).digest(), "little") % GROUP_ORDER
