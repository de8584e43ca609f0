"""Model files between core and disk: what takes long waits for a thread, what is damaged goes to nobody."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

from fednode.core import effects as do
from fednode.core import traffic
from fednode.core.core import Core
from fednode.home.blobs import ModelStore
from fednode.ids import Hash, MemberId
from fednode.learn.model_file import StoredModel
from fednode.node.model_desk import ModelDesk
from fednode.rounds.events import StoreModel
from tests.core.test_models import DATA, MODEL, OTHER, put

NOW_MS = 7
FOUND, ARRIVED = do.log("found"), do.log("arrived")


class FakeCore:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[MemberId, Hash, bool]] = []

    def model_found(self, name: Hash, model: StoredModel | None, now_ms: int) -> list[do.Effect]:
        assert now_ms == NOW_MS
        self.told.append((MemberId(0), name, model is not None))
        return [FOUND]

    def model_arrived(self, sender: MemberId, name: Hash, model: StoredModel | None, now_ms: int) -> list[do.Effect]:
        assert now_ms == NOW_MS
        self.told.append((sender, name, model is not None))
        return [ARRIVED]


class Stage:
    """A desk whose threads run when the test says so."""

    def __init__(self, folder: Path) -> None:
        self.models = ModelStore(folder)
        self.core = FakeCore()
        self.waiting: list[Callable[[], list[do.Effect]]] = []
        self.at_once: list[do.Effect] = []
        self.blobs: list[do.SendBlob] = []
        self.desk = ModelDesk(cast(Core, self.core), self.models, self.compute, self.blobs.append, lambda: NOW_MS)

    def compute(
        self, is_short: bool, job: Callable[[], object], name: str, tell: Callable[[object], list[do.Effect]]
    ) -> None:
        if is_short:
            self.at_once += tell(job())
        else:
            self.waiting.append(lambda: tell(job()))

    def run(self) -> list[do.Effect]:
        """Let the one thread that waits do its job."""
        [job] = self.waiting
        self.waiting.clear()
        return job()


def test_model_on_disk_is_checked_in_a_thread_and_served_after_that(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.models.path(MODEL.hash).write_bytes(DATA)
    serve = do.ServeModel(MemberId(3), MODEL.hash)
    stage.desk.perform(serve)
    stage.desk.perform(serve)
    stage.desk.perform(do.ServeModel(MemberId(4), MODEL.hash))
    assert stage.blobs == [] and len(stage.waiting) == 1, "one check is enough"
    assert stage.run() == [serve]
    stage.desk.perform(serve)
    [blob] = stage.blobs
    assert (blob.to, blob.header) == (3, traffic.encode_header(traffic.ModelHeader(MODEL.hash)))
    assert bytes(blob.data) == DATA
    stage.desk.perform(do.LoadModel(MODEL.hash))
    assert stage.at_once == [FOUND] and stage.core.told == [(0, MODEL.hash, True)]


def test_damaged_or_missing_model_is_served_to_nobody(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.desk.perform(do.ServeModel(MemberId(3), MODEL.hash))
    assert stage.waiting == []
    stage.models.path(MODEL.hash).write_bytes(DATA[:-8] + bytes(8))
    stage.desk.perform(do.ServeModel(MemberId(3), MODEL.hash))
    assert stage.run() == [] and stage.blobs == []
    stage.desk.perform(do.LoadModel(MODEL.hash))
    assert stage.run() == [FOUND] and stage.core.told == [(0, MODEL.hash, False)]


def test_what_a_member_sent_is_kept_or_told_to_be_something_else(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    for name, sent, is_good in ((MODEL.hash, DATA[:-1], False), (OTHER, DATA, False), (MODEL.hash, DATA, True)):
        stage.desk.perform(do.KeepModel(MemberId(2), name, memoryview(sent)))
        assert stage.run() == [ARRIVED] and stage.core.told[-1] == (2, name, is_good)
    assert stage.models.list() == [MODEL.hash]


def test_finished_draft_is_kept_under_its_name(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    draft = stage.models.new_draft()
    draft.append(bytes(10) + DATA[10:])
    draft.finish(DATA[:10])
    stage.desk.perform(StoreModel(MODEL.hash, draft))
    assert stage.waiting == [] and stage.models.is_checked(MODEL.hash)
    assert stage.models.path(MODEL.hash).read_bytes() == DATA and len(list(tmp_path.iterdir())) == 1
    put(stage.models, MODEL.hash, DATA)
    assert stage.models.load(MODEL.hash) is not None
