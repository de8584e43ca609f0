"""The whole node as one machine: consensus, catch-up, pool and studies; events in, effects out.

Security assumption: a member's bytes are decoded and every signature in them checked here before any machine sees
them. Effects are performed strictly in order: a signature's record, a secret's record and a block are durable before
anything that depends on them leaves. Nothing here reads a clock, a file or a socket, so a simulator can run it whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar, assert_never

from fednode.chain import sync
from fednode.chain.consensus import effects as ask
from fednode.chain.consensus import events as happen
from fednode.chain.consensus.events import ViewTimer
from fednode.chain.consensus.messages import ConsensusMessage
from fednode.chain.consensus.replica import Replica, admit
from fednode.core import effects as do
from fednode.core import traffic
from fednode.core.attendance import Identity, RollCall
from fednode.core.effects import log
from fednode.core.presence import Presence, decode_presence
from fednode.core.studies import Models, Studies, StudyEffect
from fednode.core.traffic import Traffic
from fednode.effects import (
    Asked,
    Broadcast,
    Compute,
    ComputeDone,
    DropPeer,
    Note,
    Persist,
    Send,
    StartTimer,
    TimerFired,
)
from fednode.errors import Refused, Rejected
from fednode.ids import Hash, MemberId, StudyId
from fednode.learn import jobs as work
from fednode.learn.model_file import StoredModel
from fednode.ledger.application import ExecutedBlock, LedgerApplication
from fednode.ledger.bodies import Body
from fednode.ledger.members.reading import get_nonce
from fednode.ledger.refusals import Refusal, describe_refusal
from fednode.ledger.transactions import Transaction
from fednode.p2p.peers import TokenBucket
from fednode.rounds import events as rounds
from fednode.rounds.events import OfStudy, OfSum, PhaseTimer, WorkDone
from fednode.smpc import messages as sm
from fednode.smpc.messages import SumTimer

RANGES_PER_S = 20
"""Ranges of blocks one member is served: more than it can check, and little of this node's time."""
HOLD_MS = 30
"""How long a phase's first messages wait for the others': they are posted within a few milliseconds of each other."""

Message = TypeVar("Message")


