"""Processes with secrets leave no core file and cannot be looked into."""

from __future__ import annotations

import subprocess
import sys

import pytest

READ = """import ctypes, resource
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE))
"""
CALLS = {
    "keystore": "from fednode.home.keystore import _unlock_seeds\n"
                "from pathlib import Path\n"
                "try: _unlock_seeds(Path('none'), None)\n"
                "except Exception: pass\n",
    "worker": "from fednode.worker.sandbox import confine\nconfine(1 << 36)\n",
}


@pytest.mark.skipif(sys.platform != "linux", reason="the call is Linux's")
@pytest.mark.parametrize("name", CALLS)
def test_whoever_holds_secrets_is_not_dumpable(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", CALLS[name] + READ], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "0", "0"]
