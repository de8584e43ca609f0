"""Files that survive crashes, errors a person can act on, one daemon per home."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fednode.errors import ConfigError, HomeInUse, Unavailable
from fednode.home import files
from fednode.home.files import Home, HomeLock, daemon_pid, read_bounded, write_atomic, write_stream


def test_a_written_file_is_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys"]


def test_what_is_no_file_is_written_to_and_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert write_stream(pipe, (b"one", bytearray(b"two"))) == 6
        assert os.read(reader, 100) == b"onetwo"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    write_atomic(Path("/dev/null"), b"gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(Unavailable, match="the disk is full"):
        write_atomic(Path("/dev/full"), b"gone")
    done = subprocess.run(
        [sys.executable, "-c",
         "from pathlib import Path; from fednode.home.files import write_atomic; "
         "write_atomic(Path('/dev/stdout'), b'shown')"],
        capture_output=True, check=True,
    )
    assert done.stdout == b"shown" and os.path.islink("/dev/stdout")


def test_a_failed_write_leaves_the_old_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys"
    write_atomic(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(Unavailable, match="the disk is full; free some space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys"]


def test_a_full_disk_is_told_apart_from_a_bad_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*missing: no such file"):
        read_bounded(tmp_path / "missing", 10, "configuration", ConfigError)
    with pytest.raises(ConfigError, match="no such file"), files.environment("read", tmp_path, ConfigError):
        raise OSError(errno.ENOENT, "No such file or directory")
    with pytest.raises(Unavailable, match="disk is full"), files.environment("write", tmp_path, ConfigError):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_larger_than_it_can_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(11))
    with pytest.raises(ConfigError, match="larger than 10 bytes"):
        read_bounded(tmp_path / "big", 10, "configuration", ConfigError)


def test_a_home_is_private(tmp_path: Path) -> None:
    home = Home(tmp_path / "a" / "home")
    home.create()
    home.create()
    for folder in (home.root, home.etc, home.var, home.keystore.parent, home.journal.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_home_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(Unavailable, match="cannot create the home"):
        Home(tmp_path / "home").create()


def test_the_second_daemon_on_a_home_is_refused_by_name(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    assert daemon_pid(home) is None
    lock = HomeLock.acquire(home)
    try:
        assert daemon_pid(home) == os.getpid()
        with pytest.raises(HomeInUse, match=rf"process {os.getpid()} already runs on the home {tmp_path}; stop it"):
            HomeLock.acquire(home)
    finally:
        lock.release()
    assert daemon_pid(home) is None
    HomeLock.acquire(home).release()


def test_the_lock_goes_with_the_process_however_it_ends(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    code = (
        "import pathlib, signal, os; from fednode.home.files import Home, HomeLock\n"
        f"lock = HomeLock.acquire(Home(pathlib.Path({str(tmp_path)!r}))); print('held', flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert daemon_pid(home) == holder.pid
        holder.kill()
        holder.wait()
    assert daemon_pid(home) is None
