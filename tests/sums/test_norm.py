"""The norm proof: true statements pass whatever f holders answer, false ones do not; the gadget against VDAF."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode.ids import fault_bound
from fednode.sums import field, shares
from fednode.sums import norm as proofs
from fednode.sums.bounds import FEW, MAX_LENGTH, PART_BYTES, Strength, strength_of
from fednode.sums.field import MODULUS, FieldVector
from fednode.sums.norm import ANSWER, ENTRY_BITS, PAIRS, SLACK_BITS, Statement, norm_statement, statement_of
from fednode.sums.shares import decode, sharing_degree
from tests.support.seeds import Stream

SMALL = Statement(weight_bits=4, kappa2=1000, kappa0=50, entries=3)
JOINT = proofs.draw_joint(b"j" * 32)
QUERY = proofs.draw_query(SMALL, b"q" * 32)


def share(values: FieldVector, members: int, seed: int) -> dict[int, FieldVector]:
    holders, degree = range(1, members + 1), sharing_degree(members)
    dealt = shares.deal_vector(values, degree, holders, Stream(seed))
    opened = {k: shares.open_box(b, values.size, shares.holds_key(k, holders, degree)) for k, b in dealt.boxes.items()}
    return {k: v for k, v in opened.items() if v is not None}


def answers_for(bits: FieldVector, members: int, statement: Statement = SMALL) -> dict[int, FieldVector]:
    proof = proofs.prove(statement, bits, JOINT, Stream(3))
    bit_shares, proof_shares = share(bits, members, 1), share(proof, members, 2)
    drawn = proofs.draw_query(statement, b"q" * 32)
    return {k: proofs.query(statement, bit_shares[k], proof_shares[k], JOINT, drawn) for k in bit_shares}


def forge(sketch: list[int], weight: int, slack: int) -> FieldVector:
    """Bits of anything that fits: what a dishonest dealer may share without asking `encode`."""
    bits = [(value + 2 ** (ENTRY_BITS - 1)) >> k & 1 for value in sketch for k in range(ENTRY_BITS)]
    bits += [weight >> k & 1 for k in range(4)] + [slack >> k & 1 for k in range(SLACK_BITS)]
    return np.array(bits, np.uint64)


@settings(max_examples=20)
@given(st.lists(st.integers(-70, 70), min_size=3, max_size=3), st.integers(4, 15), st.data())
def test_an_honest_dealer_passes_whatever_f_holders_answer(
    sketch: list[int], weight: int, data: st.DataObject
) -> None:
    members = data.draw(st.integers(3, 10))
    bits = proofs.encode(SMALL, np.array(sketch), weight)
    answers = answers_for(bits, members)
    liars = data.draw(st.sets(st.integers(1, members), max_size=fault_bound(members)))
    for liar in liars:
        if data.draw(st.booleans()):
            answers[liar] = answers[liar].copy()
            answers[liar][data.draw(st.integers(0, answers[liar].size - 1))] ^= np.uint64(1)
        else:
            answers[liar] = np.zeros(data.draw(st.integers(0, 3)), np.uint64)
    assert proofs.decide(answers, members) == tuple(sorted(set(range(1, members + 1)) - liars))


def test_the_real_statement_at_full_size_and_its_opened_sum() -> None:
    statement = norm_statement(25_600_000, 65535)
    assert (statement.length, statement.proof_length, statement.size) == (7246, 1154, 256)
    sketches = [np.random.default_rng(k).integers(-(2**20), 2**20, 256) for k in range(2)]
    bits = [proofs.encode(statement, sketch, 60_000 + k) for k, sketch in enumerate(sketches)]
    assert proofs.decide(answers_for(bits[0], 4, statement), 4) == (1, 2, 3, 4)
    left, right = share(bits[0], 4, 1), share(bits[1], 4, 5)
    posted = {k: proofs.opening_of(statement, field.add(left[k], right[k]), 2) for k in left}
    opened = decode(posted, 1, 3, 4)
    assert field.centre(opened.value).tolist() == [*(sketches[0] + sketches[1]).tolist(), 120_001]


def test_a_statement_of_few_members_is_what_it_always_was() -> None:
    for members in (3, 31):
        statement = statement_of(1000, 127, members=members)
        assert statement == norm_statement(1000, 127) and statement.length == 256 * 28 + 7 + 62
        assert statement.entry_weights == tuple(1 << bit for bit in range(28)) and statement.half == 1 << 27
    assert strength_of(31) == Strength(4, 28, 2)
    assert (strength_of(31).answer_bytes, strength_of(31).dealers_a_part) == (1072, 30)


@pytest.mark.parametrize("members", [3, 31, 32, 100, 127, 128, 256])
def test_every_strength_stays_in_its_ranges(members: int) -> None:
    """Squares of any entries that can be shared, with any slack, stay below p: equal in F is equal."""
    strength = strength_of(members)
    statement = statement_of(strength.max_length, 65535, members=members)
    assert 256 * statement.half**2 + (1 << SLACK_BITS) < MODULUS
    assert statement.kappa2 * 65535**2 + statement.kappa0 < 1 << SLACK_BITS
    assert strength.rows * strength.max_length * 2**31 < 2**63
    assert 256 * statement.half < MODULUS // 2
    assert strength.answer_bytes == 8 * strength.repetitions * ANSWER
    assert 0 < strength.answer_bytes * strength.dealers_a_part <= FEW.answer_bytes * FEW.dealers_a_part == PART_BYTES
    deviation = 2**23 / 1.2 * strength.rows**0.5
    assert 256 * 2 * np.exp(-((statement.half / deviation) ** 2) / 2) < 2**-40, "honest entries would not fit"
    fault = fault_bound(members)
    assert math.log2(math.comb(members - fault, fault)) - 51 * strength.repetitions < -70, "candidates of a false proof"
    with pytest.raises(ValueError, match="outside the range"):
        statement_of(strength.max_length + 1, 7, members=members)


def test_an_entry_with_a_bit_more_goes_to_three_quarters_of_its_range() -> None:
    statement = Statement(weight_bits=4, kappa2=1 << 54, kappa0=50, entries=3, strength=strength_of(100))
    top = 3 << 26
    for sketch in ([top - 1, -top, 0], [2**27, -(2**27) - 1, 1], [5, 2**26, -(2**26) - 1]):
        bits = proofs.encode(statement, np.array(sketch), 15)
        assert set(bits.tolist()) <= {0, 1} and bits.size == statement.length
        assert field.centre(proofs.entries_of(statement, bits)).tolist() == sketch
    for entry in (top, -top - 1):
        with pytest.raises(ValueError, match="too large"):
            proofs.encode(statement, np.array([entry, 0, 0]), 15)


@pytest.mark.parametrize("members", [32, 128])
def test_a_statement_of_many_members_passes_and_one_wrong_repetition_does_not(members: int) -> None:
    strength = strength_of(members)
    statement = Statement(weight_bits=4, kappa2=1000, kappa0=50, entries=3, strength=strength)
    joint = proofs.draw_joint(b"j" * 32, strength.repetitions)
    drawn = proofs.draw_query(statement, b"q" * 32)
    assert len(set(joint)) == len(set(drawn.points)) == len(set(drawn.factors)) == strength.repetitions
    assert joint[:2] == JOINT, "the challenges of few members are the first ones of many"
    bits = proofs.encode(statement, np.array([3, -4, 5]), 9)
    for at in (None, *range(strength.repetitions)):
        proof = proofs.prove(statement, bits, joint, Stream(3))
        if at is not None:
            proof[at * statement.part_length + 2 * PAIRS + 1] += np.uint64(1)
        bit_shares, proof_shares = share(bits, members, 1), share(proof, members, 2)
        answers = {k: proofs.query(statement, bit_shares[k], proof_shares[k], joint, drawn) for k in bit_shares}
        assert proofs.decide(answers, members) == (tuple(range(1, members + 1)) if at is None else None)
        short = {k: answer[: 2 * ANSWER] for k, answer in answers.items()}
        assert proofs.decide(short, members) is None, "two repetitions are not enough"


def test_both_sides_of_the_equation_stay_below_the_modulus() -> None:
    for weight in (1, 65535):
        statement = norm_statement(MAX_LENGTH, weight)
        assert statement.kappa2 * weight**2 + statement.kappa0 < 1 << SLACK_BITS
        assert 256 * 4 ** (ENTRY_BITS - 1) + (1 << SLACK_BITS) < MODULUS
        assert 25 * statement.kappa2 * weight**2 >= 36 * 1024 * 4**23
    for bad in ((5, 6), (5, 0), (5, 1 << 17), (-1, 7)):
        with pytest.raises(ValueError, match=r"proof"):
            norm_statement(*bad)


@pytest.mark.parametrize(("sketch", "weight", "message"), [
    ([500, 0, 0], 1, "longer than"), ([0, 0, 0], 16, "does not belong"), ([0, 0], 1, "does not belong"),
    ([2**27, 0, 0], 1, "too large"), ([-(2**27) - 1, 0, 0], 1, "too large"),
])
def test_false_statements_are_not_even_encoded(sketch: list[int], weight: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        proofs.encode(SMALL, np.array(sketch), weight)


@given(st.integers(0, 3 * ENTRY_BITS + 4 + SLACK_BITS - 1), st.integers(2, MODULUS - 1))
@settings(max_examples=15)
def test_a_bit_that_is_no_bit_is_rejected(at: int, value: int) -> None:
    """Also at the slack, where the equation itself could be kept true."""
    bits = proofs.encode(SMALL, np.array([3, 4, 5]), 9)
    bits[at] = value
    assert proofs.decide(answers_for(bits, 4), 4) is None


def test_a_weight_of_w_plus_one_is_rejected() -> None:
    """16 as 2 * 8: the equation holds for it, only the bits do not."""
    bits = forge([3, 4, 5], 0, SMALL.kappa2 * 256 + SMALL.kappa0 - 50)
    bits[3 * ENTRY_BITS + 3] = 2
    assert int(proofs.weight_of(SMALL, bits)[0]) == 16
    assert proofs.decide(answers_for(bits, 4), 4) is None


@pytest.mark.parametrize("slack", [0, 1, 2**62 - 1])
def test_a_norm_that_is_too_large_is_rejected(slack: int) -> None:
    assert proofs.decide(answers_for(forge([500, 0, 0], 1, slack), 4), 4) is None


def test_a_vector_whose_squares_cancel_modulo_p_is_rejected_by_its_bits_alone() -> None:
    """(2^48, 1, 0): 2^96 + 1 = 0 in F. The equation holds with an honest slack; range bits are what is missing."""
    bits = forge([0, 1, 0], 5, SMALL.kappa2 * 25 + SMALL.kappa0)
    bits[0] = pow(2, 48, MODULUS)
    entries = proofs.entries_of(SMALL, bits)
    assert int(field.dot(entries, entries)) == 0
    answers = answers_for(bits, 4)
    assert proofs.decide(answers, 4) is None
    decoded = decode(answers, 1, 3, 4)
    assert decoded is not None


@settings(max_examples=15)
@given(st.integers(0, SMALL.proof_length - 1), st.integers(1, MODULUS - 1))
def test_another_proof_for_a_false_statement_is_rejected(at: int, change: int) -> None:
    bits = forge([500, 0, 0], 1, 7)
    proof = proofs.prove(SMALL, bits, JOINT, Stream(3))
    proof[at] = (int(proof[at]) + change) % MODULUS
    bit_shares, proof_shares = share(bits, 4, 1), share(proof, 4, 2)
    answers = {k: proofs.query(SMALL, bit_shares[k], proof_shares[k], JOINT, QUERY) for k in bit_shares}
    assert proofs.decide(answers, 4) is None


def test_a_sum_kept_zero_by_a_wrong_gadget_polynomial_is_rejected() -> None:
    """The dealer moves p so that the calls add up to what the equation needs: p is then not the wires' product."""
    bits = forge([500, 0, 0], 1, 7)
    proof = proofs.prove(SMALL, bits, JOINT, Stream(3))
    wrong = proofs.query(SMALL, bits, proof, JOINT, QUERY).reshape(2, -1)[:, 2 * PAIRS + 1]
    for part, off in zip(proof.reshape(2, -1), wrong.tolist(), strict=True):
        constant = 2 * PAIRS
        part[constant] = (int(part[constant]) - off * field.inverse(SMALL.calls)) % MODULUS
    answer = proofs.query(SMALL, bits, proof, JOINT, QUERY).reshape(2, -1)
    assert not answer[:, 2 * PAIRS + 1].any()
    assert not any(proofs.is_valid(part) for part in answer)


