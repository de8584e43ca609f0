"""The ledger of `world` with what binds a sum: hash chains, sketches, and answers to proofs.

The rules decode what holders answer and never see a statement, so no proof is made here: the shares of an answer that
holds (or of one that does not) are dealt as they would come out of one. What a member tells the others outside the
ledger is scripted: false statements, boxes that did not arrive, sketches that do not add up.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fednode.chain.state import State
from fednode.crypto import Secret, base_times, point_times, x25519_public
from fednode.ids import Hash, MemberId
from fednode.ledger.bodies import Body
from fednode.ledger.studies.bodies import Ready, Weights
from fednode.ledger.sums.course import BlockTime
from fednode.ledger.sums.records import RoundRecord, get_redeal
from fednode.sums import bodies
from fednode.sums import field as f
from fednode.sums.attempt import Attempt, SumContext, dispute_context
from fednode.sums.bounds import OUTPUTS, Strength, strength_of
from fednode.sums.coin import Chain, restore_chain
from fednode.sums.equal_logs import prove_equal_logs
from fednode.sums.norm import confirm, draw_confirm
from fednode.sums.phase import Phase
from fednode.sums.redeal import hide_held, show_held
from fednode.sums.shares import sharing_degree
from tests.ledger.world import WORDS, MaskedWorld
from tests.support.seeds import Stream, seed_of

LINKS = 40
OPENED = OUTPUTS + 1 + WORDS
_chains: dict[tuple[int, int], Chain] = {}


def chain_of(member: int, term: int = 0) -> Chain:
    if (member, term) not in _chains:
        _chains[(member, term)] = restore_chain(seed_of("chain", member, term), LINKS)
    return _chains[(member, term)]


def shares_of(secrets: f.FieldVector, degree: int, holder: int, *seed: object) -> f.FieldVector:
    """Return a holder's share of a vector on polynomials that the seed draws."""
    value = secrets
    for power in range(1, degree + 1):
        random = f.expand(seed_of(*seed, power)[:16], secrets.size)
        value = f.add(value, f.scale(random, holder**power))
    return value


