"""A low limit of open files is named as itself, before anything runs into it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fednode.errors import Unavailable
from fednode.home.files import environment

TRY = """
import resource, sys
from fednode.errors import Unavailable
from fednode.home.limits import raise_file_limit
soft, hard, members = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
try:
    raise_file_limit(members)
except Unavailable as error:
    print(error)
else:
    print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "members", "says"),
    [
        (64, 512, 4, "144"), (500, 512, 4, "500"), (64, 64, 4, "may have 64 files open at a time"),
        (256, 512, 200, "needs 928; raise the limit (ulimit -n 928"),
    ],
)
def test_the_limit_is_raised_or_named(soft: int, hard: int, members: int, says: str) -> None:
    command = [sys.executable, "-c", TRY, str(soft), str(hard), str(members)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert says in done.stdout


def test_running_out_of_open_files_names_the_limit() -> None:
    with pytest.raises(Unavailable, match="ulimit -n"), environment("open", Path("x")):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