def test_shares_that_lie_on_no_polynomial_are_rejected() -> None:
    bits = proofs.encode(SMALL, np.array([3, 4, 5]), 9)
    answers = answers_for(bits, 7)
    others = answers_for(proofs.encode(SMALL, np.array([3, 4, 6]), 9), 7)
    assert proofs.decide({**answers, 6: others[6], 7: others[7]}, 7) == (1, 2, 3, 4, 5)
    assert proofs.decide({**answers, 5: answers[4], 6: others[6], 7: others[7]}, 7) is None
    assert proofs.decide({k: answers[k] for k in (1, 2, 3, 4)}, 7) is None


def test_opened_answers_do_not_depend_on_the_secret_without_the_seeds() -> None:
    """Same challenges, same secret, other randomness: every opened number but the equation is another."""
    bits = proofs.encode(SMALL, np.array([3, 4, 5]), 9)
    first, second = (
        proofs.query(SMALL, bits, proofs.prove(SMALL, bits, JOINT, Stream(k)), JOINT, QUERY).reshape(2, -1)
        for k in (1, 2)
    )
    same = first == second
    assert same[:, 2 * PAIRS + 1].all() and same.sum() == 2
    assert all(pow(point, SMALL.size, MODULUS) != 1 for point in QUERY.points)