@dataclass
class World(MaskedWorld):
    """`liars` prove something false; `cut_off` (dealer, holder): the box did not arrive; `garbled` (dealer, holder):
    the holder answers another thing; `sum_check`: what a member says of the sum; `weights`: 10 where not named;
    `spoilers` post wrong sums of chunks they own, `sketchers` wrong sketches of their masked vectors, and everybody
    else sees it; `kept_back` (haver, member): a member that cannot get from a haver what it needs. What a holder was
    not dealt, or says so, is dealt again: `off` (dealer, holder) wrongly, `unreadable` as no elements, `kept` not at
    all; `unsure` (dealer, holder): the holder answers the second query with nothing; `silent_witness` shows none."""

    liars: set[int] = field(default_factory=set)
    cut_off: set[tuple[int, int]] = field(default_factory=set)
    garbled: set[tuple[int, int]] = field(default_factory=set)
    sum_check: dict[int, int] = field(default_factory=dict)
    spoilers: set[int] = field(default_factory=set)
    sketchers: set[int] = field(default_factory=set)
    kept_back: set[tuple[int, int]] = field(default_factory=set)
    off: set[tuple[int, int]] = field(default_factory=set)
    unreadable: set[tuple[int, int]] = field(default_factory=set)
    kept: set[tuple[int, int]] = field(default_factory=set)
    unsure: set[tuple[int, int]] = field(default_factory=set)
    silent_witness: set[int] = field(default_factory=set)
    weights: dict[int, int] = field(default_factory=dict)
    bad_openings: set[int] = field(default_factory=set)
    terms_of_keys: dict[int, int] = field(default_factory=dict)

    def next_time(self) -> BlockTime:
        height = self.at.height + 1
        return BlockTime(height, self.at.time_ms + 100, Hash(seed_of("block", height - 1)))

    @property
    def attempt(self) -> Attempt:
        return self.round.attempt

    def visible(self, state: State) -> RoundRecord | None:
        record = super().visible(state)
        if record is None:
            return record
        attempt = replace(record.attempt, freeze_block=None)  # the next block notes it, whatever it holds
        return replace(record, attempt=attempt)

    # --- what an honest member owes ---------------------------------------------------------------------------------

    def ready(self, member: int, term: int | None = None) -> Ready:
        number = self.terms_of_keys.get(member, 0) if term is None else term
        key = x25519_public(Secret(seed_of(member, number, "seal")))
        return Ready(self.study, key, chain_of(member, number).head)

    def commit(self, member: int, weight: int = 10) -> bodies.Commit:
        is_public = self.terms.weights == Weights.PUBLIC
        return super().commit(member, weight if is_public else 0)

    def link(self, member: int) -> bodies.Coin:
        chain = chain_of(member, self.terms_of_keys.get(member, 0))
        return bodies.Coin(*self.place(), chain.link(self.attempt.coin_index))

    def share_root(self, member: int) -> bodies.ShareRoot:
        sketch = b"".join(seed_of("sketch", self.place(), member, i) for i in range(32))
        return bodies.ShareRoot(*self.place(), sketch, seed_of("bits", member), seed_of("proof", member))

    def answer_to(self, dealer: int, holder: int) -> bytes:
        size_bytes = self.strength.answer_bytes
        if (dealer, holder) in self.cut_off:
            return b"\xff" * size_bytes
        if (dealer, holder) in self.garbled:
            return f.to_bytes(f.expand(seed_of("garbled", dealer, holder)[:16], size_bytes // f.ELEMENT_BYTES))
        told = np.zeros(size_bytes // f.ELEMENT_BYTES, f.FIELD)
        if dealer in self.liars:
            told[-2] = 1  # the equation does not give zero
        degree = sharing_degree(self.size)
        return f.to_bytes(shares_of(told, degree, holder, "answer", self.place(), dealer))

    def proofs(self, member: int) -> list[bodies.Proof]:
        included, size = self.round.attempt.included, self.strength.dealers_a_part
        posts = []
        for part, start in enumerate(range(0, len(included), size)):
            data = b"".join(self.answer_to(dealer, member) for dealer in included[start : start + size])
            said = self.sum_check.get(member, bodies.SumCheck.WRONG if self.is_spoilt() else bodies.SumCheck.RIGHT)
            posts.append(bodies.Proof(*self.place(), part, said, data))
        return posts

    def is_spoilt(self) -> bool:
        attempt = self.round.attempt
        owners = {chunk.owner for chunk in attempt.chunks}
        return bool(self.spoilers.intersection(owners) or self.sketchers.intersection(attempt.included))

    def recheck(self, member: int) -> bodies.Recheck:
        """What a member finds: of a vector or sum it could not get every part of, nothing."""
        attempt, place = self.round.attempt, self.place()
        if member in self.spoilers | self.sketchers:
            return bodies.Recheck(*place)
        withheld = {haver for haver, kept in self.kept_back if kept == member and haver != member}
        withheld.intersection_update({*attempt.included, *(chunk.owner for chunk in attempt.chunks)})
        owned = [(n, chunk.owner) for n, chunk in enumerate(attempt.chunks)]
        chunks = tuple((n, seed_of(place, "true sum", n)) for n, owner in owned if owner in self.spoilers - withheld)
        dealers = [dealer for dealer in attempt.included if dealer in self.sketchers - withheld]
        sketches = tuple((dealer, seed_of(place, "true sketch", dealer)) for dealer in dealers)
        return bodies.Recheck(*place, chunks, sketches, tuple(sorted(MemberId(haver) for haver in withheld)))

    # --- disputes ---------------------------------------------------------------------------------------------------

    @property
    def strength(self) -> Strength:
        return strength_of(self.size)

    @property
    def context(self) -> SumContext:
        return SumContext(self.chain_id, *self.place())

    def shared_point(self, one: int, other: int) -> bytes:
        return point_times(self.scalar(one), base_times(self.scalar(other)))

    def held(self, dealer: int, holder: int) -> f.FieldVector:
        """The share that was proven."""
        length = self.strength.held_bytes(WORDS) // f.ELEMENT_BYTES
        values = f.expand(seed_of("held", self.place(), dealer)[:16], length)
        return shares_of(values, sharing_degree(self.size), holder, "held", self.place(), dealer)

    def redealt(self, dealer: int, holder: int) -> f.FieldVector:
        """What the dealer deals the holder again."""
        held = self.held(dealer, holder)
        if (dealer, holder) in self.off:
            held = held.copy()
            held[7] = (int(held[7]) + 1) % f.MODULUS
        return held

    def redeal(self, dealer: int, holder: int) -> bodies.Redeal:
        shared = self.shared_point(dealer, holder)
        box = hide_held(self.redealt(dealer, holder), shared, self.context, dealer, holder)
        if (dealer, holder) in self.unreadable:  # 0xff throughout
            nothing = np.zeros(self.strength.held_bytes(WORDS) // f.ELEMENT_BYTES, f.FIELD)
            stream = hide_held(nothing, shared, self.context, dealer, holder)
            box = bytes(byte ^ 0xFF for byte in stream)
        return bodies.Redeal(*self.place(), MemberId(holder), box)

    def is_off(self, dealer: int, holder: int) -> bool:
        """Whether another share was dealt again than the one that was proven."""
        body = get_redeal(self.state, *self.place(), MemberId(dealer), MemberId(holder))
        right = hide_held(self.held(dealer, holder), self.shared_point(dealer, holder), self.context, dealer, holder)
        return body is not None and body.box != right

    def confirmation(self, dealer: int, holder: int) -> bytes:
        """What the holder answers to the second query about one dealer."""
        held: f.FieldVector | None = self.held(dealer, holder)
        if (dealer, holder) in self.attempt.disputes:
            body = get_redeal(self.state, *self.place(), MemberId(dealer), MemberId(holder))
            assert body is not None
            length = self.strength.held_bytes(WORDS) // f.ELEMENT_BYTES
            held = show_held(body.box, self.shared_point(holder, dealer), self.context, dealer, holder, length)
        elif (dealer, holder) in self.cut_off | self.garbled:
            held = None
        if held is None or (dealer, holder) in self.unsure or self.attempt.confirm_seed is None:
            return b"\xff" * self.strength.confirm_bytes
        return f.to_bytes(confirm(held, draw_confirm(self.attempt.confirm_seed, self.strength.repetitions)))

    def confirm(self, member: int) -> bodies.Confirm:
        dealers = sorted({dealer for dealer, _ in self.attempt.disputes})
        return bodies.Confirm(*self.place(), b"".join(self.confirmation(dealer, member) for dealer in dealers))

    def expose(self, dealer: int, holder: int) -> bodies.Expose:
        base, place = base_times(self.scalar(dealer)), dispute_context(self.context, dealer, holder)
        proof = prove_equal_logs(self.scalar(holder), base, place, Stream("expose"))
        return bodies.Expose(*self.place(), MemberId(dealer), self.shared_point(holder, dealer), proof)

    def _settling(self, member: int) -> Body | None:
        attempt, kind = self.attempt, self.round.phase.kind
        if kind == Phase.REDEAL:
            owed = [pair for pair in attempt.disputes if pair[0] == member and pair not in self.kept]
            left = [holder for dealer, holder in owed if (dealer, holder) not in attempt.redealt]
            return self.redeal(member, left[0]) if left else None
        if kind == Phase.CONFIRM:
            whole = -(-len(self.round.attempt.included) // self.strength.dealers_a_part)
            has_answered = any(m == member and len(parts) == whole for m, _, parts in self.attempt.answered)
            return self.confirm(member) if has_answered else None
        wrong = [dealer for dealer, holder, _ in attempt.unconfirmed if holder == member]
        wrong = [dealer for dealer in wrong if self.is_off(dealer, member)]
        shown = [dealer for dealer in wrong if (dealer, member) not in attempt.exposed]
        return self.expose(shown[0], member) if shown and member not in self.silent_witness else None

    def sums(self) -> f.FieldVector:
        """The summed sketch, weight and words of measures of U."""
        included = self.round.attempt.included
        weight = sum(self.weights.get(member, 10) for member in included)
        return f.from_integers([*(sum(included) * (-1) ** k * k for k in range(OUTPUTS)), weight, *self.words()])

    def words(self) -> list[int]:
        """Words up to the largest that are packed."""
        return [len(self.round.attempt.included), 0, 2**63 - 1]

    def opening(self, member: int) -> bytes:
        if member in self.bad_openings:
            return f.to_bytes(f.expand(seed_of("bad", member)[:16], OPENED))
        return f.to_bytes(shares_of(self.sums(), sharing_degree(self.size), member, "opening", self.place()))

    def reveal(self, member: int) -> bodies.Reveal:
        body = super().reveal(member)
        if self.phase.kind == Phase.REVEAL2:
            return body
        return bodies.Reveal(*self.place(), body.own_b, body.a_shares, (), self.opening(member))

    def owed(self, member: int) -> Body | None:
        if not self.is_round_open:
            return None
        attempt, phase = self.round.attempt, self.round.phase
        if member in phase.posted:
            return None
        if phase.kind == Phase.COIN:
            return self.link(member) if member in attempt.present else None
        if phase.kind == Phase.SHARE:
            return self.share_root(member) if member in attempt.included else None
        if phase.kind == Phase.PROOF:
            parts = next((parts for known, _, parts in self.attempt.answered if known == member), ())
            return self.proofs(member)[len(parts)] if member in attempt.present else None
        if phase.kind == Phase.RECHECK:
            return self.recheck(member) if member in attempt.present else None
        if phase.kind in (Phase.REDEAL, Phase.CONFIRM, Phase.EXPOSE):
            return self._settling(member)
        if phase.kind == Phase.REVEAL:
            return self.reveal(member) if member in attempt.present else None
        return super().owed(member)

    def go(self, *absent: int) -> None:
        """As in `World`; answers in several parts go one after the other."""
        number = self.phase.number
        for member in self.members:
            while member not in absent and self.is_round_open and self.phase.number == number:
                body = self.owed(member)
                if body is None or (isinstance(body, bodies.SumAck) and body.missing):
                    if body is not None:
                        self.post(member, body)
                    break
                receipt = self.post(member, body)
                assert receipt.ok, (member, Phase(self.phase.kind), receipt.reason)


def started(size: int = 4, **parts: Any) -> World:
    """Return a world in which everybody is ready."""
    world = World(size, **parts)
    world.ready_all()
    return world


def at(phase: Phase, size: int = 4, absent: tuple[int, ...] = (), **parts: Any) -> World:
    """Return a world in which everybody was ready and a phase of this kind has just opened."""
    world = started(size, **parts)
    world.go_to(phase, *absent)
    return world
