"""The values of a model as a study lists them: names, shapes, how they begin, and whether they train.

The list is data of the study: whoever approved it knows every value that is exchanged, and nobody needs the model's
code to sum, merge, hash or write a model. The worker refuses a study whose network has other tensors.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isqrt, prod
from typing import Annotated, Protocol

from fednode.codec import I64, Range, Size, tagged
from fednode.learn.units import MAX_PARAMETERS, UNIT_BITS, check_printable

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
        check_printable(self.name)
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


class KeepsState(Protocol):
    """An algorithm, as far as a layout asks."""

    def state(self) -> Mapping[str, int]:
        """Return the tensors it keeps on the server's side, each with its first value in units of 2^-24."""


class HasTensors(Hashable, Protocol):
    """A study, as far as its layout asks."""

    @property
    def layout(self) -> tuple[Tensor, ...]:
        """The network's tensors."""

    @property
    def algorithm(self) -> KeepsState:
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
