"""Somebody who holds an exported chain and no key: solves what it can, and tries guesses against what stands there.

The reader is given the strongest guess there is, the truth itself, and every way to confirm it that the ledger could
offer: whichever equation holds would tell the truth from all other guesses. It also takes for granted whatever it may
not know, that tails are zero or drawn from a known key, so that a protection that rests on nothing does not pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fednode.effects import Job
from fednode.ids import Hash
from fednode.keystream import AesCtr
from fednode.learn.merge import model_hash
from fednode.learn.model_file import NO_SALT, read_model
from fednode.ledger.studies.bodies import Result
from fednode.ledger.studies.records import RoundReport
from fednode.ledger.sums.checks import open_sums
from fednode.smpc import jobs as sum_jobs
from fednode.smpc.jobs import begin_sum_digest
from fednode.smpc.masks import Masks, SumKey, name_sum, removal_streams
from fednode.smpc.sketch import sketch_integers, sketch_ring
from fednode.smpc.vectors import Layout, digest_chunk, lift, sum_buffers, view_bytes
from fednode.sums import bodies
from fednode.sums import field as f
from fednode.sums.bodies import ShareRoot
from fednode.sums.bounds import OUTPUTS
from tests.rounds.world import World

GUESSED_KEY = bytes(16)
"""What a reader may suppose the tails were drawn with."""


@dataclass
class Truth:
    """What one round opened, as its members know it: the guess that a reader tries."""

    job: sum_jobs.Unmask = field(repr=False)
    sum: sum_jobs.Unmasked = field(repr=False)

    @property
    def values(self) -> NDArray[np.uint32]:
        return self.sum.values.view(np.uint32)


def watch(world: World) -> dict[int, Truth]:
    """Note what every round opens, from now on."""
    opened: dict[int, Truth] = {}

    def run(job: Job[sum_jobs.Result]) -> sum_jobs.Result:
        result = job.run()
        if isinstance(job, sum_jobs.Unmask) and isinstance(result, sum_jobs.Unmasked):
            opened[job.context.round] = Truth(job, result)
        return result

    for member in world.members.values():
        member.run_sum_job = run
    return opened


class Reader:
    """Everything an export has of one round, and what can be computed from it without a key."""

    def __init__(self, world: World, number: int, truth: Truth) -> None:
        self.world, self.number, self.truth = world, number, truth
        self.said = [
            (member.number, body) for member in world.members.values() for body in member.submitted
            if getattr(body, "round", None) == number
        ]
        self.report: RoundReport = next(report for report in world.reports if report.number == number)
        self.layout = Layout(truth.job.length, len(truth.job.chunks))
        reveals = [(m, b) for m, b in self.said if isinstance(b, bodies.Reveal)]
        own = {int(m): int.from_bytes(b.own_b, "little") for m, b in reveals if b.own_b}
        points = {int(member): point for member, point in truth.job.points}
        self.streams = removal_streams(truth.job.context, {m: own[m] for m in points}, {}, points)

    # --- what follows from the ledger and a guess ----------------------------------------------------------------

    def masked(self, guess: NDArray[np.uint32], tails: NDArray[np.uint32]) -> tuple[memoryview, ...]:
        """The chunks of the masked sum if the sum is `guess` and the tails sum to `tails`: all masks are known."""
        masks = np.zeros(guess.size, np.uint32)
        Masks(self.streams).add_to(masks)
        tail_masks = np.zeros(tails.size, np.uint32)
        Masks(self.streams, self.layout.tails_at).add_to(tail_masks)
        body, tail = guess - masks, tails - tail_masks
        chunks = []
        for chunk in range(self.layout.count):
            first, last = self.layout.bounds(chunk)
            own = tail[chunk * self.layout.tail : (chunk + 1) * self.layout.tail]
            chunks.append(view_bytes(np.concatenate([body[first:last], own])))
        return tuple(chunks)

    def guessed_tails(self) -> list[NDArray[np.uint32]]:
        """Sums of tails that a reader may suppose."""
        count = self.layout.count * self.layout.tail
        known = np.frombuffer(AesCtr(GUESSED_KEY).read(4 * count), np.uint32)
        return [np.zeros(count, np.uint32), known * np.uint32(len(self.report.counted))]

    def opened(self) -> f.FieldVector:
        """What the openings decode to."""
        told = {m: b.opening for m, b in self.said if isinstance(b, bodies.Reveal) and b.opening is not None}
        size = len(self.world.members)
        found = open_sums(tuple(sorted(told.items())), len(self.truth.sum.words), size)
        assert found is not None, "everybody opened right"
        values = f.from_bytes(found, len(found) // 8)
        assert values is not None
        return values

    def solve(self) -> NDArray[np.int64] | None:
        """The only vector of integers whose sketch was opened, as long as there are fewer numbers than outputs."""
        coin, length = self.report.coin, self.truth.job.length
        assert coin is not None and length < OUTPUTS
        columns = [sketch_integers(coin, np.eye(1, length, k, dtype=np.int32)[0]) for k in range(length)]
        matrix = np.stack(columns, axis=1).astype(float)
        target = f.centre(self.opened())[:OUTPUTS].astype(float)
        found = np.rint(np.linalg.lstsq(matrix, target, rcond=None)[0])
        return found.astype(np.int64) if (matrix @ found == target).all() else None

    # --- confirming ----------------------------------------------------------------------------------------------

    def confirmed(self) -> set[str]:
        """The equations between the ledger and the truth that hold: each would confirm a guess."""
        truth, values = self.truth, self.truth.values
        found = self._bare_numbers()
        for tails in self.guessed_tails():
            chunks = self.masked(values, tails)
            key = SumKey(truth.job.context, self.layout.salts(chunks))
            shown = key.show(f.to_bytes(self.opened()))
            found |= {"opening"} if shown is not None and self._is_truth(shown) else set()
            named = name_sum(key.salt("sum"), self._sum_digest())
            found |= {"sum digest"} if self.report.sum_digest == named else set()
            found |= {"model"} if self._model_name(key.salt("model")) == self.report.model_hash else set()
            digests = {digest for _, b in self.said if isinstance(b, bodies.Digest) for _, digest in b.digests}
            guessed = {digest_chunk(chunk) for chunk in (*chunks, *self.layout.bodies(chunks))}
            found |= {"chunk"} if digests & guessed else set()
            found |= {"posted sketches"} if self._are_posted(chunks) else set()
        return found

    def _bare_numbers(self) -> set[str]:
        found = {"opening"} if self._is_truth(self.opened()) else set()
        found |= {"sum digest"} if self.report.sum_digest == self._sum_digest() else set()
        found |= {"model"} if self._model_name(NO_SALT) == self.report.model_hash else set()
        weights = {b.weight for _, b in self.said if isinstance(b, bodies.Commit | Result)} | {self.report.weight}
        return found | ({"weight"} if weights - {0} else set())

    def _is_truth(self, shown: f.FieldVector) -> bool:
        coin = self.report.coin
        assert coin is not None
        words = shown[OUTPUTS + 1 :].tolist() == list(self.truth.sum.words) and bool(self.truth.sum.words)
        sketch = sketch_integers(coin, lift(self.truth.values)).tolist() == f.centre(shown)[:OUTPUTS].tolist()
        weight = int(f.centre(shown)[OUTPUTS]) == self.truth.sum.weight
        return words or (sketch and self.truth.job.length > 0) or weight

    def _sum_digest(self) -> Hash:
        digest = begin_sum_digest(self.truth.job.context, self.truth.job.length)
        digest.update(view_bytes(self.truth.values))
        return digest.digest()

    def _model_name(self, salt: bytes) -> Hash:
        model = read_model(self.world.members[1].disk.models[Hash(self.report.model_hash)])
        return model_hash(model.study, model.round_number, model.spec, model.scaling, salt, model.values)

    def _are_posted(self, chunks: tuple[memoryview, ...]) -> bool:
        coin = self.report.coin
        assert coin is not None
        posted = sum_buffers(tuple(b.sketch for _, b in self.said if isinstance(b, ShareRoot)))
        body = np.frombuffer(b"".join(self.layout.bodies(chunks)), np.uint32)
        bare = sketch_ring(coin, body)
        return any((posted == bare + pads).all() for pads in (np.uint32(0), self.layout.pads(enumerate(chunks))))


def same_key_for_all(*_: object) -> bytes:
    """Stands for `masks.tail_key` where nobody draws its own tails."""
    return GUESSED_KEY
