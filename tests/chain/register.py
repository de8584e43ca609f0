"""An application that has nothing to do with hospitals: a register, in which every name is entered once.

A transaction is `name=value`. A second entry of a name stays on the chain with a receipt that refuses it; what is no
entry may not be in a block. The entry `member=<number, 2 bytes><sign key>` lets a member in.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fednode.chain.block import Block, BlockContext, Execution, Receipt, compute_params_hash, receipts_data
from fednode.chain.consensus import effects as ask
from fednode.chain.leveldb import LevelDbStore, open_store
from fednode.chain.state import Changes, Draft, RecordTable, State, compute_root
from fednode.chain.store import DecidedBlock, LedgerStore
from fednode.chain.vote import Certificate, Member, MemberSet
from fednode.crypto import sha256
from fednode.errors import Rejected
from fednode.ids import Hash, MemberId
from tests.sim.checker import Checker, Violation
from tests.sim.keys import CHAIN_ID, GENESIS_MS
from tests.sim.ledger import JOINING
from tests.sim.node import Disk, SimNode
from tests.sim.world import JOIN_AT, Plan, World

VERSION = 1
MEMBERS_KEY = b"members"
TAKEN = "taken"


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands under a name."""

    value: bytes


RECORDS = RecordTable({b"entry": (1, Entry), MEMBERS_KEY: (2, MemberSet)})


def entry_key(name: bytes) -> bytes:
    return b"entry/" + name


def with_member(members: MemberSet, value: bytes) -> MemberSet:
    """Return the members after an entry that lets one in."""
    member = Member(MemberId(int.from_bytes(value[:2], "big")), value[2:])
    return MemberSet(tuple(sorted((*members.members, member), key=lambda known: known.id)))


@dataclass(frozen=True)
class RegisterFounding:
    """A register before its first entry."""

    member_set: MemberSet
    name: str = "register"
    chain_id: Hash = CHAIN_ID
    protocol_version: int = VERSION
    time_ms: int = GENESIS_MS
    records: RecordTable = RECORDS

    def first_state(self) -> State:
        draft = Draft(State.empty(RECORDS))
        draft.write(MEMBERS_KEY, self.member_set)
        return draft.freeze()[0]


