"""A model as one file: safetensors that any program opens, with everything `predict` needs in its header.

Security assumption: the bytes may come from a peer, so they are accepted only if writing what was read gives
the same bytes again, and only under the hash the ledger names. No pickle, no code, bounded sizes.

Tensors are float64: a state is an integer below 2^39 in units of 2^-24, which float64 holds exactly, so the
file carries the hashed integers and is directly usable as floats. Format: 8-byte little-endian length, JSON
header, little-endian data (https://github.com/huggingface/safetensors, section Format).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fednode.codec import decode, encode
from fednode.errors import Rejected
from fednode.ids import Hash
from fednode.learn.merge import is_model, model_hash
from fednode.learn.schema import Scaling, is_scaling_of
from fednode.learn.spec import UNIT, Layout, StudySpec, decode_study, study_bytes

FILE_KIND = "fednode-model-1"
MAX_HEADER_BYTES = 1 << 20
_METADATA_KEYS = {"format", "fednode", "study_id", "round", "model_hash", "spec", "scaling"}


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model with its study, its input scaling and the round that made it (0: untrained)."""

    study: bytes
    round_number: int
    spec: StudySpec
    scaling: Scaling
    values: NDArray[np.int64]

    @property
    def hash(self) -> Hash:
        """The model hash as on the ledger."""
        return model_hash(self.study, self.round_number, self.spec, self.scaling, self.values)


def write_model(model: ModelFile) -> bytes:
    """Return the file's bytes; the same model always gives the same bytes."""
    metadata = {
        "fednode": FILE_KIND,
        "format": "pt",
        "model_hash": model.hash.hex(),
        "round": str(model.round_number),
        "scaling": encode(model.scaling).hex(),
        "spec": study_bytes(model.spec).hex(),
        "study_id": model.study.hex(),
    }
    header: dict[str, object] = {"__metadata__": metadata}
    for tensor in Layout.of(model.spec).tensors:
        ends = [8 * tensor.offset, 8 * (tensor.offset + tensor.size)]
        header[tensor.name] = {"dtype": "F64", "shape": list(tensor.shape), "data_offsets": ends}
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + (model.values / UNIT).astype("<f8").tobytes()


def read_model(data: bytes) -> ModelFile:
    """Read a file made by `write_model`; raise `Rejected` for anything else, however similar."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > MAX_HEADER_BYTES or 8 + length > len(data):
        raise Rejected("not a safetensors file")
    try:
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        if set(metadata) != _METADATA_KEYS or metadata["fednode"] != FILE_KIND:
            raise Rejected("a safetensors file, but not a fednode model")
        spec = decode_study(bytes.fromhex(metadata["spec"]))
        scaling = decode(Scaling, bytes.fromhex(metadata["scaling"]), 2 * MAX_HEADER_BYTES)
        study, round_number = bytes.fromhex(metadata["study_id"]), int(metadata["round"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Rejected("the header of the model file is damaged") from None
    body = data[8 + length :]
    if len(body) != 8 * Layout.of(spec).size or not is_scaling_of(spec, scaling):
        raise Rejected("the model file does not have the size of its study")
    scaled = np.frombuffer(body, "<f8") * UNIT
    if not np.isfinite(scaled).all() or float(np.abs(scaled).max(initial=0.0)) >= 2.0**62:
        raise Rejected("model value out of range")
    model = ModelFile(study, round_number, spec, scaling, scaled.astype(np.int64))
    if len(study) != 32 or not 0 <= round_number < 1 << 32 or not is_model(model.values, len(scaled)):
        raise Rejected("model value out of range")
    if write_model(model) != data:
        raise Rejected("the model file is not in canonical form")
    return model
