"""Every fast routine of the secure sum against a slow twin in Python integers, written from the formulas."""

from __future__ import annotations

import base64
import hashlib
import json
from fractions import Fraction
from itertools import pairwise
from math import isqrt
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode.crypto import GROUP_ORDER, base_times, is_share_valid, point_times, scalar_bytes
from fednode.smpc import jobs, masks, vectors
from fednode.smpc.vectors import STEP_ELEMENTS
from fednode.sums import shares as sharing
from fednode.sums.attempt import SumContext
from fednode.sums.bounds import SCALE
from tests.smpc.sim.streams import apply_streams
from tests.support.seeds import Stream

SCALARS = st.integers(1, GROUP_ORDER - 1)
WORDS = st.integers(0, 2**32 - 1)
KEYS = st.binary(min_size=16, max_size=16)
CONTEXT = SumContext(b"c" * 32, b"s" * 32, 3, 1)


# --- twins ------------------------------------------------------------------------------------------------------

def slow_lift(word: int) -> int:
    word %= 2**32
    return word if word < 2**31 else word - 2**32


def slow_stream_word(key: bytes, element: int) -> int:
    """Word `element` of the stream: block element // 4 of AES in counter mode, from AES itself."""
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update((element // 4).to_bytes(16, "big"))
    return int.from_bytes(block[element % 4 * 4 :][:4], "little")


def slow_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word by word."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + slow_root(leaves[:k]) + slow_root(leaves[k:])).digest()


def slow_poly(coefficients: list[int], x: int) -> int:
    return sum(c * pow(x, k, GROUP_ORDER) for k, c in enumerate(coefficients)) % GROUP_ORDER


# --- ring and streams -------------------------------------------------------------------------------------------

@given(st.lists(st.lists(WORDS, min_size=3, max_size=3), min_size=1, max_size=6))
def test_sums_wrap_and_lift_is_centred(rows: list[list[int]]) -> None:
    total = vectors.sum_buffers(tuple(np.array(row, np.uint32).tobytes() for row in rows))
    expected = [sum(column) % 2**32 for column in zip(*rows, strict=True)]
    assert total.tolist() == expected
    assert vectors.lift(total).tolist() == [slow_lift(word) for word in expected]
    assert vectors.lift(total).astype(vectors.RING).tolist() == expected


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 7), st.integers(0, 3))
def test_parts_of_joined_buffers_are_those_of_the_whole(sizes: list[int], size: int, skip: int) -> None:
    """Wherever the bytes of a buffer lie."""
    whole = np.arange(sum(sizes), dtype=np.uint32)
    pieces = np.split(whole, np.cumsum(sizes)[:-1]) if sizes else []
    buffers = [memoryview(bytes(skip) + piece.tobytes())[skip:] for piece in pieces]
    parts = [part.tolist() for part in vectors.iterate_parts(buffers, size)]
    assert parts == [whole[start : start + size].tolist() for start in range(0, whole.size, size)]


@given(st.integers(0, 40), st.integers(1, 12), st.integers(1, 50))
def test_digests_of_chunks_come_out_of_any_parts(length: int, count: int, part_bytes: int) -> None:
    layout = vectors.Layout(length, count)
    data = memoryview(np.arange(layout.total, dtype=np.uint32).tobytes())
    digests = vectors.ChunkDigests(layout)
    with pytest.raises(ValueError, match="missing"):
        digests.finish()
    for start in range(0, len(data), part_bytes):
        digests.update(data[start : start + part_bytes])
    assert digests.finish() == tuple(vectors.digest_chunk(layout.cut(data, chunk)) for chunk in range(count))


def test_lift_is_centred_at_the_edges() -> None:
    words = np.array([0, 1, 2**31 - 1, 2**31, 2**32 - 1], np.uint32)
    assert vectors.lift(words).tolist() == [0, 1, 2**31 - 1, -(2**31), -1]


@given(
    st.lists(WORDS, max_size=40), st.lists(st.tuples(KEYS, st.booleans()), max_size=4), st.integers(0, 2**20)
)
def test_streams_are_added_element_by_element(words: list[int], streams: list[tuple[bytes, bool]], block: int) -> None:
    values = np.array(words, np.uint32)
    apply_streams(values, [masks.Stream(key, added) for key, added in streams], 4 * block)
    for at, word in enumerate(words):
        mask = sum((1 if added else -1) * slow_stream_word(key, 4 * block + at) for key, added in streams)
        assert int(values[at]) == (word + mask) % 2**32


