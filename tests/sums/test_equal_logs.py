"""The proof that two points have one logarithm: it holds for what was proven, and for nothing else."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode.crypto import GROUP_ORDER, base_times, point_add, point_times, scalar_bytes
from fednode.errors import Rejected
from fednode.sums import equal_logs
from fednode.sums.equal_logs import are_logs_equal, prove_equal_logs

SCALARS = st.integers(1, GROUP_ORDER - 1)
LOW_ORDER = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")  # order 8
IDENTITY = b"\x01" + bytes(31)
SCALAR, BASE = 123456789, base_times(987654321)
POINT, SHARED = base_times(SCALAR), point_times(SCALAR, BASE)


class Repeated:
    """Entropy that gives the same bytes again, as after a restart."""

    def random_bytes(self, count: int) -> bytes:
        return hashlib.shake_256(b"the same again").digest(count)


def proven(context: bytes = b"here") -> bytes:
    return prove_equal_logs(SCALAR, BASE, context, Repeated())


@given(SCALARS, SCALARS, st.binary(max_size=100))
@settings(max_examples=20)
def test_what_is_so_is_proven(scalar: int, other: int, context: bytes) -> None:
    base = base_times(other)
    proof = prove_equal_logs(scalar, base, context, Repeated())
    assert len(proof) == 64
    assert are_logs_equal(base_times(scalar), base, point_times(scalar, base), context, proof)


def test_it_fits_nothing_else() -> None:
    proof = proven()
    assert are_logs_equal(POINT, BASE, SHARED, b"here", proof)
    wrong = base_times(77)
    assert not are_logs_equal(wrong, BASE, SHARED, b"here", proof)
    assert not are_logs_equal(POINT, wrong, SHARED, b"here", proof)
    assert not are_logs_equal(POINT, BASE, wrong, b"here", proof)
    assert not are_logs_equal(POINT, BASE, SHARED, b"there", proof)
    assert not are_logs_equal(POINT, BASE, SHARED, b"her", proof)
    assert not are_logs_equal(BASE, POINT, SHARED, b"here", proof), "the base and the point cannot change places"
    assert not are_logs_equal(POINT, BASE, POINT, b"here", proof)


def test_what_is_not_so_cannot_be_claimed_by_who_knows_the_scalar() -> None:
    """Commitments by another logarithm on one side, whatever the challenge is solved for."""
    wrong, nonce = point_times(SCALAR + 1, BASE), 4242
    for by_base in (point_times(nonce, BASE), point_times(nonce + 1, BASE)):
        challenge = equal_logs._challenge(POINT, BASE, wrong, base_times(nonce), by_base, b"here")
        for secret in (SCALAR, SCALAR + 1):
            response = scalar_bytes((nonce + challenge * secret) % GROUP_ORDER)
            assert not are_logs_equal(POINT, BASE, wrong, b"here", scalar_bytes(challenge) + response)


@pytest.mark.parametrize("bad", [bytes(32), IDENTITY, LOW_ORDER, b"\xff" * 32, b"\x02" + bytes(31), b"short", b""])
def test_points_outside_the_group_are_refused_everywhere(bad: bytes) -> None:
    proof = proven()
    assert not are_logs_equal(bad, BASE, SHARED, b"here", proof)
    assert not are_logs_equal(POINT, bad, SHARED, b"here", proof)
    assert not are_logs_equal(POINT, BASE, bad, b"here", proof)
    with pytest.raises(Rejected, match="prime-order"):
        prove_equal_logs(SCALAR, bad, b"here", Repeated())


def test_a_part_of_small_order_fits_no_proof() -> None:
    """Times eight both would be the same: the shared point of the box would have eight encodings."""
    proof, twisted = proven(), SHARED
    for _ in range(7):
        twisted = point_add(twisted, LOW_ORDER)
        assert not are_logs_equal(POINT, BASE, twisted, b"here", proof)
    assert not are_logs_equal(point_add(POINT, LOW_ORDER), BASE, SHARED, b"here", proof)
    assert not are_logs_equal(POINT, point_add(BASE, LOW_ORDER), SHARED, b"here", proof)


def test_there_is_one_encoding_of_a_proof() -> None:
    proof = proven()
    for bit in range(0, 512, 5):
        changed = bytearray(proof)
        changed[bit // 8] ^= 1 << bit % 8
        assert not are_logs_equal(POINT, BASE, SHARED, b"here", bytes(changed))
    for at in (0, 32):
        value = int.from_bytes(proof[at : at + 32], "little")
        for longer in (value + GROUP_ORDER, GROUP_ORDER - value):
            part = longer.to_bytes(32, "little")
            assert not are_logs_equal(POINT, BASE, SHARED, b"here", proof[:at] + part + proof[at + 32 :])
    for form in (proof[:63], proof + b"\0", b"", bytes(64), bytes(32) + proof[32:], proof[:32] + bytes(32)):
        assert not are_logs_equal(POINT, BASE, SHARED, b"here", form)


def test_zero_proves_nothing() -> None:
    for scalar in (0, GROUP_ORDER):
        with pytest.raises(ValueError, match="identity"):
            prove_equal_logs(scalar, BASE, b"here", Repeated())


def test_a_commitment_that_is_the_identity_is_none() -> None:
    """The nonce zero would show the scalar; its maker alone could use it, and there is no reason to let it."""
    challenge = equal_logs._challenge(POINT, BASE, SHARED, IDENTITY, IDENTITY, b"here")
    response = scalar_bytes(challenge * SCALAR % GROUP_ORDER)
    assert not are_logs_equal(POINT, BASE, SHARED, b"here", scalar_bytes(challenge) + response)


def test_entropy_that_repeats_itself_does_not_show_the_scalar() -> None:
    """One nonce under two challenges would: (s - s') / (c - c')."""
    other = base_times(5)
    proofs = [proven(), proven(b"there"), prove_equal_logs(SCALAR, other, b"here", Repeated())]
    numbers = [(int.from_bytes(p[:32], "little"), int.from_bytes(p[32:], "little")) for p in proofs]
    for at, (c, s) in enumerate(numbers):
        for d, t in numbers[:at]:
            assert (s - t) * pow(c - d, -1, GROUP_ORDER) % GROUP_ORDER != SCALAR
    assert proven() == proven(), "and nothing else is drawn"
