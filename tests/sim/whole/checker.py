"""What must hold in every run of whole nodes, seen from outside: on blocks, on the wire and on opened sums."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fednode.chain.block import Block
from fednode.chain.consensus.messages import ConsensusMessage, Proposal
from fednode.chain.state import State
from fednode.chain.vote import Certificate, Vote
from fednode.core import effects as do
from fednode.ids import MemberId, StudyId
from fednode.ledger import bodies as tx
from fednode.ledger.genesis import Genesis
from fednode.ledger.members.reading import get_members
from fednode.ledger.studies.bodies import Outcome, Result, StudyBegin
from fednode.ledger.studies.records import get_report, get_round, get_study
from fednode.ledger.succession import Consent
from fednode.ledger.sums.records import RoundRecord
from fednode.rounds.jobs import plan_of, sum_params
from fednode.rounds.ledger_view import kind_of
from fednode.smpc.messages import RecordPart
from fednode.smpc.record import restore_input
from fednode.smpc.vectors import load
from fednode.sums import bodies
from fednode.sums.measures import Claims, read_sums
from tests.sim.checker import Violation

if TYPE_CHECKING:
    from tests.sim.whole.node import WholeNode
    from tests.sim.whole.world import World

GONE_MEMORY_MS = 4_000
"""How long after a member is back votes that it is gone may still be decided: they are under way, or of the phase."""


@dataclass
class Opened:
    """What the chain shows of one round's opening."""

    unmasked: tuple[int, tuple[MemberId, ...], tuple[MemberId, ...]] | None = None
    pair_keys: set[MemberId] = field(default_factory=set)
    self_keys: set[MemberId] = field(default_factory=set)


