"""A program of its own, which appends to an output: no kill of the command cuts its writes short.

stdout is the output. stdin has blocks, each a line with its size and so many bytes. stderr gets a line for each block
that was appended or refused: an errno, or 0. It ends when stdin does. A block that did not come as a whole is dropped.
It imports nothing of ours, so it starts at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys

_IGNORED = ("SIGINT", "SIGTERM", "SIGHUP")
"""They end the command, which has blocks to write after them."""


def main() -> None:
    """Append blocks until stdin ends."""
    for name in _IGNORED:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError):  # the command was killed meanwhile
        while (block := _next_block()) is not None:
            os.write(2, b"%d\n" % _append(block))


def _next_block() -> bytes | None:
    size = sys.stdin.buffer.readline()
    if not size.endswith(b"\n"):
        return None
    block = sys.stdin.buffer.read(int(size))
    return block if len(block) == int(size) else None


def _append(block: bytes) -> int:
    end, left = os.lseek(1, 0, os.SEEK_END), memoryview(block)
    try:
        while left:
            left = left[os.write(1, left) :]
    except OSError as error:
        os.ftruncate(1, end)
        return error.errno or errno.EIO
    return 0


if __name__ == "__main__":
    main()
