"""Claims about rows: what rows can give is proven and summed exactly, what they cannot give is refused."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode.sums import field, measures, norm, shares
from fednode.sums.bounds import MAX_WORDS
from fednode.sums.field import MODULUS, FieldVector
from fednode.sums.measures import CLAIM, MEMBER_BITS, Plan, Split
from fednode.sums.norm import Statement
from tests.sums.test_norm import answers_for, share
from tests.support.seeds import Stream

MOMENTS = Split(5, 3, True)
PLAN = (MOMENTS, MOMENTS, Split(4, 2), Split(3, 4))


def statement_of(plan: Plan) -> Statement:
    return Statement(weight_bits=1, kappa2=9, kappa0=0, entries=2, plan=plan)


def plans() -> st.SearchStrategy[Plan]:
    moments = st.builds(Split, st.integers(1, 23), st.just(3), st.just(True))
    return st.lists(moments | st.builds(Split, st.integers(1, 23), st.integers(2, 9)), max_size=6).map(tuple)


@st.composite
def possible(draw: st.DrawFn, plan: Plan) -> list[int]:
    """Claims that rows can give: voices or none, and moments of a distribution."""
    claims: list[int] = []
    for split in plan:
        if not draw(st.booleans()):
            claims += [0] * split.parts
        elif split.has_moments:
            mean = draw(st.integers(0, split.unit))
            second = draw(st.integers(-(-mean * mean // split.unit), mean))
            claims += [second, mean - second, split.unit - mean]
        else:
            count = split.parts - 1
            cuts = sorted(draw(st.lists(st.integers(0, split.unit), min_size=count, max_size=count)))
            claims += [high - low for low, high in pairwise([0, *cuts, split.unit])]
    return claims


def bits_of(plan: Plan, claims: list[int]) -> FieldVector:
    return norm.encode(statement_of(plan), np.zeros(2, np.int64), 1, np.array(claims, CLAIM))


def is_accepted(plan: Plan, bits: FieldVector) -> bool:
    """Whether holders of right shares of these bits would carry their proof; every repetition by itself."""
    statement, joint = statement_of(plan), norm.draw_joint(b"j" * 32)
    proof = norm.prove(statement, bits, joint, Stream(1))
    answer = norm.query(statement, bits, proof, joint, norm.draw_query(statement, b"q" * 32))
    verdicts = {norm.is_valid(part) for part in answer.reshape(statement.repetitions, -1)}
    assert len(verdicts) == 1
    return verdicts.pop()


@settings(max_examples=40, deadline=None)
@given(plans(), st.data())
def test_what_rows_can_give_is_always_accepted_and_decodes_to_itself(plan: Plan, data: st.DataObject) -> None:
    claims = data.draw(possible(plan))
    bits = bits_of(plan, claims)
    assert bits.size == statement_of(plan).length and is_accepted(plan, bits)
    opened = norm.opening_of(statement_of(plan), bits, 1)
    tallies = measures.read_sums(plan, opened[3:].tolist(), 1)
    assert [part for tally in tallies for part in tally.parts] == claims
    assert all(tally.voices == bool(sum(tally.parts)) for tally in tallies)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_bits_are_accepted_that_are_not_possible_claims(data: st.DataObject) -> None:
    """Whatever a dealer shares in place of its claims: bits of any value, or other numbers. The norm part is right."""
    bits = bits_of(PLAN, data.draw(possible(PLAN)))
    start = statement_of(PLAN).norm_length
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(start, bits.size - 1))
        bits[at] = data.draw(st.sampled_from([0, 1, 1, 2, MODULUS - 1]))
    assert is_accepted(PLAN, bits) == is_possible(bits[start:])


def is_possible(bits: FieldVector) -> bool:
    """The rules of PLAN in plain integers."""
    if any(int(bit) > 1 for bit in bits):
        return False
    values, at = [int(bit) for bit in bits], 0
    for split in PLAN:
        voice, at = values[at], at + 1
        parts = [number(values[at + k * split.bits : at + (k + 1) * split.bits]) for k in range(split.parts)]
        at += split.parts * split.bits
        slack, at = number(values[at : at + split.slack_bits]), at + split.slack_bits
        if sum(parts) != voice * split.unit:
            return False
        if split.has_moments and split.unit * parts[0] != (parts[0] + parts[1]) ** 2 + slack:
            return False
    return True


def number(bits: list[int]) -> int:
    return sum(bit << k for k, bit in enumerate(bits))


@pytest.mark.parametrize(("claims", "reason"), [
    ([31, 0, 1, 0, 0, 0, 15, 0, 7, 0, 0, 0], "add up to one voice"),
    ([0, 0, 0, 0, 0, 0, 16, 0, 7, 0, 0, 0], "add up to one voice"),
    ([0, 0, 0, 0, 0, 0, 15, 15, 7, 0, 0, 0], "add up to one voice"),
    ([0, 15, 16, 0, 0, 0, 15, 0, 7, 0, 0, 0], "below the square of its mean"),
    ([0, 0, 0], "do not belong to the plan"),
])
def test_impossible_claims_are_named_before_they_are_shared(claims: list[int], reason: str) -> None:
    assert reason in str(measures.find_impossible(PLAN, np.array(claims, CLAIM)))
    with pytest.raises(ValueError, match=reason):
        bits_of(PLAN, claims)


def forge(plan: Plan, voices: list[int], parts: list[list[int]], slacks: list[int]) -> FieldVector:
    """Bits of numbers that nobody checked, as a dishonest dealer shares them."""
    values = norm.encode(statement_of(()), np.zeros(2, np.int64), 1).tolist()
    for split, voice, numbers, slack in zip(plan, voices, parts, slacks, strict=True):
        values += [voice]
        for value in numbers:
            values += [value >> k & 1 for k in range(split.bits)]
        values += [slack >> k & 1 for k in range(split.slack_bits)]
    return np.array(values, np.uint64)


@pytest.mark.parametrize(("voice", "parts", "slack"), [
    (1, [31, 31, 31], 0),   # three voices said as one
    (0, [31, 0, 0], 0),     # a claim without a voice
    (1, [0, 0, 0], 0),      # a voice without a claim
    (1, [0, 16, 15], 0),    # no variance at a mean of one half: the square has to be paid
    (1, [8, 8, 15], 1023),  # the slack is not what is left
])
def test_one_column_that_lies_is_refused(voice: int, parts: list[int], slack: int) -> None:
    assert is_accepted((MOMENTS,), forge((MOMENTS,), [1], [[31, 0, 0]], [0]))
    assert not is_accepted((MOMENTS,), forge((MOMENTS,), [voice], [parts], [slack]))
    both = forge((MOMENTS, MOMENTS), [1, voice], [[31, 0, 0], parts], [0, slack])
    assert not is_accepted((MOMENTS, MOMENTS), both)


def test_two_lies_do_not_cancel() -> None:
    plan = (Split(4, 2), Split(4, 2), MOMENTS, MOMENTS)
    over, under = [8, 8], [7, 7]  # one part too many and one too few
    assert not is_accepted(plan, forge(plan, [1] * 4, [over, under, [31, 0, 0], [31, 0, 0]], [0] * 4))
    slack = 31 * 8 - 16**2  # -8: shared as another column's surplus
    assert slack < 0
    assert not is_accepted(plan, forge(plan, [1] * 4, [[15, 0], [15, 0], [8, 8, 15], [31, 0, 0]], [0, 0, 0, -slack]))
    assert not is_accepted((Split(4, 2),), forge((Split(4, 2),), [0], [[1, 0]], [0]))


def test_the_plan_and_the_norm_do_not_pay_for_each_other() -> None:
    plan = (Split(4, 2),)
    bits = forge(plan, [1], [[8, 8]], [0])
    statement = statement_of(plan)
    slack = statement.norm_length - 62
    bits[slack] ^= np.uint64(1)  # the equation of the norm is off by one, the split by one the other way
    assert not is_accepted(plan, bits)


def test_claims_are_proven_on_shares_whatever_f_holders_answer() -> None:
    statement = statement_of(PLAN)
    bits = bits_of(PLAN, [9, 7, 15, 31, 0, 0, 7, 8, 0, 0, 7, 0])
    answers = answers_for(bits, 4, statement)
    answers[2] = answers[2] + np.uint64(1)
    assert norm.decide(answers, 4) == (1, 3, 4)
    held = {k: norm.opening_of(statement, part, 1) for k, part in share(bits, 4, 1).items()}
    decoded = shares.decode(held, 1, 3, 4)
    assert decoded is not None and (decoded.value == norm.opening_of(statement, bits, 1)).all()


@settings(max_examples=30, deadline=None)
@given(plans(), st.integers(1, 256), st.data())
def test_packed_sums_are_exact_for_all_members(plan: Plan, members: int, data: st.DataObject) -> None:
    """The same claims of every member: the largest sums there are."""
    claims = data.draw(possible(plan))
    bits = measures.encode_claims(plan, np.array(claims, CLAIM))
    one = measures.words_of(plan, bits)
    total = field.scale(one, members)
    tallies = measures.read_sums(plan, total.tolist(), members)
    assert [part for tally in tallies for part in tally.parts] == [members * part for part in claims]


@settings(max_examples=60, deadline=None)
@given(plans().filter(bool), st.data())
def test_words_that_no_claims_add_up_to_are_refused_and_nothing_else_happens(plan: Plan, data: st.DataObject) -> None:
    words = data.draw(st.lists(st.integers(0, MODULUS - 1), max_size=measures.count_words(plan) + 1))
    try:
        tallies = measures.read_sums(plan, words, 4)
    except ValueError:
        return
    assert all(sum(t.parts) == t.voices * s.unit and t.voices <= 4 for s, t in zip(plan, tallies, strict=True))


@pytest.mark.parametrize("bits", range(1, 24))
def test_the_largest_sums_of_every_width_are_exact(bits: int) -> None:
    plan = (Split(bits, 9),) * 2
    for at in range(9):
        claims = [split.unit * (part == at) for split in plan for part in range(9)]
        words = measures.words_of(plan, measures.encode_claims(plan, np.array(claims, CLAIM)))
        tallies = measures.read_sums(plan, field.scale(words, 256).tolist(), 256)
        assert [part for tally in tallies for part in tally.parts] == [256 * part for part in claims]


def test_more_voices_than_members_and_bits_beside_the_parts_are_refused() -> None:
    plan = (Split(4, 2),)
    words = field.scale(measures.words_of(plan, measures.encode_claims(plan, np.array([15, 0], CLAIM))), 5).tolist()
    assert measures.read_sums(plan, words, 5)[0].voices == 5
    with pytest.raises(ValueError, match="whole voices of the members"):
        measures.read_sums(plan, words, 4)
    with pytest.raises(ValueError, match="larger than its parts"):
        measures.read_sums(plan, [words[0] + (1 << 24)], 5)
    with pytest.raises(ValueError, match="do not belong"):
        measures.read_sums(plan, [*words, 0], 5)
    with pytest.raises(ValueError, match="whole voices"):
        measures.read_sums(plan, [words[0] + 1], 5)


def test_nothing_in_the_plan_can_wrap_in_the_field() -> None:
    """A square, a slack and a word at their largest stay below p, so what holds modulo p holds over the integers."""
    unit = (1 << measures.MAX_BITS) - 1
    assert (2 * unit) ** 2 + (1 << 2 * measures.MAX_BITS) < MODULUS // 2 > unit * unit
    assert measures.MAX_PARTS * unit + unit < MODULUS // 2
    assert 256 * unit < 1 << measures.MAX_BITS + MEMBER_BITS and 2 * (measures.MAX_BITS + MEMBER_BITS) < 63
    assert MODULUS > (1 << 63) - 1


@pytest.mark.parametrize("wrong", [(0, 2), (24, 2), (4, 1), (4, 257), (4, 2, True), (4, 4, True)])
def test_splits_outside_their_ranges_do_not_exist(wrong: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="split"):
        Split(*wrong)  # type: ignore[arg-type]


def test_a_plan_that_fits_no_message_is_refused() -> None:
    plan = (Split(16, 256),) * 56
    assert measures.count_words(plan) == MAX_WORDS
    with pytest.raises(ValueError, match="7296 words"):
        measures.count_words((*plan, Split(16, 256)))
