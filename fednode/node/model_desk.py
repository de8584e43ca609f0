"""Performs what the core asks about model files. What takes long for a large one is done in a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar, assert_never

from fednode.core import effects as do
from fednode.core import traffic
from fednode.core.core import Core
from fednode.home.blobs import FileDraft, ModelStore
from fednode.ids import Hash
from fednode.learn.model_file import StoredModel
from fednode.rounds.events import StoreModel

ModelEffect = StoreModel | do.KeepModel | do.LoadModel | do.ServeModel


Result = TypeVar("Result")


class Compute(Protocol):
    """Does a job at once or in a thread, and dispatches what `tell` makes of its result."""

    def __call__(
        self, is_short: bool, job: Callable[[], Result], name: str, tell: Callable[[Result], list[do.Effect]], /
    ) -> None: ...


class ModelDesk:
    """Model files of one node; `now_ms` gives UTC in milliseconds."""

    def __init__(
        self, core: Core, models: ModelStore, compute: Compute, send_blob: Callable[[do.SendBlob], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._core = core
        self._models = models
        self._compute = compute
        self._send_blob = send_blob
        self._now_ms = now_ms
        self._checking: set[Hash] = set()

    def perform(self, effect: ModelEffect) -> None:
        """Do what an effect asks; a model that is saved is durable on return."""
        core, models = self._core, self._models
        match effect:
            case StoreModel(name, draft):
                assert isinstance(draft, FileDraft), "drafts come from the store"
                models.adopt(name, draft)
            case do.KeepModel(sender, name, data):
                self._compute(
                    False, lambda: models.receive(name, data), "model-arrived",
                    lambda found: core.model_arrived(sender, name, found, self._now_ms()),
                )
            case do.LoadModel(name):
                self._compute(
                    models.is_checked(name), lambda: models.load(name), "model-found",
                    lambda found: core.model_found(name, found, self._now_ms()),
                )
            case do.ServeModel(to, name):
                if not models.has(name):
                    return
                if not models.is_checked(name):
                    self._check(name, effect)
                elif (mapped := models.map_file(name)) is not None:
                    self._send_blob(do.SendBlob(to, traffic.encode_header(traffic.ModelHeader(name)), mapped))
            case _:
                assert_never(effect)

    def _check(self, name: Hash, effect: do.ServeModel) -> None:
        """Read a model for the first time after a start, then send it; whoever asks meanwhile asks again."""
        if name in self._checking:
            return
        self._checking.add(name)

        def tell(found: StoredModel | None) -> list[do.Effect]:
            self._checking.discard(name)
            return [] if found is None else [effect]

        self._compute(False, lambda: self._models.load(name), "model-checked", tell)
