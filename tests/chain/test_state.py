from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.chain.state import BUCKETS, Draft, State, compute_root_of_hashes
from fednode.errors import StorageError
from fednode.ledger.members.reading import get_chain, get_nonce, nonce_key
from fednode.ledger.members.records import NonceRecord
from fednode.ledger.record_table import RECORD_TABLE
from fednode.ledger.studies.records import SpecRecord, spec_key
from fednode.ledger.sums.records import is_point_seen

Writes = st.dictionaries(st.integers(1, 40), st.one_of(st.none(), st.integers(0, 5)), max_size=20)


def apply(state: State, writes: dict[int, int | None]) -> tuple[State, tuple]:
    draft = Draft(state)
    for member, nonce in writes.items():
        draft.write(nonce_key(member), None if nonce is None else NonceRecord(nonce))
    return draft.freeze()


@given(st.lists(Writes, max_size=6))
def test_a_state_is_a_map_and_its_root_depends_on_the_map_alone(blocks: list[dict[int, int | None]]) -> None:
    state, model = State.empty(RECORD_TABLE), {}
    stored: dict[bytes, bytes] = {}
    for writes in blocks:
        before, root = state, state.root
        state, changes = apply(state, writes)
        assert before.root == root, "an older state changed"
        for member, nonce in writes.items():
            model.pop(member, None)
            if nonce is not None:
                model[member] = nonce
        for key, value in changes:
            assert stored.get(key) != value, "a key that did not change was reported"
            if value is None:
                del stored[key]
            else:
                stored[key] = value
    assert {m: get_nonce(state, m) for m in range(1, 41)} == {m: model.get(m, 0) for m in range(1, 41)}
    assert dict(state.items()) == stored
    assert State.load(RECORD_TABLE, stored.items()).root == state.root
    fresh, _ = apply(State.empty(RECORD_TABLE), model)
    assert fresh.root == state.root
    assert compute_root_of_hashes(state._nodes[BUCKETS:]) == state.root


@given(Writes, Writes)
def test_different_states_have_different_roots(left: dict[int, int | None], right: dict[int, int | None]) -> None:
    clean = [{k: v for k, v in writes.items() if v is not None} for writes in (left, right)]
    roots = [apply(State.empty(RECORD_TABLE), writes)[0].root for writes in clean]
    assert (roots[0] == roots[1]) == (clean[0] == clean[1])


def test_the_root_of_the_empty_state_never_changes() -> None:
    assert State.empty(RECORD_TABLE).root.hex() == "19ff8e6cb5b912cdae602de4c08fbb3933afade764587d763f4db0d4d69f33d4"


def test_key_and_value_cannot_be_shifted_into_each_other() -> None:
    roots = set()
    for key, value in ((b"a" * 32, b"bc"), (b"a" * 31 + b"b", b"c")):
        draft = Draft(State.empty(RECORD_TABLE))
        draft.write(spec_key(key), SpecRecord(value))
        roots.add(draft.freeze()[0].root)
    assert len(roots) == 2


def test_roll_back_undoes_everything_since_the_mark() -> None:
    draft = Draft(State.empty(RECORD_TABLE))
    draft.write(nonce_key(1), NonceRecord(1))
    draft.mark()
    draft.write(nonce_key(1), NonceRecord(2))
    draft.write(nonce_key(1), NonceRecord(3))
    draft.write(nonce_key(2), NonceRecord(2))
    draft.roll_back()
    assert (get_nonce(draft, 1), get_nonce(draft, 2)) == (1, 0)
    assert [key for key, _ in draft.freeze()[1]] == [nonce_key(1)]


def test_a_block_without_changes_keeps_the_state_object() -> None:
    state, _ = apply(State.empty(RECORD_TABLE), {1: 1})
    assert apply(state, {1: 1})[0] is state


def test_stored_keys_of_unknown_kind_and_damaged_records_are_named() -> None:
    with pytest.raises(StorageError, match="unknown kind"):
        State.load(RECORD_TABLE, [(b"else/1", b"")])
    with pytest.raises(StorageError, match="NonceRecord is damaged"):
        get_nonce(State.load(RECORD_TABLE, [(nonce_key(1), b"\xc1")]), 1)
    with pytest.raises(StorageError, match="chain record"):
        get_chain(State.empty(RECORD_TABLE))
    assert not is_point_seen(State.empty(RECORD_TABLE), bytes(32))
