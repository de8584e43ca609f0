"""Where the secure sum keeps its long bodies in the state, and how they are read."""

from __future__ import annotations

from fednode.chain.state import Source
from fednode.crypto import Domain, tagged_hash
from fednode.ids import MemberId
from fednode.ledger.records import SeenRecord
from fednode.sums.bodies import Confirm, Keys, Proof, Recheck, Redeal, ShareRoot


def keys_key(study: bytes, number: int, attempt: int, member: int) -> bytes:
    """Key of the keys a member posted in an attempt."""
    place = number.to_bytes(4, "big") + attempt.to_bytes(2, "big") + member.to_bytes(2, "big")
    return b"keys/" + study + place


def seen_key(point: bytes) -> bytes:
    """Key under which a used key point is remembered."""
    return b"seen/" + point


def coin_seen_key(member: int, head: bytes) -> bytes:
    """Key under which a member's hash chain is remembered.

    Not the head alone: it could be copied from a message that waits in the pools, and its owner would be kept out.
    """
    return seen_key(tagged_hash(Domain.STATE, b"coin head", member.to_bytes(2, "big"), head))


def _key(prefix: bytes, study: bytes, number: int, attempt: int, member: int) -> bytes:
    return prefix + study + number.to_bytes(4, "big") + attempt.to_bytes(2, "big") + member.to_bytes(2, "big")


def share_key(study: bytes, number: int, attempt: int, member: int) -> bytes:
    """Key of the sketch and roots a member posted in an attempt."""
    return _key(b"share/", study, number, attempt, member)


def proof_key(study: bytes, number: int, attempt: int, member: int, part: int) -> bytes:
    """Key of one part of a member's answers to the proofs of an attempt."""
    return _key(b"proof/", study, number, attempt, member) + bytes([part])


def recheck_key(study: bytes, number: int, attempt: int, member: int) -> bytes:
    """Key of what a member found when it added up all masked chunks of an attempt itself."""
    return _key(b"recheck/", study, number, attempt, member)


def redeal_key(study: bytes, number: int, attempt: int, dealer: int, holder: int) -> bytes:
    """Key of what a dealer dealt again to a holder in an attempt."""
    return _key(b"redeal/", study, number, attempt, dealer) + holder.to_bytes(2, "big")


def confirm_key(study: bytes, number: int, attempt: int, member: int) -> bytes:
    """Key of a member's answers to the confirm query of an attempt."""
    return _key(b"confirm/", study, number, attempt, member)


def get_redeal(
    source: Source, study: bytes, number: int, attempt: int, dealer: MemberId, holder: MemberId
) -> Redeal | None:
    """Return what a dealer dealt again to a holder in an attempt of the running round."""
    return source.read(redeal_key(study, number, attempt, dealer, holder), Redeal)


def get_confirm(source: Source, study: bytes, number: int, attempt: int, member: MemberId) -> Confirm | None:
    """Return a member's answers to the confirm query of an attempt of the running round."""
    return source.read(confirm_key(study, number, attempt, member), Confirm)


def get_recheck(source: Source, study: bytes, number: int, attempt: int, member: MemberId) -> Recheck | None:
    """Return what a member found in RECHECK of an attempt of the running round."""
    return source.read(recheck_key(study, number, attempt, member), Recheck)


def get_share_root(source: Source, study: bytes, number: int, attempt: int, member: MemberId) -> ShareRoot | None:
    """Return the sketch and roots a member posted in an attempt of the running round."""
    return source.read(share_key(study, number, attempt, member), ShareRoot)


def get_answers(
    source: Source, study: bytes, number: int, attempt: int, member: MemberId, part: int
) -> Proof | None:
    """Return one part of the answers a member posted in an attempt of the running round."""
    return source.read(proof_key(study, number, attempt, member, part), Proof)


def get_keys(source: Source, study: bytes, number: int, attempt: int, member: MemberId) -> Keys | None:
    """Return the keys a member posted in an attempt of the running round."""
    return source.read(keys_key(study, number, attempt, member), Keys)


def is_point_seen(source: Source, point: bytes) -> bool:
    """Whether a key point was ever used on this chain."""
    return source.read(seen_key(point), SeenRecord) is not None