class Core:
    """One node. Every public method takes one event and returns what to do, in order.

    A machine is never called while the effects of its last call are being translated: what follows from them waits in
    `_later`. Otherwise a later sign-state record could be written before an earlier one.
    """

    def __init__(self, identity: Identity, chain: LedgerApplication, replica: Replica, studies: Studies) -> None:
        self.identity = identity
        self.chain = chain
        self.replica = replica
        self.catch_up = sync.CatchUp(replica.tip)
        self.studies = studies
        self.roll_call = RollCall(identity, chain, replica)
        self.attendance = self.roll_call.attendance
        self.models = Models()
        self.traffic = Traffic(chain, identity.chain_id, identity.member, identity.signer)
        self.traffic.outbox.begin_after(get_nonce(chain.state, identity.member))
        if replica.has_consented:
            self.traffic.outbox.closed = replica.refusal
        self.up: set[MemberId] = set()
        self.gone: set[MemberId] = set()
        self.now_ms, self._held = 0, -1
        self._has_new_state = self.is_halted = False
        self._ranges: dict[MemberId, TokenBucket] = {}
        self._later: deque[Callable[[], list[do.Effect]]] = deque()
        self._receivers: dict[int, Callable[[MemberId, Any], list[do.Effect]]] = {}
        self.receive(traffic.CONSENSUS, self._on_consensus)
        self.receive(traffic.SYNC, self._on_sync)
        self.receive(traffic.TRANSACTIONS, self._on_transactions)
        self.receive(traffic.WANT, self._on_want)
        self.receive(traffic.PRESENCE, self._on_presence)

    def _settle(self, effects: list[do.Effect]) -> list[do.Effect]:
        """Add what follows from `effects`, and from that, until nothing does.

        The studies see the state last and once: they compare it with what they do, and the blocks that a returning
        node fetches by the dozen are history to them.
        """
        while (self._later or self._has_new_state) and not self.is_halted:
            if self._later:
                effects += self._later.popleft()()
            else:
                self._has_new_state = False
                effects += self._studies(self.studies.on_state(self.chain.state))
        return effects

    # --- events -------------------------------------------------------------------------------------------------

    def start(self, now_ms: int) -> list[do.Effect]:
        """Begin: take up the height, the studies and whatever they were doing."""
        self.now_ms = now_ms
        effects = self._consensus(self.replica.handle(happen.Started(now_ms)))
        effects += self._sync(self.catch_up.handle(sync.SyncStarted()))
        effects += self.roll_call.start(now_ms)
        return self._settle(effects + self._studies(self.studies.on_state(self.chain.state)))

    def peer_up(self, member: MemberId, now_ms: int) -> list[do.Effect]:
        """A member can be reached: bring it up to date."""
        self.now_ms = now_ms
        self.up.add(member)
        effects = self._note_gone(self.gone - {member})
        effects += self._sync(self.catch_up.handle(sync.PeerConnected(member)))
        effects += self._consensus(self.replica.handle(happen.PeerUp(member, now_ms)))
        effects += self.traffic.greet(member) + self.models.peer_up(member, now_ms)
        effects += self.roll_call.greet(member, now_ms)
        for study, machine in self.studies.running():
            number = machine.current_round
            if number is not None:
                event = rounds.SumHappened(number, sm.PeerUp(member))
                effects += self._study_event(study, event)
        return self._settle(effects)

    def peer_down(self, member: MemberId, now_ms: int) -> list[do.Effect]:
        """A member cannot be reached any more."""
        self.now_ms = now_ms
        self.up.discard(member)
        self.models.peer_down(member)
        return self._settle(self._sync(self.catch_up.handle(sync.PeerLost(member))))

    def peer_gone(self, member: MemberId, now_ms: int) -> list[do.Effect]:
        """No way to a member was found in two tries: until it is back, nobody needs to wait for it long."""
        self.now_ms = now_ms
        return self._settle([] if member in self.up else self._note_gone(self.gone | {member}))

    def _note_gone(self, gone: set[MemberId]) -> list[do.Effect]:
        if gone == self.gone:
            return []
        self.gone = gone
        effects = self._consensus(self.replica.handle(happen.PeersGone(frozenset(gone), self.now_ms)))
        return effects + self._studies(self.studies.note_gone(frozenset(gone)))

    def frame(self, sender: MemberId, data: bytes, now_ms: int) -> list[do.Effect]:
        """Take one frame from a member; raise `Rejected` if no honest member sends it."""
        self.now_ms = now_ms
        return self._settle(self._on_frame(sender, traffic.decode_frame(data)))

    def receive(
        self, kind: traffic.FrameClass[Message], by: Callable[[MemberId, Message], list[do.Effect]]
    ) -> None:
        """Have messages of a class of frames taken by `by`, which raises `Rejected` for what no honest member sends."""
        self._receivers[kind.code] = by

    def _on_frame(self, sender: MemberId, frame: traffic.Frame) -> list[do.Effect]:
        """Hand a message to its receiver; a candidate follows the chain and reports, nothing else of it is taken."""
        if sender not in self.replica.tip.members.positions and not frame.kind.is_for_candidates:
            return []
        return self._receivers[frame.kind.code](sender, frame.message)

    def _on_sync(self, sender: MemberId, message: sync.SyncMessage) -> list[do.Effect]:
        return self._sync_event(sync.SyncReceived(sender, message))

    def _on_want(self, sender: MemberId, want: traffic.Want) -> list[do.Effect]:
        match want:
            case traffic.WantModel(name):
                return [do.ServeModel(sender, Hash(name))]
            case traffic.WantChunk(study, number, ref):
                return self._sum_event(StudyId(study), number, sm.WantArrived(sender, ref))
            case _:
                assert_never(want)

    def _on_presence(self, sender: MemberId, presence: Presence) -> list[do.Effect]:
        return self.roll_call.hear(sender, presence, self.now_ms)

    def announcement(self, sender: MemberId, data: bytes, now_ms: int) -> list[do.Effect]:
        """Take what a member gossips of itself: among other things, where its chain ends."""
        self.now_ms = now_ms
        presence = decode_presence(data)
        effects = self.roll_call.hear(sender, presence, now_ms)
        claim = sync.SyncReceived(sender, presence.as_status())
        return self._settle(effects + self._sync(self.catch_up.handle(claim)))

    def accepts_blob(self, sender: MemberId, header: bytes, size_bytes: int) -> bool:
        """Whether to read a blob at all: one that is expected from this member, of the right size."""
        try:
            named = traffic.decode_header(header)
        except Rejected:
            return False
        match named:
            case traffic.ModelHeader(name):
                return self.models.accepts(sender, Hash(name), size_bytes, self.now_ms)
            case traffic.ChunkHeader(study, number, ref, _):
                machine = self.studies.get(StudyId(study))
                return machine is not None and machine.is_chunk_expected(number, ref, size_bytes, sender)
            case _:
                assert_never(named)

    def blob(self, sender: MemberId, header: bytes, data: memoryview, now_ms: int) -> list[do.Effect]:
        """Take a blob that was accepted."""
        self.now_ms = now_ms
        match named := traffic.decode_header(header):
            case traffic.ModelHeader(name):
                effects = self.models.arrived(sender, Hash(name), data)
            case traffic.ChunkHeader(study, number, ref, proof):
                effects = self._sum_event(StudyId(study), number, sm.ChunkArrived(sender, ref, proof, data))
            case _:
                assert_never(named)
        return self._settle(effects)

    def tell(self, by: do.Address, answer: do.Answer, now_ms: int) -> list[do.Effect]:
        """Something that a machine asked for has come: a timer, a computed result, an answer of the worker."""
        self.now_ms = now_ms
        return self._settle(self._on_answer(by, answer))

    def _on_answer(self, by: do.Address, answer: do.Answer) -> list[do.Effect]:
        match by, answer:
            case OfStudy(study), TimerFired(PhaseTimer() as phase):
                return self._study_event(study, TimerFired(phase))
            case OfStudy(study), (ComputeDone() | WorkDone()) as done:
                return self._study_event(study, done)
            case OfSum(study, number), TimerFired(SumTimer() as sum_timer):
                return self._sum_event(study, number, TimerFired(sum_timer))
            case OfSum(study, number), ComputeDone() as done:
                return self._sum_event(study, number, done)
            case do.Own(), TimerFired(ViewTimer(kind, height, view)):
                return self._consensus_event(happen.TimerFired(kind, height, view, self.now_ms))
            case do.Own(), TimerFired(sync.SyncTimer() as sync_timer):
                return self._sync_event(TimerFired(sync_timer))
            case do.Own(), TimerFired(do.ModelTimer(name)):
                return self.models.fetch(name, self.up, self.now_ms)
            case do.Own(), TimerFired(do.CoreTimer() as own):
                return self._on_timer(own)
            case _:
                raise TypeError(f"{by} did not ask for {type(answer).__name__}")

    def _on_timer(self, timer: do.CoreTimer) -> list[do.Effect]:
        match timer:
            case do.CoreTimer.PRESENCE:
                return self.roll_call.beat(self.up, self.now_ms)
            case do.CoreTimer.GATHER:
                return self._sent(self.traffic.flush())
            case do.CoreTimer.RESEND:
                return self._sent(self.traffic.send_again(self.now_ms))
            case do.CoreTimer.HOLD:
                self.chain.release()
                return self._wake()
            case _:
                assert_never(timer)

    def model_found(self, name: Hash, model: StoredModel | None, now_ms: int) -> list[do.Effect]:
        """The local store was searched for a model."""
        self.now_ms = now_ms
        found = self.models.fetch(name, self.up, now_ms) if model is None else self._have_model(name, model)
        return self._settle(found)

    def model_arrived(self, sender: MemberId, name: Hash, model: StoredModel | None, now_ms: int) -> list[do.Effect]:
        """What a member sent as a model was looked at."""
        if model is not None:
            return self.model_found(name, model, now_ms)
        return self.models.spoilt(sender, name)

    def submit(self, body: Body, now_ms: int) -> tuple[Transaction, list[do.Effect]]:
        """Bring a person's body onto the ledger; raise `Refused` with the rule's reason if it would be refused."""
        (transaction,), effects = self.submit_all((body,), now_ms)
        return transaction, effects

    def submit_all(self, bodies: Sequence[Body], now_ms: int) -> tuple[list[Transaction], list[do.Effect]]:
        """Bring several bodies onto the ledger, or none of them if the rules would refuse one."""
        self.now_ms = now_ms
        transactions: list[Transaction] = []
        try:
            transactions.extend(map(self._sign, bodies))
        except (Refused, Rejected):
            for transaction in transactions:
                self.traffic.outbox.forget(transaction)
            raise
        return transactions, self._settle(self._sent(self.traffic.send(transactions)))

    def _sign(self, body: Body) -> Transaction:
        transaction = self.traffic.outbox.sign(body, self.chain.height, self.now_ms)
        if transaction is None:
            busy = "the same request is on its way already, or too many are; wait for the next block"
            raise Refused(self.traffic.outbox.closed or busy)
        verdict = self.chain.judge(transaction)
        if not verdict.ok:
            self.traffic.outbox.forget(transaction)
            raise Refused(f"the ledger would refuse this: {describe_refusal(verdict.reason)}")
        return transaction

    # --- from the network ---------------------------------------------------------------------------------------

    def _on_consensus(self, sender: MemberId, message: ConsensusMessage) -> list[do.Effect]:
        event = admit(message, sender, self.replica, self.identity.chain_id, self.now_ms, self.chain.check)
        return [] if event is None else self._consensus(self.replica.handle(event))

    def _on_transactions(self, sender: MemberId, message: traffic.Transactions) -> list[do.Effect]:
        is_new, effects = self.traffic.receive(message.items)
        if is_new:
            self._later.append(self._wake)
        return effects

    def _sent(self, effects: list[do.Effect]) -> list[do.Effect]:
        """Have consensus look at the pool after own transactions were added, if any were."""
        if effects:
            self._later.append(self._wake)
        return effects

    def _wake(self) -> list[do.Effect]:
        """Tell consensus that there is work; begin to wait where more of it is about to come."""
        if not self.chain.is_holding():
            return self._consensus(self.replica.handle(happen.WorkArrived(self.now_ms)))
        if self._held == self.chain.height:
            return []
        self._held = self.chain.height
        return [Asked(do.Own.CORE, StartTimer(do.CoreTimer.HOLD, HOLD_MS))]

    def _have_model(self, name: Hash, model: StoredModel) -> list[do.Effect]:
        """A model is at hand: tell every study, whichever waits for it."""
        self.models.settled(name)
        effects: list[do.Effect] = []
        for study, _ in self.studies.running():
            effects += self._study_event(study, rounds.ModelLoaded(name, model))
        return effects

    # --- what the machines ask for ------------------------------------------------------------------------------

    def _consensus(self, effects: Iterable[ask.Effect]) -> list[do.Effect]:
        out: list[do.Effect] = []
        for effect in effects:
            match effect:
                case Persist() | StartTimer():
                    out.append(Asked(do.Own.CONSENSUS, effect))
                case Broadcast(message):
                    out.append(do.SendToAll(traffic.CONSENSUS.frame(message)))
                case Send(peer, message):
                    out.append(do.SendFrame(peer, traffic.CONSENSUS.frame(message)))
                case DropPeer():
                    out.append(effect)
                case ask.Decide():
                    out += self._decided(effect)
                case ask.Behind(peer, height):
                    self._later.append(partial(self._sync_event, sync.PeerAhead(peer, height)))
                case ask.FoundEvidence(member, height):
                    out.append(log("evidence", member=member, height=height))
                case ask.StoppedSigning(reason):
                    out.append(log("stopped-signing", reason=reason))
                case _:
                    assert_never(effect)
        return out

    def _decided(self, decided: ask.Decide) -> list[do.Effect]:
        outcome = self.chain.take_outcome(decided.block.height)
        self._later.append(partial(self._after_block, decided, outcome))
        stored = do.StoreBlock(decided.block, decided.certificate, decided.tip, outcome)
        unknown = self.chain.unknown_version
        self.is_halted = unknown is not None
        return [stored] if unknown is None else [stored, do.Halt(unknown)]

    def _after_block(self, decided: ask.Decide, outcome: ExecutedBlock) -> list[do.Effect]:
        """The block is the tip: tell whoever waited for it."""
        effects = _tell_receipts(self.identity.member, outcome)
        own_nonce = get_nonce(self.chain.state, self.identity.member)
        effects += self._sent(self.traffic.on_block(outcome.transactions, own_nonce, self.now_ms))
        self._has_new_state = True
        self.roll_call.on_block(decided, self.now_ms)
        return effects + self._sync_event(sync.TipMoved(decided.tip))

    def _consensus_event(self, event: happen.Event) -> list[do.Effect]:
        return self._consensus(self.replica.handle(event))

    def _sync_event(self, event: sync.SyncEvent) -> list[do.Effect]:
        return self._sync(self.catch_up.handle(event))

    def _sync(self, effects: Iterable[sync.SyncEffect]) -> list[do.Effect]:
        out: list[do.Effect] = []
        for effect in effects:
            match effect:
                case Send(peer, message):
                    out.append(do.SendFrame(peer, traffic.SYNC.frame(message)))
                case StartTimer():
                    out.append(Asked(do.Own.SYNC, effect))
                case DropPeer():
                    out.append(effect)
                case sync.ServeRange(peer, first, last):
                    quota = self._ranges.setdefault(peer, TokenBucket(RANGES_PER_S, 2 * RANGES_PER_S))
                    if quota.take(1, self.now_ms * 1_000_000):
                        out.append(do.ServeBlocks(peer, first, last))
                case sync.Adopt(block, certificate):
                    synced = happen.BlockSynced(block, certificate, self.now_ms)
                    self._later.append(partial(self._consensus_event, synced))
                case _:
                    assert_never(effect)
        return out

    def table_changed(self, study: StudyId, data: work.DataAt | None) -> list[do.Effect]:
        """A study's table is another file, or its file has changed."""
        return self._study_event(study, rounds.DataChanged(data))

    def _sum_event(self, study: StudyId, round_: int, event: sm.Event) -> list[do.Effect]:
        return self._study_event(study, rounds.SumHappened(round_, event))

    def _study_event(self, study: StudyId, event: rounds.Event) -> list[do.Effect]:
        return self._studies(self.studies.tell(study, event))

    def _studies(self, effects: Iterable[StudyEffect]) -> list[do.Effect]:
        out: list[do.Effect] = []
        for asked in effects:
            match asked.by, asked.effect:
                case _, rounds.Submit(body):
                    out += self._sent(self.traffic.submit(body, self.now_ms))
                case _, rounds.NeedModel(name):
                    self.models.want(name)
                    out.append(do.LoadModel(name))
                case OfStudy(study), Note(text, is_problem):
                    out.append(log("problem" if is_problem else "note", study=study, text=text))
                case OfSum(study, number), sm.SendChunk(to, ref, proof, chunk):
                    header = traffic.encode_header(traffic.ChunkHeader(study, number, ref, proof))
                    out.append(do.SendBlob(to, header, chunk))
                case OfSum(study, number), sm.WantChunk(to, ref):
                    out.append(do.SendFrame(to, traffic.WANT.frame(traffic.WantChunk(study, number, ref))))
                case by, (
                    Persist() | StartTimer() | Compute() | rounds.StartWork() | rounds.StoreModel()
                    | rounds.ForgetRound()
                ) as handed_on:
                    out.append(Asked(by, handed_on))
                case _:
                    raise TypeError(f"nobody does {asked}")
        return out


def _tell_receipts(me: MemberId, outcome: ExecutedBlock) -> list[do.Effect]:
    """Log what became of a block's transactions where people should know: own ones refused, and faults of the rules."""
    effects: list[do.Effect] = []
    for transaction, receipt in zip(outcome.transactions, outcome.applied.receipts, strict=True):
        if receipt.reason == Refusal.UNFORESEEN:
            what = f"a transaction of member {transaction.sender} broke the rules of this program and was refused"
            effects.append(log("problem", text=f"{what}; please report it", id=receipt.txid))
        elif transaction.sender == me and not receipt.ok:
            effects.append(log("own-transaction-refused", reason=receipt.reason, id=receipt.txid))
    return effects