@pytest.mark.parametrize("size", [0, 1, 3, STEP_ELEMENTS - 1, STEP_ELEMENTS, 2 * STEP_ELEMENTS + 5])
def test_any_part_of_a_stream_can_be_expanded_alone(size: int) -> None:
    streams = [masks.Stream(b"k" * 16, True), masks.Stream(b"l" * 16, False)]
    whole = np.zeros(size, np.uint32)
    apply_streams(whole, streams)
    layout = vectors.Layout(size, 7)
    for chunk in range(7):
        start, stop = layout.bounds(chunk)
        part = np.zeros(stop - start, np.uint32)
        apply_streams(part, streams, start)
        assert (part == whole[start:stop]).all()


def test_a_stream_is_entered_at_whole_blocks_only() -> None:
    with pytest.raises(ValueError, match="four"):
        apply_streams(np.zeros(4, np.uint32), [masks.Stream(b"k" * 16, True)], 2)


CONTEXT_FIELDS = ["chain_id", "study", "round", "attempt", "phase", "role", "dealer", "i", "j"]


@pytest.mark.parametrize("changed", CONTEXT_FIELDS)
def test_every_field_of_the_context_changes_the_key(changed: str) -> None:
    fields: dict[str, object] = {
        "chain_id": b"c" * 32, "study": b"s" * 32, "round": 3, "attempt": 1, "phase": "mask", "role": "pair",
        "dealer": 0, "i": 1, "j": 2,
    }

    def key(values: dict[str, object]) -> bytes:
        context = SumContext(*[values[name] for name in CONTEXT_FIELDS[:4]])
        return masks.derive_key(b"secret", context, *[values[name] for name in CONTEXT_FIELDS[4:]])

    value = fields[changed]
    other = value + 1 if isinstance(value, int) else value + value[:1]
    assert key(fields) != key(fields | {changed: other})


@given(st.integers(0, 2000), st.integers(1, 12))
def test_chunks_cover_the_vector_in_order(length: int, count: int) -> None:
    layout = vectors.Layout(length, count)
    bounds = [layout.bounds(chunk) for chunk in range(count)]
    assert bounds[0][0] == 0 and bounds[-1][1] == length
    assert all(left[1] == right[0] or right[0] >= length for left, right in pairwise(bounds))
    assert all(start % 4 == 0 and start <= max(stop, start) for start, stop in bounds)
    words = np.arange(layout.total, dtype=np.uint32)
    cut = layout.all_of(memoryview(words.tobytes()))
    assert b"".join(cut) == words.tobytes()
    sizes = [layout.size_bytes(chunk) for chunk in range(count)]
    assert sizes == [len(chunk) for chunk in cut] and max(sizes) - min(sizes) <= 32
    bodies = [np.frombuffer(body, np.uint32).tolist() for body in layout.bodies(cut)]
    assert [len(body) for body in bodies] == [stop - start for start, stop in bounds]


@given(st.integers(0, 40), st.integers(1, 300))
def test_a_tail_salts_its_chunk_and_all_together_hide_a_sketch(length: int, count: int) -> None:
    layout = vectors.Layout(length, count)
    words = np.arange(1, layout.total + 1, dtype=np.uint32)
    cut = layout.all_of(memoryview(words.tobytes()))
    tails = [np.frombuffer(chunk, np.uint32)[-layout.tail :].tolist() for chunk in cut]
    salts = [tail[:8] for tail in tails]
    assert layout.salts(cut) == np.array(salts, np.uint32).tobytes()
    pads = layout.pads(enumerate(cut))
    assert pads.tolist() == [word for tail in tails for word in tail[8:]][:256], "each output has a word of its own"
    assert not set(pads.tolist()) & {word for salt in salts for word in salt}
    alone = [layout.pads([item]) for item in enumerate(cut)]
    assert np.sum(alone, axis=0, dtype=np.uint32).tolist() == pads.tolist()


# --- trees ------------------------------------------------------------------------------------------------------

