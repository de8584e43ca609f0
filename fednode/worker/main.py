"""Process entry: `python -m fednode.worker.main MEMORY_LIMIT_BYTES`. Frames in on stdin, one answer each on stdout.

Security assumption: the parent alone holds the other ends of the pipes. Stray output of libraries cannot damage a
frame: file descriptor 1 is pointed at stderr before anything else is imported. When the parent dies, its end of stdin
closes and this process ends at once, even within a job.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import traceback
from types import TracebackType
from typing import BinaryIO

from fednode.learn.jobs import LENGTH_BYTES, MAX_FRAME_BYTES, decode_job, encode_answer
from fednode.worker.sandbox import confine


def take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Move stdin and stdout out of everyone's reach; what is printed from now on goes to stderr."""
    frames_in, frames_out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return frames_in, frames_out


def exit_with_parent(descriptor: int) -> None:
    """Wait until the other end of `descriptor` is closed, then end the process."""
    poll = select.poll()
    poll.register(descriptor, 0)
    while not any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll()):
        pass
    os._exit(0)


def read_frame(stream: BinaryIO) -> bytes | None:
    """Return the next record, or None at the end of the stream."""
    head = stream.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    length = int.from_bytes(head, "big")
    if length > MAX_FRAME_BYTES:
        raise ValueError(f"frame of {length} bytes, at most {MAX_FRAME_BYTES} allowed")
    record = stream.read(length)
    return record if len(record) == length else None


def keep_messages_back() -> None:
    """From now on errors that nobody expected are told by type and place alone: a message may quote a cell of a table.

    What is written here stands in a log, and its last line in the daemon's status and journal.
    """

    def tell(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for frame in traceback.extract_tb(trace):
            sys.stderr.write(f"{frame.filename}:{frame.lineno} in {frame.name}\n")
        name = "error" if kind is None else kind.__name__
        sys.stderr.write(f"{name}, a bug of the training process; its message is kept back, it may quote a table\n")

    sys.excepthook = tell
    threading.excepthook = lambda args: tell(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: tell(args.exc_type, args.exc_value, args.exc_traceback)


def main() -> None:
    """Serve jobs until stdin ends."""
    frames_in, frames_out = take_pipes()
    confine(int(sys.argv[1]))
    threading.Thread(target=exit_with_parent, args=(frames_in.fileno(),), daemon=True).start()

    import torch  # after the limits and the pipes: it reads both

    from fednode.worker.answer import answer
    from fednode.worker.prepared import DataCache
    from fednode.worker.train import warm_up

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    # Not torch.use_deterministic_algorithms: it imports the compiler (1 s, 70 MB), and the operations used here are
    # deterministic on one thread of a CPU; a test compares bytes.
    warm_up()
    keep_messages_back()
    cache = DataCache()
    while (record := read_frame(frames_in)) is not None:
        frame, tail = encode_answer(answer(decode_job(record), cache))
        frames_out.write(frame)
        frames_out.write(tail)
        frames_out.flush()
        del frame, tail  # an update is not kept until the next one


if __name__ == "__main__":
    main()
