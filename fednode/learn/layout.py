"""The values of a model as a study lists them, how its inputs are scaled, and what a round sums of it.

The list is data of the study: whoever approved it knows every value that is exchanged, and nobody needs the model's
code to sum, merge, hash or write a model. The worker refuses a study whose network has other tensors.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isqrt, prod
from typing import Annotated, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fednode.codec import I64, Range, Size, tagged
from fednode.learn.units import MAX_FEATURES, MAX_PARAMETERS, UNIT, UNIT_BITS
from fednode.sums.bounds import SCALE
from fednode.texts import check_plain

MODEL_LIMIT = 1 << 39
"""Bound of |M_k|: values of a model stay below 2^15."""

MAX_TENSORS = 1024
DTYPES = ("float32",)
"""As what the worker holds a tensor; a model's own values are integers in units of 2^-24."""

TRAINED, CARRIED, SERVER = "trained", "carried", "server"
ROLES = (TRAINED, CARRIED)
"""A trained tensor is changed by the optimiser, a carried one by the network itself as it sees rows (running means):
its change is summed in a segment of its own. Tensors of an algorithm on the server's side are added to those of a
study."""


@tagged(1)
@dataclass(frozen=True, slots=True)
class Uniform:
    """Values begin uniform within +-`bound_q24`, drawn from the study's hash."""

    bound_q24: Annotated[int, Range(0, MODEL_LIMIT - 1)]


@tagged(2)
@dataclass(frozen=True, slots=True)
class Constant:
    """All values begin as this one."""

    value_q24: I64

    def __post_init__(self) -> None:
        if abs(self.value_q24) >= MODEL_LIMIT:
            raise ValueError("a first value is outside the range of a model")


Initial = Uniform | Constant


