"""The disk of a simulated node: what is written in order, and what is left of it when the power or the disk fails.

Blocks, records and models are kept in memory; the sign-state is the real file. Every write can be undone, because a
disk that lies about its cache loses the last few although it called them durable.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fednode.chain.block import Block, Tip, genesis_tip
from fednode.chain.consensus.recovery import SignRecord
from fednode.chain.state import State
from fednode.chain.store import DecidedBlock, block_batch
from fednode.chain.vote import Certificate, MemberSet
from fednode.errors import StorageError
from fednode.home.files import Home
from fednode.home.keystore import Keys
from fednode.home.sign_state import SLOT_NAMES, SignStateFile
from fednode.home.succession import join_successor
from fednode.ids import Hash, StudyId
from fednode.learn.model_file import StoredModel
from fednode.ledger.genesis import Genesis
from fednode.ledger.record_table import RECORD_TABLE
from tests.node.world import look_at_model

KEPT_WRITES = 32
SIGN_STATE, CHAIN, RECORDS, MODELS = "sign-state", "chain", "records", "models"
FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None


@dataclass(frozen=True)
class Snapshot:
    """A copy of a whole disk."""

    blocks: tuple[DecidedBlock, ...]
    records: dict[tuple[StudyId, int, str], bytes]
    models: dict[Hash, bytes]
    slots: tuple[bytes, ...] | None
    marks: dict[str, bytes]
    genesis: Genesis


class Disk:
    """One node's storage; `start_sign_state` gives what a process reads when it starts."""

    def __init__(self, genesis: Genesis, record: SignRecord) -> None:
        self.genesis = genesis
        self._folder = tempfile.TemporaryDirectory(prefix="whole-", dir=FOLDER)
        self.home = Home(Path(self._folder.name))
        self.home.create()
        self._root = self.home.sign_state
        self._undo: list[tuple[str, Callable[[], None]]] = []
        self.blocks: list[DecidedBlock] = []
        self.records: dict[tuple[StudyId, int, str], bytes] = {}
        self.models: dict[Hash, bytes] = {}
        self.sign_state = SignStateFile(self._root)
        self.sign_state.create(record)

    def close(self) -> None:
        """Remove the folder."""
        self._folder.cleanup()

    def _note(self, kind: str, undo: Callable[[], None]) -> None:
        self._undo.append((kind, undo))
        del self._undo[:-KEPT_WRITES]

    # --- writing ------------------------------------------------------------------------------------------------

    def save_sign_state(self, record: SignRecord) -> None:
        """Write the record with the real code."""
        before = self._slots()
        self.sign_state.save(record)
        self._note(SIGN_STATE, lambda: self._restore_slots(before))

    def tear_sign_state(self) -> None:
        """Leave the slot that is written next half written, as when the power goes in the middle."""
        path = self._root / SLOT_NAMES[self.sign_state._next]
        data = bytearray(path.read_bytes())
        data[40:80] = bytes(40)
        path.write_bytes(data)

    def append(self, decided: DecidedBlock) -> None:
        """Write a block; what the real store would write is put together as well."""
        block_batch(self.tip, decided)
        self.blocks.append(decided)
        self._note(CHAIN, lambda: self.blocks.__delitem__(slice(len(self.blocks) - 1, None)))

    def save_record(self, key: tuple[StudyId, int, str], data: bytes) -> None:
        """Write one part of a round's record."""
        before = self.records.get(key)
        self.records[key] = data

        def undo() -> None:
            if before is None:
                self.records.pop(key, None)
            else:
                self.records[key] = before

        self._note(RECORDS, undo)

    def forget_records(self, study: StudyId, up_to: int) -> None:
        """Delete the records of closed rounds."""
        for key in [key for key in self.records if key[0] == study and key[1] <= up_to]:
            del self.records[key]

    def save_model(self, name: Hash, data: bytes) -> None:
        """Write a model file."""
        if name not in self.models:
            self.models[name] = data
            self._note(MODELS, lambda: self.models.__delitem__(name) if name in self.models else None)

    # --- failing ------------------------------------------------------------------------------------------------

    def lose(self, count: int, kinds: frozenset[str]) -> int:
        """Undo the last `count` writes of these kinds; return how many there were."""
        lost = 0
        for kind, undo in reversed(self._undo):
            if lost < count and kind in kinds:
                undo()
                lost += 1
        self._undo.clear()
        return lost

    def snapshot(self) -> Snapshot:
        """Copy everything."""
        marks = {path.name: path.read_bytes() for path in self._marks()}
        return Snapshot(tuple(self.blocks), dict(self.records), dict(self.models), self._slots(), marks, self.genesis)

    def roll_back(self, copy: Snapshot) -> None:
        """Put an old copy in the place of everything."""
        self.genesis = copy.genesis
        self.blocks, self.records, self.models = list(copy.blocks), dict(copy.records), dict(copy.models)
        self._restore_slots(copy.slots)
        for path in self._marks():
            path.unlink()
        for name, data in copy.marks.items():
            (self.home.keystore.parent / name).write_bytes(data)
        self._undo.clear()

    def lose_everything(self) -> None:
        """The folder of the daemon is gone, the keys and what lies beside them are not."""
        self.blocks, self.records, self.models = [], {}, {}
        self.lose_sign_state()
        self._undo.clear()

    def lose_sign_state(self) -> None:
        """What this key has signed is gone."""
        for name in SLOT_NAMES:
            (self._root / name).unlink(missing_ok=True)

    def join(self, successor: Genesis, keys: Keys) -> None:
        """Go on with a successor, by the daemon's own code; models stay."""
        join_successor(self.home, self.home.genesis, self.genesis, successor, keys)
        self.genesis = successor
        self.blocks, self.records = [], {}
        self._undo.clear()

    def _marks(self) -> list[Path]:
        return [path for path in self.home.keystore.parent.iterdir() if path.is_file()]

    def _slots(self) -> tuple[bytes, ...] | None:
        if not (self._root / SLOT_NAMES[0]).exists():
            return None
        return tuple((self._root / name).read_bytes() for name in SLOT_NAMES)

    def _restore_slots(self, slots: tuple[bytes, ...] | None) -> None:
        if slots is None:
            self.lose_sign_state()
            return
        for name, data in zip(SLOT_NAMES, slots, strict=True):
            (self._root / name).write_bytes(data)

    # --- reading ------------------------------------------------------------------------------------------------

    @property
    def height(self) -> int:
        """Height of the stored chain."""
        return len(self.blocks)

    @property
    def tip(self) -> Tip:
        """End of the stored chain."""
        genesis = self.genesis
        return self.blocks[-1].tip if self.blocks else genesis_tip(
            genesis.chain_id, genesis.member_set, genesis.time_ms
        )

    @property
    def certificate(self) -> Certificate | None:
        """The proof of the tip."""
        return self.blocks[-1].certificate if self.blocks else None

    def get_certificate(self, height: int) -> Certificate | None:
        """The proof of a block."""
        return next((proof for _, proof in self.range(height, height)), None) if height else None

    def get_members(self, height: int) -> MemberSet:
        """Who decides a height."""
        return self.blocks[height - 2].tip.members if height > 1 else self.genesis.member_set

    def load_state(self) -> State:
        """Put the state together from what the blocks changed, as it lies in the real store."""
        items = dict(self.genesis.first_state().items())
        for decided in self.blocks:
            for key, value in decided.changes:
                if value is None:
                    del items[key]
                else:
                    items[key] = value
        state = State.load(RECORD_TABLE, items.items())
        if self.blocks and state.root != self.blocks[-1].block.header.state_root:
            raise StorageError("the stored changes do not give the state of the tip")
        return state

    def range(self, first: int, last: int) -> Iterator[tuple[Block, Certificate]]:
        """Yield blocks with their certificates, as the store does."""
        for decided in self.blocks[first - 1 : last]:
            height = decided.block.height
            after = self.blocks[height].block if height < len(self.blocks) else None
            proof = decided.certificate if after is None else after.parent_certificate
            assert proof is not None, "a later block carries its parent's certificate"
            yield decided.block, proof

    def start_sign_state(self) -> SignRecord | None:
        """Open the sign-state as a new process does."""
        self.sign_state = SignStateFile(self._root)
        return self.sign_state.load(self.height)

    def load_part(self, study: StudyId, number: int, part: str) -> bytes | None:
        """Return a part of what is recorded of a round."""
        return self.records.get((study, number, part))

    def load_model(self, name: Hash) -> StoredModel | None:
        """Return a model that is here."""
        data = self.models.get(name)
        return None if data is None else look_at_model(name, data)
