"""The constants of what dealers prove, as literals: whoever changes one changes the proof, and says so here too."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from fednode import keystream
from fednode.smpc import sketch
from fednode.sums import bounds, coin, equal_logs, field, measures
from fednode.sums import norm as proofs
from fednode.sums.norm import norm_statement
from tests.sums.test_norm import share
from tests.support.seeds import Stream

MEMBERS = 4


def test_every_constant_is_what_the_documents_say() -> None:
    assert (bounds.SCALE, bounds.MAX_WEIGHT_BOUND, bounds.OUTPUTS) == (8_388_608, 65_535, 256)
    assert (bounds.PART_BYTES, bounds.SKETCH_BYTES, bounds.MAX_WORDS) == (32_160, 1024, 7168)
    assert (bounds.SHARE_BITS, bounds.LOSS_BITS, bounds.MAX_ROW_LOSS) == (16, 20, 8)
    assert (bounds.MIN_OPENING_BYTES, bounds.MAX_OPENING_BYTES, bounds.MAX_LENGTH) == (2056, 59_400, 1_073_741_823)
    assert (proofs.ENTRY_BITS, proofs.SLACK_BITS, proofs.REPETITIONS) == (28, 62, 2)
    assert (proofs.PAIRS, proofs.ANSWER) == (32, 67)
    assert (measures.MAX_BITS, measures.MAX_PARTS, measures.MEMBER_BITS) == (23, 256, 8)
    assert (field.MODULUS, field.ELEMENT_BYTES, field.ROOT_ORDER_BITS) == (18_446_744_069_414_584_321, 8, 32)
    assert field.GENERATOR == 1_753_635_133_440_165_772 and pow(field.GENERATOR, 2**31, field.MODULUS) != 1
    assert (keystream.KEY_BYTES, equal_logs.PROOF_BYTES) == (16, 64)
    assert (coin.LINK_BYTES, coin.MAX_LINKS, sketch.COIN_BYTES) == (32, 65_536, 32)


@pytest.mark.parametrize(
    ("members", "rows", "entry_bits", "repetitions"),
    [(3, 4, 28, 2), (31, 4, 28, 2), (32, 8, 29, 3), (127, 8, 29, 3), (128, 12, 29, 5), (256, 12, 29, 5)],
)
def test_how_hard_a_sum_of_so_many_is_bound(members: int, rows: int, entry_bits: int, repetitions: int) -> None:
    strength = bounds.strength_of(members)
    assert (strength.rows, strength.entry_bits, strength.repetitions) == (rows, entry_bits, repetitions)


def bound_of(rows: int, length: int, max_weight: int, weight: int) -> Fraction:
    """1.44 k R (S^2 w^2 / W^2 + d / 4), as the smpc README derives it, with its numbers and none of the program's."""
    return Fraction(144, 100) * 256 * rows * (Fraction(2**46 * weight**2, max_weight**2) + Fraction(length, 4))


@pytest.mark.parametrize("members", [4, 100, 200])
@pytest.mark.parametrize("max_weight", [1, 127, 65_535])
@pytest.mark.parametrize("length", [1, 1000, 10**7])
def test_the_bound_is_the_documented_one(members: int, max_weight: int, length: int) -> None:
    strength = bounds.strength_of(members)
    made = norm_statement(length, max_weight, strength=strength)
    wanted = bound_of(strength.rows, length, max_weight, max_weight)
    assert 0 <= made.kappa2 * max_weight**2 + made.kappa0 - wanted <= max_weight**2 + 1, "rounded up, and no further"
    assert made.kappa0 == math.ceil(bound_of(strength.rows, length, 1, 0))


def is_proven(made: proofs.Statement, entry: int, weight: int, slack: int) -> bool:
    """Whether four holders accept 256 equal entries with this weight and slack, whoever made the bits."""
    bits = [(entry + 2**27) >> k & 1 for _ in range(256) for k in range(28)]
    bits += [weight >> k & 1 for k in range(made.weight_bits)] + [slack >> k & 1 for k in range(62)]
    dealt = np.array(bits, np.uint64)
    joint, drawn = proofs.draw_joint(b"j" * 32), proofs.draw_query(made, b"q" * 32)
    proof = proofs.prove(made, dealt, joint, Stream(3))
    bit_shares, proof_shares = share(dealt, MEMBERS, 1), share(proof, MEMBERS, 2)
    answers = {k: proofs.query(made, bit_shares[k], proof_shares[k], joint, drawn) for k in bit_shares}
    return proofs.decide(answers, MEMBERS) is not None


@pytest.mark.parametrize("weight", [127, 64])
def test_a_vector_ten_percent_too_long_has_no_proof_and_one_a_percent_shorter_has(weight: int) -> None:
    made = norm_statement(1000, 127)
    longest = math.isqrt(int(bound_of(4, 1000, 127, weight)) // 256)
    for percent, holds in ((99, True), (110, False)):
        entry = longest * percent // 100
        slack = made.kappa2 * weight**2 + made.kappa0 - 256 * entry**2
        assert (slack >= 0) == holds
        if holds:
            assert proofs.encode(made, np.full(256, entry), weight).size == made.length
            assert is_proven(made, entry, weight, slack)
        else:
            with pytest.raises(ValueError, match="longer than its weight allows"):
                proofs.encode(made, np.full(256, entry), weight)
            for forged in (0, -slack, slack % field.MODULUS % 2**62, 2**62 - 1):
                assert not is_proven(made, entry, weight, forged)
