"""Merkle trees: published proofs, good and bad, and the fast code against a slow twin."""

from __future__ import annotations

import base64
import hashlib
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.chain.state import (
    EMPTY_ROOT,
    Log,
    compute_root,
    hash_leaf,
    prove_consistency,
    prove_inclusion,
    verify_consistency,
    verify_inclusion,
)
from fednode.errors import Rejected

leaves_of_a_tree = st.lists(st.binary(max_size=8), min_size=1, max_size=70)


def slow_root(leaves: list[bytes]) -> bytes:
    """The definition in RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + slow_root(leaves[:split]) + slow_root(leaves[split:])).digest()


def load(shared_dir: Path, kind: str) -> list[tuple[str, dict[str, Any]]]:
    folder = shared_dir / "vectors" / "rfc6962-merkle-proofs" / "testdata" / kind
    return [(str(path.relative_to(folder)), json.loads(path.read_text())) for path in sorted(folder.rglob("*.json"))]


def decode(items: list[str] | None) -> list[bytes]:
    return [base64.b64decode(item) for item in items or []]


def test_published_inclusion_proofs(shared_dir: Path) -> None:
    for _, case in load(shared_dir, "inclusion"):
        leaf, root = decode([case["leafHash"] or "", case["root"] or ""])
        with pytest.raises(Rejected) if case["wantErr"] else nullcontext():
            verify_inclusion(leaf, case["leafIdx"], case["treeSize"], decode(case["proof"]), root)


def test_published_consistency_proofs(shared_dir: Path) -> None:
    for _, case in load(shared_dir, "consistency"):
        old_root, new_root = decode([case["root1"] or "", case["root2"] or ""])
        with pytest.raises(Rejected) if case["wantErr"] else nullcontext():
            verify_consistency(case["size1"], case["size2"], decode(case["proof"]), old_root, new_root)


@given(leaves_of_a_tree)
def test_root_equals_the_definition(leaves: list[bytes]) -> None:
    assert compute_root(leaves) == slow_root(leaves)


def test_empty_tree_has_the_root_of_the_rfc() -> None:
    assert compute_root([]) == EMPTY_ROOT == slow_root([])


@given(leaves_of_a_tree, st.data())
def test_every_leaf_can_be_proven_and_no_other(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    hashes = [hash_leaf(leaf) for leaf in leaves]
    proof, root = prove_inclusion(hashes, index), compute_root(leaves)
    verify_inclusion(hashes[index], index, len(leaves), proof, root)
    with pytest.raises(Rejected):
        verify_inclusion(hash_leaf(b"another leaf"), index, len(leaves), proof, root)
    with pytest.raises(Rejected):
        verify_inclusion(hashes[index], index, len(leaves), (*proof, root), root)


@given(leaves_of_a_tree, st.data())
def test_log_grows_consistently(leaves: list[bytes], data: st.DataObject) -> None:
    old_size = data.draw(st.integers(1, len(leaves)))
    log = Log()
    for leaf in leaves[:old_size]:
        log.append(leaf)
    old_root = log.compute_root()
    log = Log(log.size, log.peaks)
    for leaf in leaves[old_size:]:
        log.append(leaf)
    assert log.compute_root() == compute_root(leaves)
    assert len(log.peaks) == len(leaves).bit_count()
    proof = prove_consistency([hash_leaf(leaf) for leaf in leaves], old_size)
    verify_consistency(old_size, len(leaves), proof, old_root, log.compute_root())
    if old_size < len(leaves):
        with pytest.raises(Rejected):
            verify_consistency(old_size, len(leaves), proof, hash_leaf(b"x"), log.compute_root())


def test_log_refuses_peaks_of_another_size() -> None:
    with pytest.raises(ValueError, match="peaks"):
        Log(3, [bytes(32)])
