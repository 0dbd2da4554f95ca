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
from collections.abc import Iterator

PAGE_BYTES = 4096
"""What the kernel copies at once, at least. Who reads meanwhile sees all of it, or nothing."""

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
    end = os.lseek(1, 0, os.SEEK_END)
    try:
        for piece in _pieces(block, end):
            _write_all(piece)
    except OSError as error:
        os.ftruncate(1, end)
        return error.errno or errno.EIO
    return 0


def _pieces(block: bytes, place: int) -> Iterator[bytes]:
    """The lines of a block that will be at this place of the file: those that end on one page, or one that does not."""
    begin = 0
    while begin < len(block):
        next_page = begin + PAGE_BYTES - (place + begin) % PAGE_BYTES
        end = block.rfind(b"\n", begin, next_page) + 1 or block.find(b"\n", next_page) + 1 or len(block)
        yield block[begin:end]
        begin = end


def _write_all(piece: bytes) -> None:
    while piece:
        piece = piece[os.write(1, piece) :]


if __name__ == "__main__":
    main()
