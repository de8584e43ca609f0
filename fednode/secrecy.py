"""What keeps a process with secrets in its memory to itself.

Security assumption: the system's administrator is trusted, other accounts and other programs of the same account are
not. A core file would hold keys and patients' rows, and so does the memory that a debugger of the same account reads.
"""

from __future__ import annotations

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4
"""linux/prctl.h; see prctl(2): 0 forbids core files whatever the limits say, and ptrace by unprivileged processes."""


def keep_to_itself() -> None:
    """Leave no core file, and let no other process of this account look into the memory. It cannot be taken back.

    Where the system does not know the call (it is Linux's), the limit on core files alone holds.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
