"""Files of `fednode chain` that prove something: reading checkpoints, proofs and consistency proofs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fednode.cli.show import short
from fednode.errors import Rejected, UsageError, VerificationFailed
from fednode.home.files import read_bounded

if TYPE_CHECKING:
    from fednode.audit.proofs import Proof
    from fednode.chain.checkpoint import Checkpoint, Consistency

MAX_CHECKPOINT_BYTES = 1024 * 1024


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file and check its signatures; raise `VerificationFailed` if it does not hold."""
    from fednode.chain.checkpoint import Checkpoint, check_signatures

    found = parse_claim(read_json(path, MAX_CHECKPOINT_BYTES), str(path))
    if not isinstance(found, Checkpoint):
        raise UsageError(f"{path} is no checkpoint but a proof; 'fednode chain checkpoint -o FILE' makes one")
    try:
        check_signatures(found)
    except Rejected as error:
        raise VerificationFailed(f"{path} does not hold: {error.reason}") from None
    return found


def read_json(path: Path, max_bytes: int | None = None) -> object:
    """Return the JSON value of a file of bounded size; raise `VerificationFailed` if it is none."""
    from fednode.audit.proofs import MAX_PROOF_BYTES
    from fednode.json_form import parse_json

    data = read_bounded(path, max_bytes or MAX_PROOF_BYTES, "proof", UsageError)
    try:
        return parse_json(data)
    except Rejected as error:
        raise VerificationFailed(f"{path} is no proof: {error.reason}; get the file again") from None


def parse_claim(value: object, where: str) -> Proof | Checkpoint | Consistency:
    """Return what a file says it is; raise `VerificationFailed` if it is of no known format."""
    from fednode.audit.proofs import PROOF_FORMAT, Proof
    from fednode.chain.checkpoint import CHECKPOINT_FORMAT, CONSISTENCY_FORMAT, Checkpoint, Consistency
    from fednode.json_form import from_json

    forms: dict[object, type[Proof | Checkpoint | Consistency]] = {
        PROOF_FORMAT: Proof, CHECKPOINT_FORMAT: Checkpoint, CONSISTENCY_FORMAT: Consistency
    }
    name = value.get("format") if isinstance(value, dict) else None
    form = forms.get(name) if isinstance(name, str) else None
    try:
        if form is None:
            raise Rejected(f"format {short(name)} is not known, these are: {', '.join(map(str, forms))}")
        return from_json(form, value)
    except Rejected as error:
        raise VerificationFailed(f"{where} is no proof: {error.reason}; get the file again") from None