@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=20), st.data())
def test_merkle_paths_fit_their_own_leaf_only(leaves: list[bytes], data: st.DataObject) -> None:
    root = vectors.merkle_root(leaves)
    assert root == slow_root(leaves)
    index = data.draw(st.integers(0, len(leaves) - 1))
    path = vectors.merkle_path(leaves, index)
    assert vectors.is_leaf_of(root, leaves[index], index, len(leaves), path)
    other = data.draw(st.integers(0, len(leaves) - 1))
    if leaves[other] != leaves[index]:
        assert not vectors.is_leaf_of(root, leaves[other], index, len(leaves), path)
        assert not vectors.is_leaf_of(root, leaves[index], other, len(leaves), path)
    assert not vectors.is_leaf_of(root, leaves[index], index, len(leaves), path + bytes(32))
    assert not vectors.is_leaf_of(root, leaves[index], index, len(leaves), path + b"x")


def test_published_inclusion_proofs(shared_dir: Path) -> None:
    files = sorted((shared_dir / "vectors/rfc6962-merkle-proofs/testdata/inclusion").glob("*/*.json"))
    assert len(files) > 50
    for file in files:
        case = json.loads(file.read_text())
        root, leaf_hash = base64.b64decode(case["root"] or ""), base64.b64decode(case["leafHash"] or "")
        path = [base64.b64decode(part) for part in case["proof"] or []]
        good = all(len(part) == 32 for part in path) and vectors.is_leaf_hash_of(
            root, leaf_hash, case["leafIdx"], case["treeSize"], b"".join(path)
        )
        assert good != case["wantErr"], f"{file.name}: {case['desc']}"


# --- sharing ----------------------------------------------------------------------------------------------------

@given(st.lists(SCALARS, min_size=1, max_size=6), st.data())
@settings(max_examples=30)
def test_any_threshold_of_shares_gives_the_secret(coefficients: list[int], data: st.DataObject) -> None:
    count = len(coefficients)
    holders = data.draw(st.lists(st.integers(1, 300), min_size=count, max_size=count, unique=True))
    shares = {holder: sharing.evaluate(coefficients, holder) for holder in holders}
    assert shares == {holder: slow_poly(coefficients, holder) for holder in holders}
    assert sharing.interpolate_at_zero(shares) == coefficients[0]
    weights = sharing.lagrange_at_zero(holders)
    for power in range(len(holders)):
        assert sum(w * h**power for w, h in zip(weights, holders, strict=True)) % GROUP_ORDER == (power == 0)


def test_evaluation_points_are_distinct_and_not_zero() -> None:
    for points in ([0, 1], [2, 2], [GROUP_ORDER]):
        with pytest.raises(ValueError, match="distinct"):
            sharing.lagrange_at_zero(points)


@given(st.integers(0, 2**32), st.integers(1, 5), st.data())
@settings(max_examples=15)
def test_dealt_shares_fit_and_wrong_ones_never_give_a_wrong_secret(
    seed: int, threshold: int, data: st.DataObject
) -> None:
    holders = list(range(1, threshold + 3))
    dealing = sharing.deal(threshold, holders, Stream(seed))
    assert dealing.points == tuple(base_times(c) for c in dealing.coefficients) and len(dealing.points) == threshold
    shares = {holder: dealing.share_of(holder) for holder in holders}
    assert all(is_share_valid(dealing.points, holder, share) for holder, share in shares.items())
    wrong = data.draw(st.sets(st.sampled_from(holders)))
    mixed = {h: (share + 1) % GROUP_ORDER if h in wrong else share for h, share in shares.items()}
    found = sharing.reconstruct(dealing.points, mixed)
    enough = len(holders) - len(wrong) >= threshold
    assert found == dealing.secret if enough else found in (None, dealing.secret)  # errors may cancel, never mislead


def test_fewer_shares_than_the_threshold_give_nothing() -> None:
    dealing = sharing.deal(3, [1, 2, 3, 4], Stream(1))
    assert sharing.reconstruct(dealing.points, {1: dealing.share_of(1), 4: dealing.share_of(4)}) is None


def test_published_shares_of_rfc_9591(shared_dir: Path) -> None:
    case = json.loads((shared_dir / "vectors/rfc9591-frost/poc/frost-ed25519-sha512.json").read_text())
    inputs = case["inputs"]

    def scalar(text: str) -> int:
        return int.from_bytes(bytes.fromhex(text), "little")

    secret = scalar(inputs["group_secret_key"])
    coefficients = [secret, *[scalar(text) for text in inputs["share_polynomial_coefficients"]]]
    points = [base_times(c) for c in coefficients]
    assert points[0].hex() == inputs["group_public_key"]
    shares = {}
    for participant in inputs["participant_shares"]:
        holder, share = participant["identifier"], scalar(participant["participant_share"])
        assert sharing.evaluate(coefficients, holder) == share and is_share_valid(points, holder, share)
        shares[holder] = share
    assert sharing.reconstruct(points, shares) == secret