def he_uniform(fan_in: int) -> Uniform:
    """Return the uniform start of He et al. 2015 as torch applies it to linear layers: the bound is 1/sqrt(fan_in)."""
    return Uniform(isqrt((1 << (2 * UNIT_BITS)) // fan_in))


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a model: its name in the network's state, its shape, and what becomes of it."""

    name: Annotated[str, Size(1, 128)]
    shape: Annotated[tuple[Annotated[int, Range(1, MAX_PARAMETERS)], ...], Size(0, 8)]
    initial: Initial
    role: Annotated[str, Size(1, 8)] = TRAINED
    dtype: Annotated[str, Size(1, 8)] = DTYPES[0]

    def __post_init__(self) -> None:
        check_plain("the name of a tensor", self.name)
        if self.role not in ROLES:
            raise ValueError(f"tensor '{self.name}': role '{self.role}' is none of {', '.join(ROLES)}")
        if self.dtype not in DTYPES:
            raise ValueError(f"tensor '{self.name}': dtype '{self.dtype}' is none of {', '.join(DTYPES)}")
        if self.name.startswith(f"{SERVER}."):
            raise ValueError(f"tensor '{self.name}': names that begin with '{SERVER}.' are those of algorithms")

    @property
    def size(self) -> int:
        """How many values it has."""
        return prod(self.shape)


Tensors = Annotated[tuple[Tensor, ...], Size(1, MAX_TENSORS)]


def check_tensors(tensors: tuple[Tensor, ...]) -> None:
    """Raise `ValueError` unless these can be the tensors of a model."""
    names = [tensor.name for tensor in tensors]
    if len(set(names)) != len(names):
        raise ValueError(f"two tensors are named '{next(n for n in names if names.count(n) > 1)}'")
    if all(tensor.role != TRAINED for tensor in tensors):
        raise ValueError("a model without a tensor that trains learns nothing")


class SumsAndKeeps(Protocol):
    """An algorithm, as far as a layout asks."""

    def segments(self, clip_q24: int) -> Mapping[str, int]:
        """Return what each hospital contributes, by name, with its L2 bound in units of 2^-24."""

    def state(self) -> Mapping[str, int]:
        """Return the tensors it keeps on the server's side, each with its first value in units of 2^-24."""


class HasTensors(Hashable, Protocol):
    """A study, as far as its layout asks."""

    @property
    def layout(self) -> tuple[Tensor, ...]:
        """The network's tensors."""

    @property
    def clip_q24(self) -> int:
        """L2 bound of an update in units of 2^-24."""

    @property
    def algorithm(self) -> SumsAndKeeps:
        """How updates become the next model."""


@dataclass(frozen=True, slots=True)
class TensorLayout:
    """Place of one tensor in the flat model: `offset` values in, `size` values long, row-major."""

    name: str
    shape: tuple[int, ...]
    initial: Initial
    role: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Layout:
    """All tensors of a study's model state in the order of the flat vector, `size` values in all.

    First those of the network, `trained` and `carried` values, then what the algorithm keeps on the server's side: one
    tensor of `trained` values each, named 'server.NAME'. The whole vector is what the model's hash names.
    """

    tensors: tuple[TensorLayout, ...]
    size: int
    trained: int
    carried: int

    @staticmethod
    def of(spec: HasTensors) -> Layout:
        """Return the layout of a study's model."""
        return _layout(spec)

    def network(self) -> tuple[TensorLayout, ...]:
        """Return the tensors of the network."""
        return tuple(tensor for tensor in self.tensors if tensor.role != SERVER)

    def server_offset(self, name: str) -> int:
        """Return where the algorithm's tensor NAME begins."""
        return next(tensor.offset for tensor in self.tensors if tensor.name == f"{SERVER}.{name}")


@lru_cache(maxsize=32)
def _layout(spec: HasTensors) -> Layout:
    placed, offset = list[TensorLayout](), 0
    for tensor in spec.layout:
        placed.append(TensorLayout(tensor.name, tensor.shape, tensor.initial, tensor.role, offset, tensor.size))
        offset += tensor.size
    trained = sum(tensor.size for tensor in spec.layout if tensor.role == TRAINED)
    carried = offset - trained
    for name, begin_q24 in spec.algorithm.state().items():
        placed.append(TensorLayout(f"{SERVER}.{name}", (trained,), Constant(begin_q24), SERVER, offset, trained))
        offset += trained
    return Layout(tuple(placed), offset, trained, carried)


# --- how inputs are scaled before a model sees them: computed by all hospitals together, part of the model --------


@dataclass(frozen=True, slots=True)
class Scaling:
    """Global mean and deviation per feature, of u in [0, 1], in units of 2^-24; part of the model."""

    mean_q24: Annotated[tuple[I64, ...], Size(1, MAX_FEATURES)]
    deviation_q24: Annotated[tuple[I64, ...], Size(1, MAX_FEATURES)]

    def __post_init__(self) -> None:
        if len(self.mean_q24) != len(self.deviation_q24):
            raise ValueError("as many means as deviations")
        in_range = all(0 <= mean <= UNIT for mean in self.mean_q24)
        if not in_range or not all(0 < deviation <= UNIT for deviation in self.deviation_q24):
            raise ValueError("mean or deviation outside the unit range")


# --- what a round of training sums: named segments of one vector, each with its length, scale, bound and merge ----
# Computed once from the study, and used by whoever makes, checks, sums, merges or prices a vector; the length stands
# in the study's terms on the ledger. The proof of a contribution bounds the norm of the whole vector by S = `SCALE`.
# The segments share it: their scales S_i have sum S_i^2 <= S^2, so that a vector whose segments are each within S_i
# is within S, and none is below S / 4, which keeps the products of the merge below 2^62 (see `merge`).


CARRIED_SEGMENT = "carried"

STEP, ADD = "step", "add"
"""How a segment merges: the algorithm's step takes it, or its mean is added to the carried values."""

Numbers = TypeVar("Numbers", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Segment:
    """One part of the summed vector: `length` values whose L2 norm is at most `clip_q24`, in units of 2^-24, and
    `scale` once it is quantised with the largest weight."""

    name: str
    length: int
    scale: int
    clip_q24: int
    merge: str


@dataclass(frozen=True, slots=True)
class VectorPlan:
    """The segments of the summed vector in order."""

    segments: tuple[Segment, ...]

    @property
    def length(self) -> int:
        """How many numbers each hospital contributes."""
        return sum(segment.length for segment in self.segments)

    def cut(self, vector: NDArray[Numbers]) -> dict[str, NDArray[Numbers]]:
        """Return a vector's segments by name, as views of it; raise `ValueError` if it has another length."""
        if vector.shape != (self.length,):
            raise ValueError(f"a vector of {vector.size} numbers, {self.length} are summed")
        found, start = {}, 0
        for segment in self.segments:
            found[segment.name] = vector[start : start + segment.length]
            start += segment.length
        return found


@lru_cache(maxsize=32)
def vector_plan(spec: HasTensors) -> VectorPlan:
    """Return what every hospital contributes in a round of training: what the algorithm names, then the change of the
    carried values, if the model has any."""
    layout = Layout.of(spec)
    wanted = [(name, layout.trained, clip, STEP) for name, clip in spec.algorithm.segments(spec.clip_q24).items()]
    if layout.carried:
        wanted.append((CARRIED_SEGMENT, layout.carried, spec.clip_q24, ADD))
    scale = isqrt(SCALE * SCALE // len(wanted))
    return VectorPlan(tuple(Segment(name, length, scale, clip, merge) for name, length, clip, merge in wanted))