class WholeChecker:
    """Watches all nodes. `untrusted` members have a disk that broke its word: nothing is promised about them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.untrusted: set[MemberId] = set()
        self.chains: dict[bytes, list[Block]] = {world.genesis.chain_id: []}
        """Every chain so far, the latest successor last."""
        self.may_stop: set[MemberId] = set()
        """Members that have a reason to sign nothing, and still must not sign twice."""
        self._sizes = {(bytes(world.genesis.chain_id), 1): world.plan.members}
        self._consents: dict[tuple[bytes, MemberId], Consent] = {}
        self._joined: dict[tuple[bytes, MemberId], bytes] = {}
        self.rejected: Counter[str] = Counter()
        self.double_votes: list[str] = []
        """Conflicting signatures of members whose disk lied."""
        self.sums = 0
        self._signed: dict[tuple[bytes, int, int, int, int], tuple[bytes, int]] = {}
        self._opened: dict[tuple[bytes, StudyId, int], Opened] = {}
        self._inputs: dict[tuple[bytes, StudyId, int, MemberId], tuple[NDArray[np.int32], Claims]] = {}
        self._begun: set[StudyId] = set()
        self._gone: dict[tuple[MemberId, MemberId], int | None] = {}
        """(member, by whom): it was found to be gone, and when it was back; None: not yet."""
        self._leashes: Counter[tuple[StudyId, MemberId]] = Counter()
        self._without: defaultdict[tuple[StudyId, MemberId], set[MemberId]] = defaultdict(set)
        """Who voted that a study begins without a member."""
        self._results: dict[tuple[bytes, StudyId, int, int], Result] = {}

    # --- signatures ---------------------------------------------------------------------------------------------

    @property
    def blocks(self) -> list[Block]:
        """The chain that everybody goes on with."""
        return list(self.chains.values())[-1]

    @property
    def total(self) -> int:
        """Blocks of all chains."""
        return sum(map(len, self.chains.values()))

    def on_sent(self, node: WholeNode, message: ConsensusMessage) -> None:
        """No member signs two different statements for one place, or anything on a chain whose succession it signed."""
        sender, chain = node.member, bytes(node.disk.genesis.chain_id)
        vote = message if isinstance(message, Vote) else message.vote if isinstance(message, Proposal) else None
        if vote is None or vote.sender != sender:
            return
        place, said = (chain, vote.sender, vote.height, vote.view, vote.kind), (vote.value, vote.valid_view)
        has_consented = (chain, sender) in self._consents and sender not in self.untrusted
        if has_consented and place not in self._signed:  # what it signed before may come back to it and be passed on
            raise Violation(f"member {sender} signed on a chain whose succession it has signed, height {vote.height}")
        if self._signed.setdefault(place, said) == said:
            return
        text = f"member {sender} signed twice at height {vote.height}, view {vote.view}, kind {vote.kind}"
        if sender not in self.untrusted:
            raise Violation(text)
        if text not in self.double_votes:
            self.double_votes.append(text)

    def on_stopped_signing(self, node: WholeNode, reason: str) -> None:
        """Only a member whose disk broke its word has a reason to."""
        if node.member not in self.untrusted | self.may_stop:
            raise Violation(f"member {node.member} stopped signing: {reason}")

    def on_consent(self, node: WholeNode, consent: Consent) -> None:
        """A member signs one succession of a chain."""
        first = self._consents.setdefault((bytes(consent.chain_id), node.member), consent)
        if first != consent and node.member not in self.untrusted:
            raise Violation(f"member {node.member} signed two successions of one chain")

    def on_joined(self, node: WholeNode, successor: Genesis) -> None:
        """A member takes part in one successor: one that it has signed, and that rests on its signers' latest end."""
        origin = successor.origin
        first = self._joined.setdefault((bytes(origin.chain_id), node.member), bytes(successor.chain_id))
        if first != successor.chain_id and node.member not in self.untrusted:
            raise Violation(f"member {node.member} takes part in two successors of one chain")
        if node.member not in origin.numbers or any(c.height > origin.height for c in origin.consents):
            raise Violation(f"member {node.member} is in a successor that is not what was signed")
        if successor.chain_id not in self.chains:
            self.chains[bytes(successor.chain_id)] = []
            self._sizes[bytes(successor.chain_id), 1] = len(successor.members)

    def on_rejected(self, by: MemberId, sender: MemberId, reason: str) -> None:
        """Nobody refuses what an honest member sent."""
        self.rejected[reason] += 1
        if self._world.plan.trouble == "members":
            return  # what was signed before a change may not hold after it, and that is nobody's fault
        if sender not in self.untrusted and by not in self.untrusted:
            raise Violation(f"member {by} refused what member {sender} sent: {reason}")

    # --- blocks -------------------------------------------------------------------------------------------------

    def on_block(self, node: WholeNode, stored: do.StoreBlock) -> None:
        """All chains are one chain; what a block says of rounds keeps the promises of the secure sum."""
        block, state = stored.block, stored.outcome.applied.state
        if state.root != block.header.state_root:
            raise Violation(f"member {node.member}: block {block.height} leads to another state than it names")
        self._check_certificate(block, stored.certificate)
        name = bytes(block.header.chain_id)
        blocks = self.chains[name]
        if block.height <= len(blocks):
            if blocks[block.height - 1].hash != block.hash:
                raise Violation(f"two blocks at height {block.height}")
            return
        blocks.append(block)
        self._sizes[name, block.height + 1] = len(stored.tip.members)
        self._world.on_height(self.total)
        for transaction, receipt in zip(stored.outcome.transactions, stored.outcome.applied.receipts, strict=True):
            if receipt.ok:
                self._on_transaction(name, transaction.sender, transaction.body)
        for study in self._world.studies:
            current = get_round(state, study)
            self._check_leashes(state, study, self._sizes[name, block.height])
            if current is not None:
                self._check_beginning(state, study, current, self._sizes[name, block.height])
            if current is not None and current.is_unmasked:
                attempt = current.attempt
                fixed = (attempt.number, attempt.qualified, attempt.included)
                opened = self._opened.setdefault((name, study, current.number), Opened())
                if opened.unmasked is None:
                    opened.unmasked = fixed
                elif opened.unmasked != fixed:
                    raise Violation(f"round {current.number} was unmasked twice: {opened.unmasked}, then {fixed}")

    def found_gone(self, node: WholeNode, member: MemberId) -> None:
        """Two dials of a machine have failed: until the member is back, and a little longer, it may say so."""
        self._gone[member, node.member] = None

    def found_back(self, node: WholeNode, member: MemberId) -> None:
        """A machine reaches a member again."""
        if (member, node.member) in self._gone:
            self._gone[member, node.member] = self._world.now_ms

    def _check_leashes(self, state: State, study: StudyId, size: int) -> None:
        """Whoever is left out before its time was out of reach for q members a short while ago, or their keys lie."""
        record = get_study(state, study)
        for member, count in () if record is None else record.leashes:
            if count <= self._leashes[study, member]:
                continue
            self._leashes[study, member] = count
            since = self._world.now_ms - GONE_MEMORY_MS
            times = {by: back for (gone, by), back in self._gone.items() if gone == member}
            found = {by for by, back in times.items() if back is None or back >= since}
            if 3 * len(found | self.untrusted) <= 2 * size:
                raise Violation(f"member {member} was left out, and only {sorted(found)} of {size} could not reach it")

    def _check_beginning(self, state: State, study: StudyId, current: RoundRecord, size: int) -> None:
        """The first round of a study has every founder in it, or q members named who is not."""
        if study in self._begun:
            return
        self._begun.add(study)
        members = {record.member for record in get_members(state)}
        founders = members & {number for number, _ in self._world.genesis.numbered}
        for missing in founders.difference(current.expected):
            votes = len(self._without[study, missing] & members)
            if 3 * votes <= 2 * min(size, len(members)):
                raise Violation(f"a study began without member {missing} by {votes} votes of {size} members")

    def _check_certificate(self, block: Block, certificate: Certificate) -> None:
        count = self._sizes[bytes(block.header.chain_id), block.height]
        signers = sum(bin(byte).count("1") for byte in certificate.bitmap)
        if certificate.block_hash != block.hash or 3 * signers <= 2 * count or signers != len(certificate.signatures):
            raise Violation(f"the certificate of block {block.height} does not hold")

    def _on_transaction(self, chain: bytes, sender: MemberId, body: tx.Body) -> None:
        match body:
            case Result():
                self._on_result(chain, sender, body)
            case StudyBegin():
                self._without[StudyId(body.study), body.without].add(sender)
            case bodies.Reveal():
                opened = self._opened.setdefault((chain, StudyId(body.study), body.round), Opened())
                if opened.unmasked is None:
                    raise Violation(f"round {body.round}: something was opened before the unmasking")
                opened.pair_keys |= {MemberId(dealer) for dealer, _ in body.a_shares}
                opened.self_keys |= {MemberId(dealer) for dealer, _ in body.b_shares}
                if body.own_b is not None:
                    opened.self_keys.add(sender)
                both = opened.pair_keys & opened.self_keys
                if both or opened.pair_keys & set(opened.unmasked[2]):
                    raise Violation(f"round {body.round}: both masks of {sorted(both)} were opened")
            case _:
                pass

    def _on_result(self, chain: bytes, sender: MemberId, body: Result) -> None:
        """Members that have a result have the same one."""
        if body.outcome != Outcome.OK or sender in self.untrusted:
            return
        body = replace(body, wants_stop=False)  # each member's own word
        first = self._results.setdefault((chain, StudyId(body.study), body.round, body.attempt), body)
        if first != body:
            raise Violation(f"round {body.round}: member {sender} has another result than the first")

    # --- sums ---------------------------------------------------------------------------------------------------

    def on_record(self, node: WholeNode, study: StudyId, number: int, part: str, data: bytes) -> None:
        """Remember the vector a member fixed: it is written once and never again."""
        if part != RecordPart.INPUT.value:
            return
        current = get_round(node.core.chain.state, study)
        if current is None or current.number != number:
            return
        kind, spec = kind_of(current), self._world.spec
        where = (node.disk.genesis.chain_id, study, number, node.member)
        params = sum_params(spec, kind, where, current.members, bytes(32))
        found = restore_input(params, {RecordPart.INPUT: data})
        fixed = load(found.values).view(np.int32), load(found.claims)
        key = (bytes(node.disk.genesis.chain_id), study, number, node.member)
        before = self._inputs.setdefault(key, fixed)
        if node.member in self.untrusted:
            self._inputs[key] = fixed
        elif not all((old == new).all() for old, new in zip(before, fixed, strict=True)):
            raise Violation(f"round {number}: member {node.member} fixed two vectors, or claimed two things")

    def on_sum(
        self, node: WholeNode, study: StudyId, number: int, total: NDArray[np.int32], words: tuple[int, ...]
    ) -> None:
        """Opened sums are the exact sums of the vectors, and of the claims, of those who were included."""
        current = get_round(node.core.chain.state, study)
        if current is None or current.number != number:
            return
        included = current.attempt.included
        if set(included) & self.untrusted:
            return
        chain = bytes(node.disk.genesis.chain_id)
        parts = [self._inputs[(chain, study, number, member)] for member in included]
        wanted = np.sum([values.astype(np.int64) for values, _ in parts], axis=0)
        plan = plan_of(self._world.spec, kind_of(current))
        claimed = np.sum([claims.astype(np.int64) for _, claims in parts], axis=0).tolist()
        told = [part for tally in read_sums(plan, words, len(included)) for part in tally.parts]
        if not (wanted == total.astype(np.int64)).all() or claimed != told:
            raise Violation(f"round {number}: the sum of member {node.member} is not that of {included}")
        self.sums += 1

    def reports(self, node: WholeNode, study: StudyId, count: int) -> list[Outcome | None]:
        """Return how the rounds of a study ended."""
        found = [get_report(node.core.chain.state, study, number) for number in range(count)]
        return [None if report is None else Outcome(report.outcome) for report in found]
