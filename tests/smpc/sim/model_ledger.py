"""The phases of one round, restated on one page: an independent, slow and simple ledger for the tests.

It knows nothing of blocks, signatures or studies. The rules of the real ledger are driven by the same world in
`real_ledger`; where both give the same sums, two readings of the protocol agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from fednode.crypto import are_commitments_valid, base_times, is_knowledge_proven, is_share_valid
from fednode.ids import MemberId
from fednode.smpc import messages as m
from fednode.sums import bodies
from fednode.sums.attempt import ChunkRecord, compute_list_digest, key_proof_context
from fednode.sums.phase import Phase
from tests.smpc.sim.model_checks import Checked, CheckPhases

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class ResultVote:
    """A member's vote on the round."""

    digest: bytes | None


@dataclass
class Attempt:
    number: int
    holders: list[MemberId]
    keys: dict[MemberId, bodies.Keys] = field(default_factory=dict)
    complaints: dict[MemberId, tuple[MemberId, ...]] = field(default_factory=dict)
    answers: dict[MemberId, tuple[tuple[MemberId, bytes, bytes], ...]] = field(default_factory=dict)
    present: list[MemberId] = field(default_factory=list)
    qualified: list[MemberId] = field(default_factory=list)
    committed: dict[MemberId, bodies.Commit] = field(default_factory=dict)
    owners: list[MemberId] = field(default_factory=list)
    tried: list[list[MemberId]] = field(default_factory=list)
    reports: dict[tuple[int, MemberId], set[MemberId]] = field(default_factory=dict)
    latest: dict[MemberId, tuple[tuple[int, MemberId], ...]] = field(default_factory=dict)
    settled: set[int] = field(default_factory=set)
    left_out: set[MemberId] = field(default_factory=set)
    included: list[MemberId] = field(default_factory=list)
    digests: dict[int, bytes] = field(default_factory=dict)
    acked: set[MemberId] = field(default_factory=set)
    lacking: dict[MemberId, tuple[int, ...]] = field(default_factory=dict)
    own_b: dict[MemberId, bytes] = field(default_factory=dict)
    a_shares: dict[MemberId, dict[MemberId, bytes]] = field(default_factory=dict)
    b_shares: dict[MemberId, dict[MemberId, bytes]] = field(default_factory=dict)
    awaited: list[MemberId] = field(default_factory=list)
    votes: dict[MemberId, bytes | None] = field(default_factory=dict)
    checked: Checked = field(default_factory=Checked)

    @property
    def dropped(self) -> list[MemberId]:
        return [j for j in self.qualified if j not in self.included]


