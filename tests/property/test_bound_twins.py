"""The second sum against slow Python integers: dealing, summing and opening, sealed boxes, derived randomness."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode.crypto import Secret, unseal, x25519_public
from fednode.smpc.proving import BITS, DerivedEntropy, Roots, box_sizes, leaves_of, paths_of, seal_boxes
from fednode.smpc.vectors import merkle_root
from fednode.sums import field as f
from fednode.sums import norm, shares
from fednode.sums.attempt import SumContext
from fednode.sums.bounds import OUTPUTS
from fednode.sums.norm import statement_of
from tests.support.seeds import Stream

STATEMENT = statement_of(100, 7, members=4)
CONTEXT = SumContext(b"c" * 32, b"s" * 32, 1, 0)


@given(st.sampled_from([4, 5, 7]), st.integers(0, 2**32), st.data())
@settings(max_examples=10)
def test_the_opened_sum_is_that_of_integers_whatever_f_members_open(count: int, seed: int, data: st.DataObject) -> None:
    """Sketches of any sign and weights of several dealers; up to f openings are anything, nobody's are missing."""
    rng, holders = np.random.default_rng(seed), list(range(1, count + 1))
    faults, degree = (count - 1) // 3, shares.sharing_degree(count)
    sketches = rng.integers(-(2**14), 2**14, (count, OUTPUTS))
    weights = rng.integers(1, 8, count).tolist()
    summed: dict[int, f.FieldVector] = {}
    for dealer, (sketch, weight) in enumerate(zip(sketches, weights, strict=True)):
        bits = norm.encode(STATEMENT, sketch, weight)
        dealt = shares.deal_vector(bits, degree, holders, Stream(seed, dealer))
        for holder in holders:
            share = shares.open_box(dealt.boxes[holder], bits.size, shares.holds_key(holder, holders, degree))
            assert share is not None
            summed[holder] = f.add(summed[holder], share) if holder in summed else share
    openings = {holder: norm.opening_of(STATEMENT, share, count) for holder, share in summed.items()}
    for liar in data.draw(st.sets(st.sampled_from(holders), max_size=faults)):
        openings[liar] = f.expand(bytes([liar]) * 16, OUTPUTS + 1)
    decoded = shares.decode(openings, degree, count - faults, count)
    assert decoded is not None
    expected = [sum(int(value) for value in column) for column in sketches.T] + [sum(weights)]
    assert f.centre(decoded.value).tolist() == expected


@given(st.sampled_from(["chain_id", "study", "round", "attempt", "label", "member", "coin", "root", "seed"]))
def test_every_field_of_the_place_changes_the_randomness_of_shares(which: str) -> None:
    place = {"chain_id": b"c" * 32, "study": b"s" * 32, "round": 1, "attempt": 0, "label": BITS, "member": 2,
             "coin": b"k" * 32, "root": b"r" * 32, "seed": b"z" * 32}

    def draw(p: dict[str, object]) -> bytes:
        context = SumContext(p["chain_id"], p["study"], p["round"], p["attempt"])  # type: ignore[arg-type]
        entropy = DerivedEntropy(p["seed"], context, p["label"], p["member"], p["coin"], p["root"])  # type: ignore[arg-type]
        return entropy.random_bytes(64)

    value = place[which]
    other = value + 1 if isinstance(value, int) else value + "x" if isinstance(value, str) else value[::-1][1:] + b"q"
    assert draw(place) == draw(place) != draw(place | {which: other})


@given(st.integers(2, 9), st.integers(0, 2**32), st.data())
@settings(max_examples=20)
def test_a_box_counts_only_in_its_own_place_under_both_roots(count: int, seed: int, data: st.DataObject) -> None:
    keys = [Secret(Stream(seed, k).random_bytes(32)) for k in range(count)]
    holders = tuple((k + 1, x25519_public(key)) for k, key in enumerate(keys))
    dealt = shares.DealtVector(2, {k + 1: bytes([k]) * 16 for k in range(count)})
    boxes = [seal_boxes(CONTEXT, 1, dealt, kind, holders, DerivedEntropy(b"s" * 32, CONTEXT, kind)) for kind in "ab"]
    leaves = [leaves_of(part) for part in boxes]
    roots = Roots(merkle_root(leaves[0]), merkle_root(leaves[1]))
    at = data.draw(st.integers(0, count - 1))
    paths = paths_of(leaves[0], leaves[1], at)
    assert roots.holds(boxes[0][at], boxes[1][at], at, count, paths)
    assert unseal(keys[at], boxes[0][at])[32:] == bytes([at]) * 16
    assert len(boxes[0][at]) == box_sizes(STATEMENT, True)[0]
    wrong = data.draw(st.integers(0, count - 1).filter(lambda k: k != at)) if count > 1 else at
    assert not roots.holds(boxes[0][at], boxes[1][wrong], at, count, paths)
    assert not roots.holds(boxes[1][at], boxes[0][at], at, count, paths)
    assert not roots.holds(boxes[0][at], boxes[1][at], wrong, count, paths)
    assert not roots.holds(boxes[0][at], boxes[1][at], at, count, paths[:-32])
