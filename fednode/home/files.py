"""The home of one daemon on disk: its folders, writes that survive a power cut, and the lock that keeps a second out.

Security assumption: the home belongs to the account the daemon runs under; everything in it is created readable by
that account alone. What is written here is either the old or the new content after a crash, never a mixture.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import struct
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fednode.errors import FednodeError, HomeInUse, Unavailable

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700
PUBLIC_FILE = 0o644

SYNC_BYTES = 2 * 1024 * 1024
"""A long file goes to the disk this much at a time: many file systems write what is waiting of one file before they
call another one safe, and a block or a vote must not wait for a whole model."""

_DEVICES = (Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd"))
_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota of this account is used up"}
_DENIED = {errno.EACCES, errno.EPERM}


@dataclass(frozen=True, slots=True)
class Home:
    """Where everything of one daemon lies. Only `create` makes folders; nothing else here touches the disk."""

    root: Path

    @property
    def etc(self) -> Path:
        """What people write and exchange: configuration, genesis, identity card."""
        return self.root / "etc"

    @property
    def var(self) -> Path:
        """What the daemon writes: chain, sign-state, models, socket."""
        return self.root / "var"

    @property
    def config(self) -> Path:
        """The configuration, unless --config names another file."""
        return self.etc / "hospital.toml"

    @property
    def card(self) -> Path:
        """The identity card that is given to the other hospitals."""
        return self.etc / "identity-card.toml"

    @property
    def genesis(self) -> Path:
        """The genesis file, unless the configuration names another."""
        return self.etc / "genesis.toml"

    @property
    def keystore(self) -> Path:
        """The encrypted keys."""
        return self.root / "keys" / "keystore.toml"

    @property
    def chain(self) -> Path:
        """Folder of the LevelDB store."""
        return self.var / "chain"

    @property
    def sign_state(self) -> Path:
        """Folder of what this member has signed, outside the store: it must outlive a restored store."""
        return self.var / "sign-state"

    @property
    def statistics(self) -> Path:
        """Which data sets entered the statistics of which study."""
        return self.var / "statistics.json"

    @property
    def own_states(self) -> Path:
        """What the algorithms of studies keep of this hospital's own between rounds, encrypted."""
        return self.var / "own"

    @property
    def rounds(self) -> Path:
        """Folder of the encrypted records of running secure sums."""
        return self.var / "rounds"

    @property
    def tables(self) -> Path:
        """What was seen of this hospital's tables: counts and hashes, to tell when one changes."""
        return self.var / "tables.json"

    @property
    def blobs(self) -> Path:
        """Folder of models by hash."""
        return self.var / "blobs"

    @property
    def socket(self) -> Path:
        """The control socket that the command line talks to."""
        return self.var / "control.sock"

    @property
    def lock(self) -> Path:
        """Held by the running daemon; contains its process id."""
        return self.var / "daemon.lock"

    @property
    def journal(self) -> Path:
        """One JSON line per event and effect."""
        return self.root / "log" / "journal.jsonl"

    @property
    def output(self) -> Path:
        """What the daemon writes to its standard streams when it runs in the background."""
        return self.root / "log" / "daemon.log"

    def create(self) -> None:
        """Make the folders, readable by this account alone; those that exist are left as they are."""
        with environment("create the home", self.root):
            self.root.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            for folder in (self.etc, self.var, self.keystore.parent, self.journal.parent):
                folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)


@contextlib.contextmanager
def environment(action: str, path: Path, kind: type[FednodeError] = Unavailable) -> Iterator[None]:
    """Turn an `OSError` inside the block into one sentence: cannot `action` `path`, why, and what to do.

    A full disk is always `Unavailable`: whatever was being done, nothing is wrong with the file itself.
    """
    try:
        yield
    except OSError as error:
        code = error.errno or 0
        if code in _FULL:
            text = f"cannot {action} {path}: {_FULL[code]}; free some space and start again, nothing was lost"
            raise Unavailable(text) from None
        raise kind(f"cannot {action} {path}: {_reason(error)}; {_fix(code)}") from None


def describe(error: OSError) -> str:
    """Return what the system said to a program that asked for something, and what to do about it."""
    code = error.errno or 0
    if code in _FULL:
        return f"{_FULL[code]}; free some space and start again, nothing was lost"
    return f"{_reason(error)}; {_fix(code)}"


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def _fix(code: int) -> str:
    if code in _DENIED:
        return "run as the account that owns it, or change its permissions"
    if code == errno.EROFS:
        return "mount its disk writable (a disk with errors is often made read-only by the system), or use another one"
    if code in (errno.EMFILE, errno.ENFILE):
        return "raise the limit of open files of this account (ulimit -n, LimitNOFILE= of a service)"
    if code == errno.EFBIG:
        return "raise the limit on the size of files of this account (ulimit -f)"
    if code == errno.EIO:
        return "the disk does not answer as it should; check it, and move to another one"
    if code == errno.ENOENT:
        return "check the path"
    if code in (errno.EISDIR, errno.ENOTDIR):
        return "a file and a folder are mixed up in this path; correct it"
    return "check the path and the disk"