class ModelLedger(CheckPhases):
    """One round from its first KEYS to its outcome."""

    def __init__(
        self, params: m.SumParams, seal_keys: dict[MemberId, bytes], timeout_ms: int,
        pinned: tuple[MemberId, ...] | None = None, heads: dict[MemberId, bytes] | None = None, coins: int = 0,
    ) -> None:
        self.heads, self.coins, self.blocks, self.faulty = heads or {}, coins, 0, set()
        self.params, self.seal_keys, self.timeout_ms, self.pinned = params, seal_keys, timeout_ms, pinned
        self.f, self.t = params.faults, params.threshold
        self.q = 2 * len(params.members) // 3 + 1
        self.least = max(self.t, 3)
        self.absent: set[MemberId] = set()
        self.barred: set[MemberId] = set()
        self.voids: list[str] = []
        self.refused: list[tuple[MemberId, str]] = []
        self.outcome: tuple[str, object] | None = None
        self.is_unmasked = False
        self.seen: set[bytes] = set()
        self.phase_no = self.step = 0
        self.reopened = False
        self.a = Attempt(0, list(params.members))
        self._open(Phase.KEYS, self.a.holders)

    # --- blocks -------------------------------------------------------------------------------------------------

    def apply(self, txs: Iterable[tuple[MemberId, int, object]], expire: bool = False) -> None:
        """Apply a block: messages, then possibly q votes that the phase has run out."""
        self.blocks += 1
        for sender, attempt, message in txs:
            reason = self._post(sender, attempt, message) if self.outcome is None else "closed"
            if reason and reason != "part":
                self.refused.append((sender, f"{type(message).__name__}: {reason}"))
        while self.outcome is None and (self._is_complete() or expire):
            expire = expire and self._is_complete()
            self._close()

    def _open(self, phase: Phase, expected: Iterable[MemberId], step: int = 0) -> None:
        self.phase, self.step, self.phase_no = phase, step, self.phase_no + 1
        self.expected = sorted(set(expected))
        self.posted: set[MemberId] = set()

    def _is_complete(self) -> bool:
        a = self.a
        if self.phase is Phase.SUMACK:
            return len(a.acked) >= self.q
        if self.phase is Phase.REVEAL:
            everything = set(a.own_b) == set(a.included) and all(
                len(a.a_shares.get(j, {})) >= self.t for j in a.dropped
            )
            return (set(self.expected) <= self.posted or everything) and self._decode_openings()
        if self.phase is Phase.REVEAL2:
            return all(i in a.own_b or len(a.b_shares.get(i, {})) >= self.t for i in a.awaited)
        if self.phase is Phase.RECHECK and len(self.posted) >= self.t and self._find_spoilers()[1]:
            return True
        if self.phase is Phase.RESULT:
            return self._winner() is not None
        return set(self.expected) <= self.posted

    def _winner(self) -> tuple[bytes | None] | None:
        votes = list(self.a.votes.values())
        return next(((vote,) for vote in votes if votes.count(vote) >= self.q), None)

    # --- messages -----------------------------------------------------------------------------------------------

    def _post(self, sender: MemberId, attempt: int, message: object) -> str | None:
        kinds = {
            Phase.KEYS: bodies.Keys, Phase.ACK: bodies.Acknowledge, Phase.ANSWER: bodies.Answer,
            Phase.COMMIT: bodies.Commit, Phase.ROSTER: bodies.Roster, Phase.DIGEST: bodies.Digest,
            Phase.SUMACK: bodies.SumAck, Phase.REVEAL: bodies.Reveal, Phase.REVEAL2: bodies.Reveal,
            Phase.RESULT: ResultVote, Phase.COIN: bodies.Coin, Phase.SHARE: bodies.ShareRoot,
            Phase.PROOF: bodies.Proof, Phase.RECHECK: bodies.Recheck, Phase.REDEAL: bodies.Redeal,
            Phase.CONFIRM: bodies.Confirm, Phase.EXPOSE: bodies.Expose,
        }
        if attempt != self.a.number or type(message) is not kinds[self.phase]:
            return "phase closed"
        is_late_ack = isinstance(message, bodies.SumAck) and message.list_digest and sender not in self.a.acked
        if sender in self.posted and not is_late_ack:
            return "already posted"
        reason = getattr(self, "_" + type(message).__name__)(sender, message)
        if reason is None:
            self.posted.add(sender)
        return reason

    def _Keys(self, sender: MemberId, message: bodies.Keys) -> str | None:
        if sender not in self.a.holders or [h for h, _ in message.sealed] != [h for h in self.a.holders if h != sender]:
            return "holders"
        dealt = [(message.a_points, message.a_proof, "a", self.t), (message.b_points, message.b_proof, "b", self.t)]
        dealt.append(((message.c_point,), message.c_proof, "c", 1))
        for points, proof, which, count in dealt:
            context = key_proof_context(self.params.context(self.a.number), sender, which)
            if len(points) != count or not are_commitments_valid(points):
                return "points"
            if not is_knowledge_proven(points[0], context, proof):
                return "proof"
            if points[0] in self.seen:
                return "seen"
        heads = {points[0] for points, *_ in dealt}
        if len(heads) < len(dealt):
            return "seen"
        self.seen |= heads
        self.a.keys[sender] = message
        return None

    def _Acknowledge(self, sender: MemberId, message: bodies.Acknowledge) -> str | None:
        if sender not in self.a.keys or not set(message.wrong) <= set(self.a.keys) - {sender}:
            return "dealers"
        self.a.complaints[sender] = message.wrong
        return None

    def _Answer(self, sender: MemberId, message: bodies.Answer) -> str | None:
        if sender not in self.expected or [h for h, _, _ in message.shares] != self._complainers(sender):
            return "holders"
        keys = self.a.keys[sender]
        for holder, a_share, b_share in message.shares:
            if not self._fits(keys.a_points, holder, a_share) or not self._fits(keys.b_points, holder, b_share):
                return "share"
        self.a.answers[sender] = message.shares
        return None

    def _Commit(self, sender: MemberId, message: bodies.Commit) -> str | None:
        if sender not in self.a.qualified or (message.weight > 0) != self.params.has_public_weights:
            return "not qualified"
        if message.roots:
            return "roots"
        self.a.committed[sender] = message
        return None

    def _Roster(self, sender: MemberId, message: bodies.Roster) -> str | None:
        mine = {c for c, o in enumerate(self.a.owners) if o == sender and c not in self.a.settled}
        if not mine or message.step != self.step:
            return "owner"
        if any(c not in mine or d == sender or d not in self._dealers() for c, d in message.missing):
            return "missing"
        self.a.latest[sender] = message.missing
        return None

    def _Digest(self, sender: MemberId, message: bodies.Digest) -> str | None:
        if [c for c, _ in message.digests] != [c for c, o in enumerate(self.a.owners) if o == sender]:
            return "chunks"
        self.a.digests.update(dict(message.digests))
        return None

    def _SumAck(self, sender: MemberId, message: bodies.SumAck) -> str | None:
        if sender not in self.a.present:
            return "not present"
        if message.list_digest is None:
            self.a.lacking[sender] = message.missing
            return None
        digests = tuple(self.a.digests[c] for c in range(len(self.a.owners)))
        if message.list_digest != compute_list_digest(self.params.study, self.params.round, self.a.number, digests):
            return "list"
        self.a.acked.add(sender)
        return None

    def _Reveal(self, sender: MemberId, message: bodies.Reveal) -> str | None:
        a = self.a
        first = self.phase is Phase.REVEAL
        a_due = [j for j in a.dropped if j != sender] if first and sender in a.present else []
        b_due = [] if first or sender not in a.present else [i for i in a.awaited if i != sender]
        if [j for j, _ in message.a_shares] != a_due or [i for i, _ in message.b_shares] != b_due:
            return "shares of others than due"
        if (message.own_b is not None) != (sender in (a.included if first else a.awaited)):
            return "own b"
        if message.own_b is not None:
            scalar = int.from_bytes(message.own_b, "little")
            if not scalar or base_times(scalar) != a.keys[sender].b_points[0]:
                return "wrong b"
        for shares, which in ((message.a_shares, "a_points"), (message.b_shares, "b_points")):
            if not all(self._fits(getattr(a.keys[dealer], which), sender, share) for dealer, share in shares):
                return "wrong share"
        if (reason := self._take_opening(sender, message.opening if first else None)) is not None:
            return reason
        if message.own_b is not None:
            a.own_b[sender] = message.own_b
        for shares, store in ((message.a_shares, a.a_shares), (message.b_shares, a.b_shares)):
            for dealer, share in shares:
                store.setdefault(dealer, {})[sender] = share
        return None

    def _ResultVote(self, sender: MemberId, message: ResultVote) -> str | None:
        self.a.votes[sender] = message.digest
        return None if sender in self.a.present else "not present"

    def _fits(self, points: tuple[bytes, ...], holder: int, share: bytes) -> bool:
        return is_share_valid(points, holder, int.from_bytes(share, "little"))

    def _complainers(self, dealer: MemberId) -> list[MemberId]:
        return [i for i in self.a.present if dealer in self.a.complaints[i]]

    def _dealers(self) -> list[MemberId]:
        return [i for i in self.a.committed if i not in self.a.left_out]

    # --- ends of phases -----------------------------------------------------------------------------------------

    def _close(self) -> None:
        waits_for_all = self.phase not in (Phase.SUMACK, Phase.RESULT, Phase.REVEAL, Phase.REVEAL2)
        if waits_for_all and not (self.phase is Phase.RECHECK and self._is_complete()):
            self.absent |= set(self.expected) - self.posted
        getattr(self, "_end_" + self.phase.name)()

    def _end_KEYS(self) -> None:
        self._open(Phase.ACK, self.a.keys)

    def _end_ACK(self) -> None:
        self.a.present = sorted(self.a.complaints)
        counts = {i: len(self._complainers(i)) for i in self.a.present}
        self.a.qualified = [i for i in self.a.present if counts[i] <= self.f]
        disputed = [i for i in self.a.qualified if counts[i]]
        if disputed:
            self._open(Phase.ANSWER, disputed)
        else:
            self._qualify()

    def _end_ANSWER(self) -> None:
        self.a.qualified = [i for i in self.a.qualified if i not in self.expected or i in self.a.answers]
        self._qualify()

    def _qualify(self) -> None:
        if len(self.a.present) < self.t or len(self.a.qualified) < self.least:
            self._void("too few qualified")
        else:
            self._open(Phase.COMMIT, self.a.qualified)

    def _end_COMMIT(self) -> None:
        a = self.a
        a.committed = {i: a.committed[i] for i in a.qualified if i in a.committed}
        if len(a.committed) < self.least:
            return self._void("too few committed")
        a.owners = [self._after(c, ()) for c in range(len(a.qualified))]  # type: ignore[misc]
        a.tried = [[owner] for owner in a.owners]
        return self._open(Phase.ROSTER, a.owners)

    def _after(self, place: int, tried: Iterable[MemberId]) -> MemberId | None:
        turn = self.a.qualified[place:] + self.a.qualified[:place]
        return next((i for i in turn if i in self.a.committed and i not in tried), None)

    def _end_ROSTER(self) -> None:
        a = self.a
        unsettled = [c for c in range(len(a.owners)) if c not in a.settled]
        for c in unsettled:
            for chunk, dealer in a.latest.get(a.owners[c], ()) if a.owners[c] in self.posted else ():
                if chunk == c:
                    a.reports.setdefault((c, dealer), set()).add(a.owners[c])
        for (_, dealer), reporters in a.reports.items():
            if len(reporters) >= self.f + 1 and dealer not in a.left_out:
                a.left_out.add(dealer)
                self.absent.add(dealer)
        for c in unsettled:
            owner = a.owners[c]
            still = [d for chunk, d in a.latest.get(owner, ()) if chunk == c and d not in a.left_out]
            if owner in self.posted and not still:
                a.settled.add(c)
                continue
            successor = self._after((a.qualified.index(owner) + 1) % len(a.qualified), a.tried[c])
            if successor is None:
                return self._void("no owner left")
            a.owners[c] = successor
            a.tried[c].append(successor)
        if len(self._dealers()) < self.least:
            return self._void("too few included")
        if len(a.settled) < len(a.owners):
            if self.step == self.f:
                return self._void("roster unsettled")
            a.latest = {}
            return self._open(
                Phase.ROSTER, [o for c, o in enumerate(a.owners) if c not in a.settled], self.step + 1
            )
        a.included = self._dealers()
        if self.pinned is not None and a.included != list(self.pinned):
            return self._void("not the pinned set")
        return self._open(Phase.DIGEST, a.owners)

    def _end_DIGEST(self) -> None:
        silent = {o for c, o in enumerate(self.a.owners) if c not in self.a.digests}
        if silent:
            self.barred |= silent
            self._void("an owner without digest")
        else:
            self.reopened = False
            self._open(Phase.SUMACK, [i for i in self.a.present if i not in self.absent])

    def _end_SUMACK(self) -> None:
        a = self.a
        if len(a.acked) >= self.q:
            return self._open_coin()
        self.absent |= set(self.expected) - self.posted - a.acked
        blamed = {
            owner for c, owner in enumerate(a.owners) if sum(c in missing for missing in a.lacking.values()) > self.f
        }
        self.barred |= blamed
        if blamed or self.reopened:
            return self._void("the sum is not held by enough")
        self.reopened = True
        return self._open(Phase.SUMACK, self.expected)

    def _end_REVEAL(self) -> None:
        a = self.a
        if not self._has_all_a() or set(a.own_b) != set(a.included):
            self.absent |= set(self.expected) - self.posted
        if not self._has_all_a():
            return self._fail("too few shares")
        if not self._decode_openings():
            return self._fail("too few right shares of the summed sketch")
        a.awaited = [i for i in a.included if i not in a.own_b]
        if a.awaited:
            return self._open(Phase.REVEAL2, [i for i in a.present if i not in self.absent])
        return self._open(Phase.RESULT, a.present)

    def _has_all_a(self) -> bool:
        return all(len(self.a.a_shares.get(j, {})) >= self.t for j in self.a.dropped)

    def _end_REVEAL2(self) -> None:
        a = self.a
        if any(i not in a.own_b and len(a.b_shares.get(i, {})) < self.t for i in a.awaited):
            return self._fail("too few shares")
        return self._open(Phase.RESULT, a.present)

    def _end_RESULT(self) -> None:
        winner = self._winner()
        if winner is None or winner[0] is None:
            self._fail("no agreement" if winner is None else "voted failed")
        else:
            self.outcome = ("ok", winner[0])

    def _fail(self, reason: str) -> None:
        self.outcome = ("failed", reason)

    def _void(self, reason: str) -> None:
        assert not self.is_unmasked, "an attempt that was unmasked cannot be void"
        self.voids.append(reason)
        holders = [i for i in self.a.holders if i not in self.absent | self.barred]
        if len(self.voids) > self.f or len(holders) < self.least:
            return self._fail(f"void: {self.voids}")
        self.a = Attempt(self.a.number + 1, holders)
        return self._open(Phase.KEYS, holders)

    # --- what a member sees -------------------------------------------------------------------------------------

    def view(self) -> m.SumView:
        """Return a copy of what the ledger says now."""
        a, checked = self.a, self.a.checked
        vectors = len(a.included) if self.phase is Phase.RECHECK else 1
        return m.SumView(
            number=a.number, phase=self.phase, phase_no=self.phase_no, step=self.step,
            phase_timeout_ms=self.timeout_ms * vectors, holders=tuple(a.holders), seal_keys=dict(self.seal_keys),
            posted=tuple(sorted(self.posted)), keys=dict(a.keys), complaints=pairs(a.complaints),
            answers=pairs(a.answers), present=tuple(a.present), qualified=tuple(a.qualified),
            committed=tuple((i, a.committed[i].root, a.committed[i].weight) for i in a.qualified if i in a.committed),
            chunks=tuple(
                ChunkRecord((owner,), is_settled=chunk in a.settled, digest=a.digests.get(chunk))
                for chunk, owner in enumerate(a.owners)
            ),
            left_out=tuple(sorted(a.left_out)), included=tuple(a.included),
            acked=tuple(sorted(a.acked)), is_unmasked=self.is_unmasked, own_b=pairs(a.own_b),
            a_shares=pairs({j: pairs(shares) for j, shares in a.a_shares.items()}),
            b_shares=pairs({i: pairs(shares) for i, shares in a.b_shares.items()}),
            silent_b=tuple(a.awaited), pinned=self.pinned,
            coin_index=self.coins, links=pairs(checked.links), coin=checked.coin, share_roots=dict(checked.roots),
            query_seed=checked.query_seed, sum_opened=checked.opened,
            answered=tuple((i, 0, tuple(sorted(parts))) for i, parts in sorted(checked.parts.items())),
            disputes=tuple(checked.disputes), boxes=dict(checked.boxes), redealt=tuple(sorted(checked.boxes)),
            confirm_seed=checked.confirm_seed, confirmed=tuple(sorted(checked.told)),
            unconfirmed=tuple((i, j, b"") for i, j in checked.off), exposed=tuple(sorted(checked.shown)),
        )


def pairs(found: Mapping[K, V]) -> tuple[tuple[K, V], ...]:
    """As the records of the ledger keep it."""
    return tuple(sorted(found.items(), key=lambda pair: pair[0]))  # type: ignore[arg-type, return-value]
