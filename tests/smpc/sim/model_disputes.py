"""REDEAL, CONFIRM and EXPOSE, restated for the model ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from fednode.ids import MemberId
from fednode.smpc import messages as m
from fednode.sums import bodies, norm, shares
from fednode.sums import field as f
from fednode.sums.attempt import SumContext, dispute_context
from fednode.sums.coin import draw_confirm_seed
from fednode.sums.equal_logs import are_logs_equal
from fednode.sums.measures import count_words
from fednode.sums.phase import Phase
from fednode.sums.redeal import show_held

if TYPE_CHECKING:
    from tests.smpc.sim.model_ledger import Attempt


def sizes(members: int) -> tuple[int, int]:
    """Bytes of an answer and dealers of a part."""
    return (1072, 30) if members < 32 else (1608, 20) if members < 128 else (2680, 12)


def repetitions(members: int) -> int:
    """How often a proof, and the confirm query, is repeated."""
    return 2 if members < 32 else 3 if members < 128 else 5


class DisputePhases:
    """Mixed into the model ledger."""

    params: m.SumParams
    a: Attempt
    f: int
    t: int
    absent: set[MemberId]
    barred: set[MemberId]
    faulty: set[MemberId]
    posted: set[MemberId]
    is_unmasked: bool

    def _open(self, phase: Phase, expected: Iterable[MemberId], step: int = 0) -> None: ...
    def _void(self, reason: str) -> None: ...
    def _context(self) -> SumContext: ...  # type: ignore[empty-body]

    @property
    def _repetitions(self) -> int:
        return repetitions(len(self.params.members))

    @property
    def _held_length(self) -> int:
        return 257 + count_words(self.params.plan) + self._repetitions

    def _heard(self) -> set[int]:
        """Who posted all its parts in PROOF."""
        most = -(-len(self.a.included) // sizes(len(self.params.members))[1])
        return {int(i) for i, parts in self.a.checked.parts.items() if len(parts) == most}

    def _settle(self) -> None:
        """Every dealer is proven and the sum is right: who disputes what it was dealt?"""
        checked = self.a.checked
        heard = self._heard()
        pairs = [(i, j) for i in self.a.included for j in sorted(heard) if i != j and j not in checked.carried[i]]
        per_holder = Counter(j for _, j in pairs)
        checked.disputes = [(i, j) for i, j in pairs if per_holder[j] <= self.f]
        if checked.disputes:
            return self._open(Phase.REDEAL, {MemberId(i) for i, _ in checked.disputes})
        return self._unmask()

    def _Redeal(self, sender: MemberId, message: bodies.Redeal) -> str | None:
        checked, pair = self.a.checked, (sender, message.holder)
        if pair not in checked.disputes:
            return "not disputed"
        if pair in checked.boxes:
            return "already posted"
        if len(message.box) != 8 * self._held_length:
            return "size"
        checked.boxes[pair] = message.box
        return None if {p for p in checked.disputes if p[0] == sender} <= set(checked.boxes) else "part"

    def _end_REDEAL(self) -> None:
        checked = self.a.checked
        silent = {MemberId(i) for i, j in checked.disputes if (i, j) not in checked.boxes}
        if silent:
            self.barred |= silent
            return self._void(f"not dealt again by {sorted(silent)}")
        assert checked.query_seed is not None
        checked.confirm_seed = draw_confirm_seed(self._context(), checked.query_seed, checked.boxes)
        return self._open(Phase.CONFIRM, [i for i in self.a.present if i in self._heard()])

    def _disputed(self) -> list[int]:
        return sorted({i for i, _ in self.a.checked.disputes})

    def _Confirm(self, sender: MemberId, message: bodies.Confirm) -> str | None:
        if sender not in self._heard():
            return "no answers before"
        if len(message.data) != 8 * self._repetitions * len(self._disputed()):
            return "size"
        self.a.checked.told[int(sender)] = message.data
        return None

    def _end_CONFIRM(self) -> None:
        checked, n = self.a.checked, len(self.params.members)
        if len(checked.told) < self.t:
            return self._void("too few answers")
        undecided, blamed = set(), set()
        for place, dealer in enumerate(self._disputed()):
            size = 8 * self._repetitions
            said = {j: np.frombuffer(data[place * size :][:size], f.FIELD) for j, data in checked.told.items()}
            proven = {j: answer for j, answer in said.items() if j in checked.carried[dealer]}
            decoded = shares.decode(proven, shares.sharing_degree(n), n - self.f, n)
            if decoded is None:
                undecided.add(MemberId(dealer))
                blamed |= {MemberId(dealer)} if len(proven) >= self.t else set()  # or who carried it is silent
                continue
            self._hold_against(dealer, said, {j: proven[j] for j in decoded.members})
        if undecided:
            self.barred |= blamed
            return self._void(f"not confirmed: {sorted(undecided)}")
        checked.off.sort()
        if checked.off:
            return self._open(Phase.EXPOSE, {MemberId(j) for _, j in checked.off})
        return self._unmask()

    def _hold_against(self, dealer: int, said: dict[int, f.FieldVector], right: dict[int, f.FieldVector]) -> None:
        self.a.checked.true[dealer] = shares.Decoded(np.stack([right[j] for j in sorted(right)]), tuple(sorted(right)))
        for i, j in self.a.checked.disputes:
            if i == dealer and j in said and said[j].tolist() != self._at(dealer, j).tolist():
                self.a.checked.off.append((i, j))

    def _at(self, dealer: int, holder: int) -> f.FieldVector:
        """What the answers that count make the holder's."""
        right = self.a.checked.true[dealer]
        points = right.members[: shares.sharing_degree(len(self.params.members)) + 1]
        weights = shares.lagrange(points, holder)
        rows = [[int(value) for value in row] for row in right.value[: len(points)]]
        columns = zip(*rows, strict=True)
        values = [sum(w * value for w, value in zip(weights, column, strict=True)) % f.MODULUS for column in columns]
        return np.array(values, f.FIELD)

    def _Expose(self, sender: MemberId, message: bodies.Expose) -> str | None:
        checked, pair = self.a.checked, (message.dealer, sender)
        if pair not in checked.off:
            return "nothing to show"
        if pair in checked.shown:
            return "already posted"
        point, base = self.a.keys[sender].c_point, self.a.keys[message.dealer].c_point
        assert point is not None and base is not None and checked.confirm_seed is not None
        place = dispute_context(self._context(), message.dealer, sender)
        if not are_logs_equal(point, base, message.shared, place, message.proof):
            return "proof"
        held = show_held(checked.boxes[pair], message.shared, self._context(), *pair, self._held_length)
        challenges = norm.draw_confirm(checked.confirm_seed, self._repetitions)
        if held is not None and norm.confirm(held, challenges).tolist() == self._at(*pair).tolist():
            return "wrong accusation"
        checked.shown[pair] = message.shared
        return None if {p for p in checked.off if p[1] == sender} <= set(checked.shown) else "part"

    def _end_EXPOSE(self) -> None:
        exposed = {MemberId(i) for i, _ in self.a.checked.shown}
        if exposed:
            self.faulty |= exposed
            self.barred |= exposed
            return self._void(f"dealt wrong by {sorted(exposed)}")
        return self._unmask()

    def _unmask(self) -> None:
        checked = self.a.checked
        settled = {pair for pair in checked.disputes if pair[1] in checked.told and pair not in checked.off}
        checked.openers = {
            int(j) for j in self.a.present
            if all(j in checked.carried[i] or (i, j) in settled for i in self.a.included)
        }
        if len(checked.openers) < self.t:
            return self._void("too few hold right shares of everybody")
        self.is_unmasked = True
        return self._open(Phase.REVEAL, [i for i in self.a.present if i not in self.absent])