@pytest.mark.parametrize("name", [
    "Prio3Count_0", "Prio3Count_1", "Prio3Count_bad_gadget_poly", "Prio3Count_bad_wire_seed",
    "Prio3Count_bad_meas_share",
])
def test_the_gadget_is_that_of_published_prio3_count(shared_dir: Path, name: str) -> None:
    """One call of one pair: the leader's share, queried at the point its wire shows, gives the published answer."""
    vectors = json.loads((shared_dir / "vectors/vdaf/test_vec/vdaf" / f"{name}.json").read_text())
    report = vectors["reports"][0]
    given_share = field.from_bytes(bytes.fromhex(report["input_shares"][0]), 6)
    read = [field.from_bytes(bytes.fromhex(text), 4) for text in report["verifier_shares"][0]]
    posted = [answer for answer in read if answer is not None]
    assert given_share is not None and len(posted) == vectors["shares"]
    x, seed, other = (int(value) for value in given_share[:3])
    # wire(t) = (s + x) / 2 + t (s - x) / 2, from which t follows
    at_wire = int(posted[0][1])
    point = (2 * at_wire - seed - x) * field.inverse(seed - x) % MODULUS
    inputs = proofs.inputs_of(given_share[:1, None], given_share[:1, None], np.array([seed, other], np.uint64))
    coefficients = proof_coefficients(given_share[3:])
    at_point, value, total = proofs.query_gadget(inputs, coefficients, 2, point)
    equation = field.subtract(total, given_share[:1])
    assert [int(equation[0]), *at_point.tolist(), int(value[0])] == posted[0].tolist()
    whole = field.total(np.stack(posted), axis=0)
    is_valid = int(whole[0]) == 0 and int(whole[1]) * int(whole[2]) % MODULUS == int(whole[3])
    assert is_valid == ("bad" not in name)


def proof_coefficients(sent: FieldVector) -> FieldVector:
    """The published p is sent as its values at the first 3 of 4 roots of unity; here by Lagrange in integers."""
    root = field.root_of_unity(4)
    nodes = [pow(root, k, MODULUS) for k in range(3)]
    coefficients = [0, 0, 0]
    for at, node in enumerate(nodes):
        first, second = (other for other in nodes if other != node)
        scale = int(sent[at]) * field.inverse((node - first) * (node - second)) % MODULUS
        for k, term in enumerate((first * second, -(first + second), 1)):
            coefficients[k] = (coefficients[k] + scale * term) % MODULUS
    return np.array(coefficients, np.uint64)
