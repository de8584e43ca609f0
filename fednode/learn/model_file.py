"""A model as one file: safetensors that any program opens, with everything `predict` needs in its header.

Security assumption: the bytes may come from a peer, so they are accepted only if writing what was read gives
the same bytes again, and only under the hash the ledger names. No pickle, no code, bounded sizes.

Tensors are float64: a state is an integer below 2^39 in units of 2^-24, which float64 holds exactly, so the
file carries the hashed integers and is directly usable as floats. Format: 8-byte little-endian length, JSON
header, little-endian data (https://github.com/huggingface/safetensors, section Format).

A large model is never whole in memory: `StoredModel` knows where its file is and reads it part by part, `write_parts`
makes a file from parts. `ModelFile` holds the values of a model that fits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from io import BufferedIOBase, BytesIO
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fednode.codec import decode, encode
from fednode.crypto import Sha256
from fednode.documents import Unreadable, read_json
from fednode.errors import Rejected, StorageError
from fednode.ids import Hash
from fednode.learn.form import study_form
from fednode.learn.layout import Layout, Scaling
from fednode.learn.merge import PART_VALUES, Stretch, is_model, model_hash, name_model
from fednode.learn.study import StudySpec, decode_study, study_bytes
from fednode.learn.units import MAX_PARAMETERS, UNIT

FILE_KIND = "fednode-model-1"
MAX_HEADER_BYTES = 1 << 20
VALUE_BYTES = 8
MAX_FILE_BYTES = VALUE_BYTES * MAX_PARAMETERS + MAX_HEADER_BYTES + VALUE_BYTES
"""The largest model file."""

_METADATA_KEYS = {"about", "format", "fednode", "study_id", "round", "model_hash", "spec", "scaling", "salt"}
SALT_BYTES = 32
NO_SALT = bytes(SALT_BYTES)
"""Of a model that no secure sum made: nothing hides it."""

Buffer = bytes | bytearray | memoryview
Opener = Callable[[], BufferedIOBase]
"""Opens a file for one pass over it."""


class Draft(Protocol):
    """A file in the making, which has no name yet."""

    def append(self, data: Buffer) -> None:
        """Write behind what is there."""

    def finish(self, head: bytes) -> None:
        """Write `head` over the beginning; on return everything is on the disk."""


class MemoryDraft:
    """A draft in memory."""

    def __init__(self) -> None:
        self.data = bytearray()

    def append(self, data: Buffer) -> None:
        """Write behind what is there."""
        self.data += data

    def finish(self, head: bytes) -> None:
        """Write `head` over the beginning."""
        self.data[: len(head)] = head


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model with its study, its input scaling, the round that made it (0: untrained), and the salt of its name."""

    study: bytes
    round_number: int
    spec: StudySpec
    scaling: Scaling
    values: NDArray[np.int64]
    salt: bytes = field(default=NO_SALT, repr=False)

    @property
    def hash(self) -> Hash:
        """The model hash as on the ledger."""
        return model_hash(self.study, self.round_number, self.spec, self.scaling, self.salt, self.values)


@dataclass(frozen=True, slots=True, eq=False)
class StoredModel:
    """A model in its file, which was checked against `hash`. `path` is empty where there is none on a disk."""

    study: bytes
    round_number: int
    spec: StudySpec
    scaling: Scaling
    salt: bytes = field(repr=False)
    hash: Hash
    opener: Opener = field(repr=False)
    path: str = ""

    def parts(self) -> Iterator[NDArray[np.int64]]:
        """Yield the values in order, `PART_VALUES` at a time; raise `StorageError` if the file is not what it was."""
        size = Layout.of(self.spec).size
        return self.stretches((start, min(PART_VALUES, size - start)) for start in range(0, size, PART_VALUES))

    def stretches(self, wanted: Iterable[Stretch]) -> Iterator[NDArray[np.int64]]:
        """Yield stretches (first, how many) of the values; raise `StorageError` if the file is not what it was."""
        try:
            with self.opener() as file:
                begin = len(_read_head(file))
                for start, count in wanted:
                    file.seek(begin + VALUE_BYTES * start)
                    for part in _read_values(file, count):
                        yield _integers(part)
        except (OSError, Rejected):
            text = f"the file of model {self.hash.hex()[:16]} is damaged or gone; start the daemon again, it is fetched"
            raise StorageError(f"{text} from a member") from None

    def load(self) -> NDArray[np.int64]:
        """Return all values, int64 (d,)."""
        values = np.empty(Layout.of(self.spec).size, np.int64)
        at = 0
        for part in self.parts():
            values[at : at + part.size] = part
            at += part.size
        return values


# --- writing --------------------------------------------------------------------------------------------------

def write_model(model: ModelFile) -> bytes:
    """Return the file's bytes; the same model always gives the same bytes."""
    draft = MemoryDraft()
    write_parts(draft, model.study, model.round_number, model.spec, model.scaling, model.salt, [model.values])
    return bytes(draft.data)


def write_parts(
    draft: Draft, study: bytes, round_number: int, spec: StudySpec, scaling: Scaling, salt: bytes,
    parts: Iterable[NDArray[np.int64]],
) -> Hash:
    """Write a model whose values come part by part; return its hash. The hash is in the header, which comes last."""
    draft.append(bytes(len(_head(study, round_number, spec, scaling, salt, Hash(bytes(32))))))
    digest = Sha256()
    for part in parts:
        digest.update(part.astype("<i8", copy=False).data.cast("B"))
        draft.append((part / UNIT).astype("<f8", copy=False).data.cast("B"))
    name = name_model(study, round_number, spec, scaling, salt, digest.digest())
    draft.finish(_head(study, round_number, spec, scaling, salt, name))
    return name


