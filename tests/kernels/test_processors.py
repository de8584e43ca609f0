"""The kernels give the same bits on every processor they are compiled for, and when nothing is optimised."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import fednode
from tests.kernels import digest_of_kernels

PACKAGE = Path(fednode.__file__).parent
BUILDS = {"any": ("-march=x86-64", ""), "plain": ("-O0", ""), "avx2": ("-march=haswell", "avx2"),
          "avx512": ("-march=x86-64-v4", "avx512bw")}


def digest(folder: Path) -> str:
    script = Path(digest_of_kernels.__file__)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("build", BUILDS)
def test_a_build_for_one_processor_gives_the_bits_of_the_installed_one(build: str, tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    options, feature = BUILDS[build]
    if compiler is None or platform.machine() != "x86_64":
        pytest.skip("the variants are built by gcc for x86-64")
    cpu = Path("/proc/cpuinfo")
    if feature and (not cpu.exists() or feature not in cpu.read_text().split()):
        pytest.skip(f"this processor has no {feature}")
    shutil.copytree(PACKAGE / "kernels", tmp_path / "fednode" / "kernels", ignore=shutil.ignore_patterns("*.so"))
    for name in ("__init__.py", "errors.py", "ids.py"):
        shutil.copy(PACKAGE / name, tmp_path / "fednode")
    sources = sorted(str(path) for path in (PACKAGE / "kernels").glob("*.c"))
    library = tmp_path / "fednode" / "kernels" / ("_compiled" + str(sysconfig.get_config_var("EXT_SUFFIX")))
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O3", "-std=c11", "-fvisibility=hidden", "-DONE_PROCESSOR", options,
         "-I", sysconfig.get_path("include"), *sources, "-lm", "-o", str(library)],
        check=True,
    )
    assert digest(tmp_path) == digest(PACKAGE.parent) != ""
