"""What the worker process may use. Limits are set before torch is imported and can only be lowered afterwards.

Security assumption: this bounds accidents of training code (memory, core files with patient rows, endless logs). It
is no wall against hostile code: studies carry settings, not code.
"""

from __future__ import annotations

import os
import resource

from fednode.secrecy import keep_to_itself

NICENESS = 10
MAX_WRITTEN_FILE_BYTES = 64 << 20
"""The worker writes nothing but its log."""


def confine(memory_limit_bytes: int) -> None:
    """Lower priority, forbid core files and other processes' looks, bound address space and written files."""
    os.nice(NICENESS)
    keep_to_itself()
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_WRITTEN_FILE_BYTES, MAX_WRITTEN_FILE_BYTES))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = memory_limit_bytes if hard == resource.RLIM_INFINITY else min(memory_limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
