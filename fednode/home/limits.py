"""Limits of the account that a daemon would run into later, named when it starts."""

from __future__ import annotations

import resource

from fednode.errors import Unavailable

FILES = 128
"""Files a daemon has open for itself: store, journal, worker, control socket, model and round files."""

FILES_A_MEMBER = 4
"""A connection each way and what is under way on it."""


def raise_file_limit(members: int) -> None:
    """Allow this process as many open files as a federation of `members` takes; raise `Unavailable` if it may not."""
    needed = FILES + FILES_A_MEMBER * members
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise Unavailable(
            f"this account may have {hard} files open at a time, and the daemon of a federation of {members} needs "
            f"{needed}; raise the limit (ulimit -n {needed}, LimitNOFILE={needed} of a systemd service)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