# --- masks ------------------------------------------------------------------------------------------------------

@pytest.mark.slow
@given(st.integers(2, 6), st.integers(0, 2**32), st.data())
@settings(max_examples=20)
def test_masked_sums_open_to_the_sum_over_any_set(count: int, seed: int, data: st.DataObject) -> None:
    members = sorted(data.draw(st.sets(st.integers(1, 400), min_size=count, max_size=count)))
    included = sorted(data.draw(st.sets(st.sampled_from(members), min_size=1)))
    source, length = Stream(seed), 21
    a, b = ({m: int.from_bytes(source.random_bytes(31), "little") + 1 for m in members} for _ in "ab")
    points = {m: base_times(a[m]) for m in members}
    inputs = {m: np.frombuffer(source.random_bytes(4 * length), np.uint32) for m in members}
    masked = {}
    for m in members:
        result = jobs.MaskInput(CONTEXT, m, inputs[m], a[m], b[m], tuple(points.items())).run()
        assert isinstance(result, jobs.MaskedInput)
        masked[m] = np.frombuffer(result.data, np.uint32)
        layout = vectors.Layout(length, count)
        assert result.leaves == tuple(blake3(layout.cut(result.data, c)).digest() for c in range(count))
        bodies = np.frombuffer(b"".join(layout.bodies(layout.all_of(result.data))), np.uint32)
        expected = inputs[m].tolist()
        for at in range(length):  # the twin: masks from the other side's secret, word by word
            word = expected[at] + slow_stream_word(masks.self_key(CONTEXT, b[m], m), at)
            for other in members:
                if other != m:
                    key = masks.pair_key(CONTEXT, a[other], points[m], other, m)
                    word += slow_stream_word(key, at) * (1 if other > m else -1)
            assert int(bodies[at]) == word % 2**32
    total = np.sum([masked[m] for m in included], axis=0, dtype=np.uint32)
    streams = masks.removal_streams(
        CONTEXT, {m: b[m] for m in included}, {m: a[m] for m in members if m not in included},
        {m: points[m] for m in included},
    )
    whole = layout.all_of(vectors.view_bytes(total))
    total = np.frombuffer(b"".join(layout.bodies(whole)), np.uint32).copy()
    apply_streams(total, streams)
    assert total.tolist() == [sum(int(inputs[m][at]) for m in included) % 2**32 for at in range(length)]


def test_both_secrets_of_one_member_never_meet() -> None:
    points = {1: base_times(5), 2: base_times(6)}
    with pytest.raises(ValueError, match="both"):
        masks.removal_streams(CONTEXT, {1: 7, 2: 8}, {2: 6}, points)
    with pytest.raises(ValueError, match="both"):
        masks.removal_streams(CONTEXT, {1: 7}, {}, points)


def test_both_ends_of_a_pair_derive_one_key() -> None:
    here, there = 12345, 67890
    key = masks.pair_key(CONTEXT, here, base_times(there), 3, 9)
    assert key == masks.pair_key(CONTEXT, there, base_times(here), 9, 3)
    shared = point_times(here, base_times(there))
    assert key == masks.derive_key(shared, CONTEXT, "mask", "pair", 0, 3, 9)
    assert masks.self_key(CONTEXT, here, 3) == masks.derive_key(scalar_bytes(here), CONTEXT, "mask", "self", 3, 3, 3)


# --- quantisation -----------------------------------------------------------------------------------------------

FLOATS = st.floats(-4, 4, width=32, allow_subnormal=False)