def _head(study: bytes, round_number: int, spec: StudySpec, scaling: Scaling, salt: bytes, name: Hash) -> bytes:
    """Return what precedes the values; its length does not depend on `name`."""
    metadata = {
        "about": _about(spec, scaling),
        "fednode": FILE_KIND,
        "format": "pt",
        "model_hash": name.hex(),
        "round": str(round_number),
        "salt": salt.hex(),
        "scaling": encode(scaling).hex(),
        "spec": study_bytes(spec).hex(),
        "study_id": study.hex(),
    }
    header: dict[str, object] = {"__metadata__": metadata}
    for tensor in Layout.of(spec).tensors:
        ends = [VALUE_BYTES * tensor.offset, VALUE_BYTES * (tensor.offset + tensor.size)]
        header[tensor.name] = {"dtype": "F64", "shape": list(tensor.shape), "data_offsets": ends}
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _about(spec: StudySpec, scaling: Scaling) -> str:
    """Return study and scaling as JSON, for programs that know safetensors and nothing of fednode.

    `study` has the names of a study file. `mean` and `deviation` have one number for each input of the model: it was
    trained on (u - mean) / deviation, where u is the column scaled to 0 to 1 by its range.
    """
    means, deviations = ([value / UNIT for value in values] for values in (scaling.mean_q24, scaling.deviation_q24))
    return json.dumps({"study": study_form(spec), "mean": means, "deviation": deviations}, separators=(",", ":"))


# --- reading --------------------------------------------------------------------------------------------------

def read_model(data: Buffer) -> ModelFile:
    """Read a file made by `write_model`; raise `Rejected` for anything else, however similar."""
    model = check_model(lambda: BytesIO(data))
    return ModelFile(model.study, model.round_number, model.spec, model.scaling, model.load(), model.salt)


def check_model(opener: Opener, path: str = "") -> StoredModel:
    """Read a whole file once; raise `Rejected` unless it is what `write_parts` makes of the model in it.

    Raises `OSError` if it cannot be read.
    """
    with opener() as file:
        model, head = _open(file, opener, path)
        digest = Sha256()
        for part in _read_values(file, Layout.of(model.spec).size):
            digest.update(_checked(part).data.cast("B"))
        if file.read(1):
            raise Rejected("the model file does not have the size of its study")
    named = (model.study, model.round_number, model.spec, model.scaling, model.salt)
    name = name_model(*named, digest.digest())
    if name != model.hash or head != _head(*named, name):
        raise Rejected("the model file is not in canonical form")
    return model


def open_model(opener: Opener, path: str = "") -> StoredModel:
    """Read the header alone of a file that was checked before; raise `Rejected` or `OSError` if there is none."""
    with opener() as file:
        return _open(file, opener, path)[0]


def _open(file: BufferedIOBase, opener: Opener, path: str) -> tuple[StoredModel, bytes]:
    head = _read_head(file)
    try:
        metadata = _metadata(head[8:])
        if set(metadata) != _METADATA_KEYS or metadata["fednode"] != FILE_KIND:
            raise Rejected("a safetensors file, but not a fednode model")
        spec = decode_study(bytes.fromhex(metadata["spec"]))
        scaling = decode(Scaling, bytes.fromhex(metadata["scaling"]), 2 * MAX_HEADER_BYTES)
        study, round_number = bytes.fromhex(metadata["study_id"]), int(metadata["round"])
        salt, name = bytes.fromhex(metadata["salt"]), Hash(bytes.fromhex(metadata["model_hash"]))
    except (ValueError, KeyError):
        raise Rejected("the header of the model file is damaged") from None
    if len(scaling.mean_q24) != spec.data.features:
        raise Rejected("the model file does not have the size of its study")
    if len(study) != 32 or not 0 <= round_number < 1 << 32 or len(name) != 32 or len(salt) != SALT_BYTES:
        raise Rejected("model value out of range")
    return StoredModel(study, round_number, spec, scaling, salt, name, opener, path), head


def _metadata(head: bytes) -> dict[str, str]:
    """Return what a header says beside the tensors; raise `Rejected` unless it is texts by name."""
    try:
        document = read_json(head)
    except Unreadable:
        raise Rejected("the header of the model file is damaged") from None
    found = document.get("__metadata__") if isinstance(document, dict) else None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise Rejected("the header of the model file is damaged")
    return found


def _read_head(file: BufferedIOBase) -> bytes:
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > MAX_HEADER_BYTES:
        raise Rejected("not a safetensors file")
    text = file.read(length)
    if len(text) < length:
        raise Rejected("not a safetensors file")
    return start + text


def _read_values(file: BufferedIOBase, count: int) -> Iterator[NDArray[np.float64]]:
    """Yield `count` values; each part is valid until the next one is asked for."""
    room = np.empty(min(count, PART_VALUES), np.dtype("<f8"))
    for start in range(0, count, PART_VALUES):
        part = room[: min(PART_VALUES, count - start)]
        view, filled = part.data.cast("B"), 0
        while filled < len(view):
            got = file.readinto(view[filled:])
            if not got:
                raise Rejected("the model file does not have the size of its study")
            filled += got
        yield part


def _checked(part: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the integers of a part; raise `Rejected` unless they are values of a model, written as they must be."""
    if not np.isfinite(part).all() or float(np.abs(part).max(initial=0.0)) * UNIT >= 2.0**62:
        raise Rejected("model value out of range")
    values = _integers(part)
    if not is_model(values, part.size):
        raise Rejected("model value out of range")
    if (values / UNIT).tobytes() != part.tobytes():  # a fraction of a unit, or minus zero
        raise Rejected("the model file is not in canonical form")
    return values


def _integers(part: NDArray[np.float64]) -> NDArray[np.int64]:
    return (part * UNIT).astype("<i8")
