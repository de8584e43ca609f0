"""Models: kept by hash, believed only if they hash to it, fetched from one member after the other."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fednode.core import effects as do
from fednode.core import traffic
from fednode.core.studies import RETRY_MS, SLOWEST_BYTES_PER_MS, Models
from fednode.crypto import Secret
from fednode.effects import Asked, DropPeer, StartTimer
from fednode.errors import StorageError
from fednode.home.blobs import ModelStore
from fednode.home.round_store import LONG_MARK, RoundStore
from fednode.home.sealed_parts import SEALED_PART_BYTES
from fednode.ids import Hash, MemberId, StudyId
from fednode.learn.form import parse_study
from fednode.learn.layout import Layout, Scaling
from fednode.learn.merge import initial_model
from fednode.learn.model_file import MAX_FILE_BYTES, ModelFile, write_model
from fednode.smpc.record import LongPart
from tests.rounds.training import study_text

SPEC = parse_study(study_text())
STUDY = StudyId(b"s" * 32)
MODEL = ModelFile(
    STUDY, 3, SPEC, Scaling((1 << 23,) * 7, (1 << 22,) * 7), initial_model(Layout.of(SPEC), STUDY)
)
DATA = write_model(MODEL)
OTHER = Hash(b"o" * 32)
KEY = Secret(b"k" * 32)


def put(store: ModelStore, name: Hash, data: bytes) -> None:
    """Keep a file whatever is in it."""
    draft = store.new_draft()
    draft.append(data)
    draft.finish(b"")
    store.adopt(name, draft)


# --- on disk ----------------------------------------------------------------------------------------------------

def test_model_comes_back_and_is_listed(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "blobs")
    assert store.list() == [] and store.load(MODEL.hash) is None and store.map_file(MODEL.hash) is None
    put(store, MODEL.hash, DATA)
    found = store.load(MODEL.hash)
    assert found is not None and found.hash == MODEL.hash
    assert store.has(MODEL.hash) and store.list() == [MODEL.hash]
    mapped = store.map_file(MODEL.hash)
    assert mapped is not None and bytes(mapped) == DATA
    (tmp_path / "blobs" / "notes.safetensors").write_text("not a model")
    assert store.list() == [MODEL.hash]


def test_damaged_foreign_or_empty_file_is_no_model(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    for spoilt in (DATA[:-1], DATA[:-8] + bytes(8), b"", DATA + b"x", b"\xff" * 50):
        store.path(MODEL.hash).write_bytes(spoilt)
        assert store.load(MODEL.hash) is None and not store.has(MODEL.hash)
    assert len(list(tmp_path.glob("*-damaged-*"))) == 5, "what was damaged is kept"
    store.path(MODEL.hash).write_bytes(DATA[:-8] + bytes(8))
    assert store.map_file(MODEL.hash) is None, "a damaged file is sent to nobody"
    store.path(MODEL.hash).write_bytes(DATA)
    assert bytes(store.map_file(MODEL.hash) or b"") == DATA
    assert store.map_file(OTHER) is None
    store.path(MODEL.hash).write_bytes(b"")
    assert store.map_file(MODEL.hash) is None
    store.path(OTHER).write_bytes(DATA)
    assert store.load(OTHER) is None, "it is a model, but not the one its name says"


def test_model_that_was_checked_is_not_read_again_until_it_changes(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.path(MODEL.hash).write_bytes(DATA)
    assert not store.is_checked(MODEL.hash)
    first = store.load(MODEL.hash)
    assert first is not None and store.is_checked(MODEL.hash) and first.path == str(store.path(MODEL.hash))
    assert (first.load() == MODEL.values).all() and first.scaling == MODEL.scaling
    store.path(MODEL.hash).write_bytes(DATA[:-8] + bytes(8))
    os.utime(store.path(MODEL.hash), ns=(1, 1))
    assert not store.is_checked(MODEL.hash) and store.load(MODEL.hash) is None
    store.path(MODEL.hash).unlink(missing_ok=True)
    with pytest.raises(StorageError, match="damaged or gone; start the daemon again, it is fetched from a member"):
        first.load()


def test_draft_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    draft = store.new_draft()
    draft.append(b"half a model")
    assert list(tmp_path.iterdir()) == [draft.path] and draft.path.stat().st_mode & 0o077 == 0
    del draft
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".draft-of-an-earlier-life").write_bytes(b"power cut")
    ModelStore(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1, "a command that only looks at a home must not touch what a daemon makes"
    ModelStore(tmp_path).clear_drafts()
    assert list(tmp_path.iterdir()) == []


def test_what_a_member_sends_is_kept_only_as_what_it_is(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    for sent in (b"", DATA[:-1], DATA + b"x", DATA[:-8] + bytes(8), os.urandom(5000)):
        assert store.receive(MODEL.hash, memoryview(sent)) is None
    assert store.receive(OTHER, memoryview(DATA)) is None
    assert list(tmp_path.iterdir()) == []
    found = store.receive(MODEL.hash, memoryview(DATA))
    assert found is not None and found.hash == MODEL.hash and store.is_checked(MODEL.hash)
    assert store.path(MODEL.hash).read_bytes() == DATA
    target = tmp_path / "for anybody"
    assert store.export(MODEL.hash, target) == len(DATA) and target.read_bytes() == DATA
    assert target.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("count", [0, 1, SEALED_PART_BYTES - 1, SEALED_PART_BYTES, SEALED_PART_BYTES + 1])
def test_long_part_comes_back_at_every_size(tmp_path: Path, count: int) -> None:
    store, data = RoundStore(tmp_path, KEY), os.urandom(count)
    store.put_long(STUDY, 3, "input", (b"head", memoryview(data)))
    [path] = tmp_path.iterdir()
    assert path.stat().st_mode & 0o077 == 0 and (not count or data[:32] not in path.read_bytes() or count < 32)
    found = store.load(STUDY, 3, "input")
    assert isinstance(found, LongPart) and found.head == b"head" and bytes(found.read(count)) == data
    for wrong in (count + 1, count - 1) if count else (1,):
        with pytest.raises(StorageError, match="damaged"):
            found.read(wrong)
    with pytest.raises(StorageError, match="sits the round out"):
        RoundStore(tmp_path, Secret(b"x" * 32)).load(STUDY, 3, "input")


def test_long_part_whose_pieces_are_changed_moved_or_cut_off_is_damaged(tmp_path: Path) -> None:
    store, data = RoundStore(tmp_path, KEY), os.urandom(3 * SEALED_PART_BYTES)
    store.put_long(STUDY, 3, "input", (b"head", memoryview(data)))
    [path] = tmp_path.iterdir()
    whole = path.read_bytes()
    start, box = len(LONG_MARK) + 32 + 4 + 4 + 16, SEALED_PART_BYTES + 20
    first, second, third = (whole[start + number * box : start + (number + 1) * box] for number in range(3))
    assert whole[:start] + first + second + third == whole
    flipped = bytearray(whole)
    flipped[start + box + 100] ^= 1
    for spoilt in (
        whole[:start] + second + first + third, whole[:start] + first + third, whole[:start] + first + second,
        whole[:start], whole[:-1], whole + b"\0", whole + third, bytes(flipped), whole[: start + 5],
    ):
        path.write_bytes(spoilt)
        with pytest.raises(StorageError, match="damaged"):
            found = store.load(STUDY, 3, "input")
            assert isinstance(found, LongPart)
            found.read(len(data))


def test_nothing_is_left_of_a_round_that_was_forgotten_while_its_vector_was_written(tmp_path: Path) -> None:
    store = RoundStore(tmp_path, KEY)

    def pieces() -> Iterator[bytes]:
        yield b"head"
        store.forget(STUDY, 3)
        yield b"vector"

    store.put_long(STUDY, 3, "input", pieces())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_what_a_crash_left_half_written_is_removed_at_the_start(tmp_path: Path) -> None:
    RoundStore(tmp_path, KEY).put(STUDY, 1, "state", Secret(b"kept"))
    (tmp_path / f".{STUDY.hex()}-0000000003-input.abc.new").write_bytes(b"half a vector")
    store = RoundStore(tmp_path, KEY)
    assert len(list(tmp_path.iterdir())) == 1 and store.load(STUDY, 1, "state") == b"kept"


def test_crash_between_pieces_leaves_no_record(tmp_path: Path) -> None:
    store = RoundStore(tmp_path, KEY)

    def pieces() -> Iterator[bytes]:
        yield b"head"
        yield b"vector"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.put_long(STUDY, 3, "input", pieces())  # type: ignore[arg-type]
    assert store.load(STUDY, 3, "input") is None and list(tmp_path.iterdir()) == []


def test_file_being_sent_survives_being_replaced(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    put(store, MODEL.hash, DATA)
    mapped = store.map_file(MODEL.hash)
    put(store, MODEL.hash, DATA)
    assert mapped is not None and bytes(mapped) == DATA


def test_round_record_is_encrypted_and_deleted_with_its_round(tmp_path: Path) -> None:
    store = RoundStore(tmp_path / "rounds", KEY)
    store.forget(STUDY, 5)
    for number in (1, 2, 10):
        for part in ("state", "input"):
            store.put(STUDY, number, part, Secret(b"secret of round %d" % number))
    store.put(StudyId(b"t" * 32), 1, "state", Secret(b"another study"))
    assert store.load(STUDY, 2, "state") == b"secret of round 2"
    assert store.load(STUDY, 3, "state") is None
    assert not any(b"secret" in path.read_bytes() for path in (tmp_path / "rounds").iterdir())
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "rounds").iterdir())
    store.forget(STUDY, 2)
    assert store.load(STUDY, 1, "input") is None and store.load(STUDY, 2, "state") is None
    assert store.load(STUDY, 10, "input") == b"secret of round 10"
    assert store.load(StudyId(b"t" * 32), 1, "state") == b"another study"


def test_round_record_of_another_key_or_damaged_is_one_sentence(tmp_path: Path) -> None:
    RoundStore(tmp_path, KEY).put(STUDY, 1, "state", Secret(b"secret"))
    with pytest.raises(StorageError, match="damaged or of another keystore; this hospital sits the round out"):
        RoundStore(tmp_path, Secret(b"x" * 32)).load(STUDY, 1, "state")
    [path] = tmp_path.iterdir()
    path.write_bytes(b"short")
    with pytest.raises(StorageError, match="sits the round out"):
        RoundStore(tmp_path, KEY).load(STUDY, 1, "state")


# --- from members -----------------------------------------------------------------------------------------------

def asked(effects: list[do.Effect]) -> list[int]:
    found = []
    for effect in effects:
        if isinstance(effect, do.SendFrame):
            assert traffic.decode_frame(effect.data).message == traffic.WantModel(MODEL.hash)
            found.append(int(effect.to))
    return found


def test_members_are_asked_in_turn_until_it_is_here() -> None:
    models, members = Models(), [MemberId(1), MemberId(3), MemberId(4)]
    assert models.fetch(MODEL.hash, members, 0) == [], "nobody wants it"
    models.want(MODEL.hash)
    first = models.fetch(MODEL.hash, members, 0)
    assert Asked(do.Own.CORE, StartTimer(do.ModelTimer(MODEL.hash), RETRY_MS)) in first
    order = asked(first)
    for _ in range(4):
        order += asked(models.fetch(MODEL.hash, members, 0))
    assert order == [1, 3, 4, 1, 3]
    models.settled(MODEL.hash)
    assert models.fetch(MODEL.hash, members, 0) == []


def test_nobody_there_means_waiting_and_whoever_comes_is_asked() -> None:
    models = Models()
    models.want(MODEL.hash)
    assert asked(models.fetch(MODEL.hash, [], 0)) == []
    assert asked(models.peer_up(MemberId(4), 0)) == [4]


def test_only_wanted_models_of_possible_size_are_read() -> None:
    models = Models()
    assert not models.accepts(MemberId(2), MODEL.hash, 100, 0)
    models.want(MODEL.hash)
    assert models.accepts(MemberId(2), MODEL.hash, 100, 0) and not models.accepts(MemberId(2), OTHER, 100, 0)
    assert not models.accepts(MemberId(2), MODEL.hash, MAX_FILE_BYTES + 1, 0)
    assert models.arrived(MemberId(2), OTHER, memoryview(DATA)) == []
    [keep] = models.arrived(MemberId(2), MODEL.hash, memoryview(DATA))
    assert keep == do.KeepModel(MemberId(2), MODEL.hash, memoryview(DATA))
    assert not models.accepts(MemberId(2), MODEL.hash, 100, 0), "one is looked at"
    assert [type(effect) for effect in models.spoilt(MemberId(2), MODEL.hash)] == [DropPeer]
    assert models.accepts(MemberId(3), MODEL.hash, 100, 0)
    models.settled(MODEL.hash)
    assert not models.accepts(MemberId(3), MODEL.hash, 100, 0)


def test_large_model_comes_from_one_member_at_a_time() -> None:
    models, members, size = Models(), [MemberId(1), MemberId(3), MemberId(4)], 200 << 20
    models.want(MODEL.hash)
    assert asked(models.fetch(MODEL.hash, members, 0)) == [1]
    assert models.accepts(MemberId(1), MODEL.hash, size, 100)
    waiting = models.fetch(MODEL.hash, members, RETRY_MS)
    assert waiting == [Asked(do.Own.CORE, StartTimer(do.ModelTimer(MODEL.hash), RETRY_MS))], "it is on its way"
    assert asked(models.peer_up(MemberId(4), RETRY_MS)) == []
    assert not models.accepts(MemberId(3), MODEL.hash, size, RETRY_MS), "a second copy would only take memory"
    assert models.accepts(MemberId(1), MODEL.hash, size, RETRY_MS), "the same one may begin again"
    late = 100 + RETRY_MS + size // SLOWEST_BYTES_PER_MS
    assert not models.accepts(MemberId(3), MODEL.hash, size, late - 1)
    assert asked(models.fetch(MODEL.hash, members, late)) == [3] and models.accepts(MemberId(3), MODEL.hash, size, late)
    models.peer_down(MemberId(1))
    assert asked(models.fetch(MODEL.hash, members, late + 1)) == []
    models.peer_down(MemberId(3))
    assert asked(models.fetch(MODEL.hash, members, late + 2)) == [4]


def test_who_begins_a_model_again_and_again_keeps_the_others_away_once() -> None:
    models, size = Models(), MAX_FILE_BYTES
    models.want(MODEL.hash)
    window_ms = RETRY_MS + size // SLOWEST_BYTES_PER_MS
    for now_ms in range(0, 3 * window_ms, window_ms // 10):
        assert models.accepts(MemberId(2), MODEL.hash, size, now_ms) or now_ms >= window_ms
        if now_ms >= window_ms:
            break
    assert asked(models.fetch(MODEL.hash, [MemberId(2), MemberId(3)], now_ms)) == [2]
    assert asked(models.fetch(MODEL.hash, [MemberId(2), MemberId(3)], now_ms)) == [3]
    assert models.accepts(MemberId(3), MODEL.hash, size, now_ms)
    models.settled(MODEL.hash)
    models.want(MODEL.hash)
    assert models.accepts(MemberId(2), MODEL.hash, size, now_ms)
    models.peer_down(MemberId(2))
    assert models.accepts(MemberId(2), MODEL.hash, size, now_ms) and models.accepts(MemberId(3), MODEL.hash, size, 0)