def write_atomic(path: Path, data: bytes, mode: int = PRIVATE_FILE) -> None:
    """Replace `path` by `data`: on return it is on the disk, and a crash at any moment leaves old or new, whole.

    The temporary file lies in the same folder and is removed on failure. Raises `Unavailable`.
    """
    write_stream(path, (data,), mode)


def write_stream(path: Path, parts: Iterable[bytes | bytearray | memoryview], mode: int = PRIVATE_FILE) -> int:
    """Replace `path` by `parts`, joined, as `write_atomic` does; return how many bytes that are.

    What `parts` raises passes through, and leaves the old file. A device or a pipe is written to, never replaced.
    """
    size_bytes = unsynced_bytes = 0
    with environment("write", path):
        if _is_stream(path):
            with path.open("wb") as stream:
                return sum(map(stream.write, parts))
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
        try:
            with open(descriptor, "wb") as file:
                os.fchmod(file.fileno(), mode)
                for part in parts:
                    file.write(part)
                    size_bytes += len(part)
                    unsynced_bytes += len(part)
                    if unsynced_bytes >= SYNC_BYTES:
                        file.flush()
                        os.fdatasync(file.fileno())
                        unsynced_bytes = 0
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        sync_folder(path.parent)
    return size_bytes


def _is_stream(path: Path) -> bool:
    """Whether a name is that of no file: a device, a pipe, or what /dev calls the output of this process.

    root could replace those: a table written to /dev/full then was /dev/full for every program.
    """
    return path.parent in _DEVICES or (path.exists() and not path.is_file() and not path.is_dir())


def make_folder(folder: Path) -> None:
    """Make a folder that this account alone may enter, if it is not there; on return it survives a power cut."""
    with environment("create the folder", folder):
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        for path in missing:
            sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_aside(path: Path) -> Path:
    """Move something damaged away under a name with the date, to be looked at; return where it is now."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    for number in range(1, 1000):
        target = path.with_name(f"{path.name}-damaged-{stamp}" + (f"-{number}" if number > 1 else ""))
        if not os.path.lexists(target):
            with environment("move away the damaged", path):
                os.rename(path, target)
                sync_folder(path.parent)
            return target
    raise Unavailable(f"there are too many damaged copies beside {path}; look at them and delete what is not needed")


def read_bounded(path: Path, max_bytes: int, what: str, kind: type[FednodeError] = Unavailable) -> bytes:
    """Read a file of at most `max_bytes`; raise `kind` with one sentence that calls the file `what`."""
    with environment(f"read the {what}", path, kind), path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise kind(f"{what} {path} is larger than {max_bytes} bytes; this is not such a file, check the path")
    return data


class HomeLock:
    """Keeps other daemons off a home for as long as this process lives, however it ends.

    An open file description lock (fcntl): unlike flock it can be asked about without being taken, so looking whether
    a daemon runs never gets in the way of one that starts.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @staticmethod
    def acquire(home: Home) -> HomeLock:
        """Take the lock; raise `HomeInUse` naming the process that holds it."""
        with environment("open the lock", home.lock):
            descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _WHOLE_FILE)
            with environment("write the lock", home.lock):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            owner = _pid_in(descriptor)
            os.close(descriptor)
            process = f"process {owner}" if owner else "another process"
            fix = f"stop it first with 'fednode --home {home.root} stop'"
            raise HomeInUse(f"{process} already runs on the home {home.root}; {fix}") from None
        except BaseException:
            os.close(descriptor)
            raise
        return HomeLock(descriptor)

    def release(self) -> None:
        """Give the home free. The file stays: removing it would let two processes lock two files of one name."""
        os.close(self._descriptor)


_FLOCK = "hhqqi"
_WHOLE_FILE = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


def daemon_pid(home: Home) -> int | None:
    """Return the process id of whoever holds the lock (0 if it has not written it yet), None if nobody does."""
    with environment("look at the lock", home.lock):
        try:
            descriptor = os.open(home.lock, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _WHOLE_FILE)
        is_free = struct.unpack(_FLOCK, answer)[0] == fcntl.F_UNLCK
        return None if is_free else _pid_in(descriptor) or 0
    finally:
        os.close(descriptor)


def _pid_in(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else None


STOP_TIMEOUT_S = 30.0
"""How long a daemon may take to end when it is asked to."""


def end_daemon(home: Home, kill: bool = False, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """End the daemon of a home, if one runs, and wait for its end."""
    pid = daemon_pid(home)
    if not pid:
        return
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL if kill else signal.SIGTERM)
        ended, _, _ = select.select([process], [], [], timeout_s)
    except ProcessLookupError:
        ended = [process]
    except PermissionError:
        text = f"process {pid} belongs to another account"
        raise Unavailable(f"{text}; run this as the account that runs the daemon") from None
    finally:
        os.close(process)
    if not ended:
        text = f"the daemon (process {pid}) did not end within {timeout_s:g} s"
        raise Unavailable(f"{text}; 'fednode stop --kill' ends it like a power cut, it loses nothing")