class Register:
    """The application, and the pool in front of it."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        self.state = store.load_state()
        self.pending: dict[bytes, None] = {}
        self.outcomes: dict[tuple[bytes, ...], tuple[State, tuple[Receipt, ...], Changes]] = {}
        self.decided: dict[int, tuple[tuple[Receipt, ...], Changes]] = {}
        """By height, until they are stored: one event can decide two blocks."""

    def has_work(self) -> bool:
        return bool(self.pending)

    def pick(self, context: BlockContext, may_be_empty: bool) -> Execution | None:
        return self.execute(context, tuple(self.pending)) if self.pending or may_be_empty else None

    def execute(self, context: BlockContext, transactions: tuple[bytes, ...]) -> Execution:
        draft = Draft(self.state)
        receipts = tuple(self._enter(draft, data) for data in transactions)
        state, changes = draft.freeze()
        self.outcomes[transactions] = (state, receipts, changes)
        root, members = compute_root(receipts_data(receipts)), state.read(MEMBERS_KEY, MemberSet)
        return Execution(transactions, root, state.root, compute_params_hash(VERSION), members, VERSION)

    def _enter(self, draft: Draft, data: bytes) -> Receipt:
        name, equals, value = data.partition(b"=")
        if not equals or not self.is_new(data):
            raise Rejected("no new entry")
        if draft.read(entry_key(name), Entry) is not None:
            return Receipt(sha256(data), False, TAKEN)
        draft.write(entry_key(name), Entry(value))
        if name == b"member":
            draft.write(MEMBERS_KEY, with_member(draft.read(MEMBERS_KEY, MemberSet), value))
        return Receipt(sha256(data), True, "")

    def commit(self, block: Block, done: Execution) -> None:
        self.state, receipts, changes = self.outcomes[done.transactions]
        self.decided[block.height] = receipts, changes
        self.outcomes.clear()
        for data in block.transactions:
            self.pending.pop(data, None)

    def is_new(self, transaction: bytes) -> bool:
        return self._store.find_transaction(sha256(transaction)) is None

    def add(self, transaction: bytes) -> bool:
        is_new = self.is_new(transaction) and transaction not in self.pending
        if is_new:
            self.pending[transaction] = None
        return is_new


class StoredDisk(Disk):
    """A disk on which the chain lies in a LevelDB directory."""

    def __init__(self, disk: Disk, path: Path, founding: RegisterFounding) -> None:
        self.record, self._path, self._founding = disk.record, path, founding
        self.open()

    def open(self) -> None:
        """Read everything anew, as a process does that starts."""
        self.chain: LevelDbStore = open_store(self._path, self._founding)

    @property
    def tip(self):
        return self.chain.tip

    @property
    def blocks(self) -> list[tuple[Block, Certificate]]:
        return list(self.chain.blocks(1, self.chain.tip.height))


class RegisterNode(SimNode):
    """A machine whose application is a register, with its chain in a real store."""

    disk: StoredDisk
    ledger: Register

    @property
    def height(self) -> int:
        return self.disk.tip.height

    def load_ledger(self) -> Register:
        return Register(self.disk.chain)

    def store(self, decided: ask.Decide) -> None:
        receipts, changes = self.ledger.decided.pop(decided.block.height)
        self.disk.chain.append(DecidedBlock(decided.block, decided.certificate, decided.tip, receipts, changes))

    def crash(self) -> None:
        super().crash()
        self.disk.chain.close()
        self.disk.open()


class RegisterChecker(Checker):
    """Keeps the register by hand, as a dictionary."""

    def __init__(self, members: MemberSet, *args: object) -> None:
        super().__init__(members, *args)
        self.entries: dict[bytes, bytes] = {}
        self.refused: set[bytes] = set()

    def execute(self, members: MemberSet, block: Block) -> MemberSet:
        for data in block.transactions:
            name, equals, value = data.partition(b"=")
            if not equals:
                raise Violation(f"block {block.height} holds what is no entry")
            if name in self.entries:
                self.refused.add(data)
                continue
            self.entries[name] = value
            members = with_member(members, value) if name == b"member" else members
        items = [(entry_key(name), b"\x91" + _packed(value)) for name, value in self.entries.items()]
        kept = [(key, data) for key, data in RegisterFounding(members).first_state().items()]
        if State.load(RECORDS, [*items, *kept]).root != block.header.state_root:
            raise Violation(f"block {block.height} has a wrong state root")
        return members


def _packed(value: bytes) -> bytes:
    """MessagePack's short form of bytes."""
    return b"\xc4" + bytes([len(value)]) + value


class RegisterWorld(World):
    """Machines that keep a register together; entry `JOIN_AT` lets the member in that was an observer, if one joins."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._folder = folder
        super().__init__(plan)

    def make_checker(self, honest: frozenset[MemberId]) -> Checker:
        self.founding = RegisterFounding(self.members)
        return RegisterChecker(self.members, self.check, honest, self.everybody)

    def make_node(
        self, kind: type[SimNode], index: int, member: MemberId, is_twin: bool, skew_ms: int, disk: Disk
    ) -> RegisterNode:
        stored = StoredDisk(disk, self._folder / str(index), self.founding)
        return RegisterNode(self, index, member, is_twin, skew_ms, stored)

    def make_transaction(self, number: int) -> bytes:
        if self.plan.joins and number == JOIN_AT:
            member = next(member for member in self.everybody.members if member.id == JOINING)
            return b"member=" + member.id.to_bytes(2, "big") + member.sign_key
        return b"%d=%d" % (number // 2, number)  # every name twice

    def close(self) -> None:
        for node in self.nodes:
            node.disk.chain.close()
