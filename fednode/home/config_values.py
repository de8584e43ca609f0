"""Values of the configuration that need more than a type: paths, addresses, approvals. Errors say what to write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, cast

from pydantic import BeforeValidator, ValidationInfo

from fednode.dialling import problem_of, why_undialable
from fednode.p2p.reach import check_allow

_STUDY_ID = re.compile(r"[0-9a-f]{64}")


def _resolve(value: object, info: ValidationInfo) -> object:
    """Make a path absolute against the folder of the file; leave what is no text to pydantic to complain about."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        raise ValueError("a path is needed, not an empty text")
    folder = cast("Mapping[str, Path]", info.context)["folder"]
    return Path(folder, Path(value).expanduser()).resolve()


def _listening(value: object) -> object:
    if isinstance(value, str) and (reason := why_undialable(value, to_listen=True)):
        raise ValueError(f"'{value}' cannot be listened on: {reason}")
    return value


def _dialled(value: object) -> object:
    texts = [text for text in value if isinstance(text, str)] if isinstance(value, (list, tuple)) else []
    if problem := problem_of(texts):
        raise ValueError(problem)
    return value


def _allowed(value: object) -> object:
    return check_allow(value) if isinstance(value, str) else value


def _approval(value: object) -> object:
    if isinstance(value, str) and value != "*" and not _STUDY_ID.fullmatch(value):
        raise ValueError(f"'{value}' is neither \"*\" nor the id of a study, 64 hexadecimal digits")
    return value


FilePath = Annotated[Path, BeforeValidator(_resolve)]
Listening = Annotated[str, BeforeValidator(_listening)]
Dialled = Annotated[tuple[str, ...], BeforeValidator(_dialled)]
Allowed = Annotated[str, BeforeValidator(_allowed)]
Approval = Annotated[str, BeforeValidator(_approval)]
