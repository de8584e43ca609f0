"""Local training: from the global model and this hospital's rows to one clipped update.

Deterministic: one thread, no global random state, batches drawn from (study, round, member) alone, the
optimiser started afresh. torch.optim is not used: its first step imports the compiler (1.4 s and 80 MB,
measured) for what is a few lines on flat vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from fednode.crypto import Domain, tagged_hash
from fednode.learn.layout import CARRIED_SEGMENT, Layout, Scaling, vector_plan
from fednode.learn.rows import Rows
from fednode.learn.study import Optimiser, StudySpec
from fednode.learn.units import MICRO, UNIT
from fednode.worker.algorithms import trainer_of
from fednode.worker.algorithms.local import Correct, Local
from fednode.worker.data import reader_of
from fednode.worker.flatten import FlatModel

Step = Callable[[torch.Tensor, torch.Tensor], None]
"""Changes values (d,) in place, given their gradient (d,)."""


class NumericalFailure(Exception):
    """Training or a model produced NaN or infinity."""


@dataclass(frozen=True, slots=True)
class Update:
    """`delta` float32 (length of the vector plan,), the L2 norm of each segment at most its clip; `norm` is that of the
    first one before clipping; `own` is what the hospital keeps, None if nothing."""

    delta: NDArray[np.float32]
    norm: float
    train_rows: int
    own: bytes | None = None


def _sgd(settings: Optimiser, size: int) -> Step:
    rate = settings.learning_rate_micro / MICRO
    momentum = settings.momentum_micro / MICRO
    velocity = torch.zeros(size)

    def step(values: torch.Tensor, gradient: torch.Tensor) -> None:
        velocity.mul_(momentum).add_(gradient)
        values.sub_(velocity, alpha=rate)

    return step


def _adam(settings: Optimiser, size: int) -> Step:
    """Adam (Kingma and Ba 2015, algorithm 1) with its published constants."""
    rate, decay1, decay2, epsilon = settings.learning_rate_micro / MICRO, 0.9, 0.999, 1e-8
    first, second = torch.zeros(size), torch.zeros(size)
    count = 0

    def step(values: torch.Tensor, gradient: torch.Tensor) -> None:
        nonlocal count
        count += 1
        first.mul_(decay1).add_(gradient, alpha=1 - decay1)
        second.mul_(decay2).addcmul_(gradient, gradient, value=1 - decay2)
        scale = (second / (1 - decay2**count)).sqrt_().add_(epsilon)
        values.addcdiv_(first, scale, value=-rate / (1 - decay1**count))

    return step


OPTIMISERS: dict[str, Callable[[Optimiser, int], Step]] = {"sgd": _sgd, "adam": _adam}


def batch_seed(study: bytes, round_number: int, member: int) -> int:
    """Return the 64-bit seed of a member's batches in a round."""
    parts = (b"batches", study, round_number.to_bytes(8, "big"), member.to_bytes(8, "big"))
    return int.from_bytes(tagged_hash(Domain.ROUND, *parts)[:8], "big")


def train(
    spec: StudySpec, model: NDArray[np.int64], scaling: Scaling, rows: Rows, seed: int, own: bytes = b""
) -> Update:
    """Train on `rows` from `model`, as the study's algorithm says; raise `NumericalFailure` if it diverges."""
    inputs = torch.from_numpy(reader_of(spec).scale(rows, scaling))
    labels = torch.from_numpy(rows.labels)
    flat = FlatModel(spec)
    flat.load(model)
    carried = flat.carried.clone()
    generator = torch.Generator().manual_seed(seed)
    run = partial(run_epochs, spec, flat, inputs, labels, spec.local_epochs, generator)
    found = trainer_of(spec)(Local(spec, flat, _server_vectors(spec, model), own, run))
    parts = {**found.segments, CARRIED_SEGMENT: flat.carried - carried}
    plan = vector_plan(spec)
    delta, norms = np.empty(plan.length, np.float32), list[float]()
    for segment, out in zip(plan.segments, plan.cut(delta).values(), strict=True):
        with torch.no_grad():
            values = parts[segment.name].double().numpy()
        norms.append(float(np.sqrt(np.square(values).sum())))
        if not np.isfinite(norms[-1]):
            raise NumericalFailure("training diverged to NaN or infinity; lower the learning rate")
        out[:] = _clipped(values, norms[-1], segment.clip_q24 / UNIT)
    return Update(delta, norms[0], len(labels), found.own)


def _server_vectors(spec: StudySpec, model: NDArray[np.int64]) -> dict[str, torch.Tensor]:
    layout = Layout.of(spec)
    places = {name: layout.server_offset(name) for name in spec.algorithm.state()}
    return {
        name: torch.from_numpy((model[at : at + layout.trained] / UNIT).astype(np.float32))
        for name, at in places.items()
    }


def run_epochs(
    spec: StudySpec,
    flat: FlatModel,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    epochs: int,
    generator: torch.Generator,
    correct: Correct | None = None,
) -> int:
    """Pass `epochs` times over the rows in random batches; the loss is the mean cross-entropy of a batch.

    `correct` may change each batch's gradient. Returns the number of steps.
    """
    step = OPTIMISERS[spec.optimiser.kind](spec.optimiser, flat.values.numel())
    decay = spec.optimiser.weight_decay_micro / MICRO
    count = 0
    flat.network.train()
    for _ in range(epochs):
        order = torch.randperm(len(labels), generator=generator)
        for batch in torch.split(order, spec.optimiser.batch_size):
            flat.gradient.zero_()
            loss = functional.cross_entropy(flat.network(inputs[batch]), labels[batch])
            torch.autograd.backward(loss)
            with torch.no_grad():
                if correct is not None:
                    correct(flat.values, flat.gradient)
                if decay:
                    flat.gradient.add_(flat.values, alpha=decay)
                step(flat.values, flat.gradient)
            count += 1
    return count


def _clipped(delta: NDArray[np.float64], norm: float, clip: float) -> NDArray[np.float32]:
    """Scale `delta` to norm `clip` if it is longer; the float32 result never exceeds it by rounding."""
    if norm > clip:
        delta = delta * (clip / norm) * (1 - 2.0**-20)
    return delta.astype(np.float32)


def warm_up() -> None:
    """Take one step with a tiny network, so that the first round does not pay for torch's lazy initialisation."""
    layer = torch.nn.Linear(2, 2)
    loss = functional.cross_entropy(torch.relu(layer(torch.zeros(2, 2))), torch.zeros(2, dtype=torch.int64))
    torch.autograd.backward(loss)