@given(st.lists(FLOATS, max_size=30), st.floats(0.01, 100), st.integers(1, 255), st.integers(0, 2**32))
def test_rounding_is_to_a_neighbour_by_the_coin_drawn(x: list[float], clip: float, weight: int, seed: int) -> None:
    values = np.array(x, np.float32)
    rounded = vectors.quantise(values, clip, weight, 255, Stream(seed))
    stream_key = Stream(seed).random_bytes(16)
    norm2 = sum(Fraction(float(v)) ** 2 for v in values)
    longest = max(Fraction(clip), Fraction(float(np.sqrt(float(norm2)))))
    scale = Fraction(5 * SCALE * weight, 6 * 255) / longest
    for at, value in enumerate(values):
        target = Fraction(float(value)) * scale
        coin = Fraction(slow_stream_word(stream_key, at), 2**32)
        exact = (target + coin).__floor__()
        near = abs((target + coin) - round(target + coin)) < Fraction(1, 2**20)
        assert int(rounded[at]) == exact or (near and abs(int(rounded[at]) - exact) <= 1)
        assert abs(int(rounded[at])) <= 5 * SCALE * weight // (6 * 255) + 1
    longest_honest = 5 * SCALE * weight // (6 * 255) + 1 + isqrt(rounded.size) + 1
    assert sum(int(q) ** 2 for q in rounded) <= longest_honest**2


def test_rounding_has_the_right_mean() -> None:
    values = np.full(200_000, 1e-6, np.float32)
    rounded = vectors.quantise(values, 1.0, 1, 1, Stream(7))
    target = 5 * SCALE / 6 * float(values[0])
    assert abs(float(rounded.mean()) - target) < 5 * 0.5 / np.sqrt(values.size)
    assert set(np.unique(rounded)) == {int(np.floor(target)), int(np.floor(target)) + 1}


def test_rounding_uses_fresh_randomness_and_nothing_else() -> None:
    values = np.full(4096, 0.3e-6, np.float32)
    first, again, other = (vectors.quantise(values, 1.0, 1, 1, Stream(seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_a_long_update_is_shortened_to_the_clip() -> None:
    values = np.array([300.0, -400.0], np.float32)
    rounded = vectors.quantise(values, 1.0, 1, 1, Stream(0))
    assert np.allclose(rounded, 5 * SCALE / 6 * np.array([0.6, -0.8]), atol=1)


def test_a_sum_of_the_largest_updates_does_not_wrap() -> None:
    top = np.array([1.0], np.float32)
    rounded = vectors.quantise(top, 1.0, 1, 1, Stream(0))
    total = vectors.sum_buffers((rounded.astype(vectors.RING).tobytes(),) * vectors.MAX_MEMBERS)
    assert int(vectors.lift(total)[0]) == vectors.MAX_MEMBERS * int(rounded[0])


@given(
    st.lists(FLOATS, min_size=1, max_size=30), st.lists(st.integers(1, 7), min_size=1, max_size=5), st.integers(0, 99)
)
def test_opened_sums_are_the_weighted_mean(x: list[float], weights: list[int], seed: int) -> None:
    values = np.array(x, np.float32)
    clip = float(vectors.compute_norm(values)) * 1.01 + 0.01
    total = sum(vectors.quantise(values, clip, w, 7, Stream(seed + k)) for k, w in enumerate(weights))
    unit = 6 * clip * 7 / (5 * SCALE * sum(weights))
    mean = total.astype(np.int32).astype(np.float64) * unit
    assert np.allclose(mean, values, atol=unit * len(weights) + 1e-6 * clip)


@pytest.mark.parametrize(
    ("members", "length", "clip", "weights", "scale"),
    [(257, 1, 1.0, 1, SCALE), (4, 1, 0.0, 1, SCALE), (4, 1, float("nan"), 1, SCALE),
     (4, 1, 1.0, 0, SCALE), (4, 1, 1.0, 65536, SCALE), (4, 2**30 + 1, 1.0, 1, SCALE),
     (4, 1, 1.0, 1, 2 * SCALE)],
)
def test_unsafe_parameters_are_refused(members: int, length: int, clip: float, weights: int, scale: int) -> None:
    with pytest.raises(ValueError, match="."):
        vectors.refuse_unsafe(members, length, clip, weights, scale)


@pytest.mark.parametrize("weight", [0, 8])
def test_a_weight_outside_its_range_is_refused(weight: int) -> None:
    with pytest.raises(ValueError, match="weight"):
        vectors.quantise(np.zeros(3, np.float32), 1.0, weight, 7, Stream(0))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_update_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        vectors.quantise(np.array([0.0, bad], np.float32), 1.0, 1, 1, Stream(0))


def test_only_flat_float32_is_quantised() -> None:
    for values in (np.zeros(3), np.zeros((2, 2), np.float32)):
        with pytest.raises(ValueError, match="flat"):
            vectors.quantise(values, 1.0, 1, 1, Stream(0))
