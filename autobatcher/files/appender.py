"""Appends to a file by a process of its own (append.py), so that SIGKILL cuts no block.

The kernel copies a long write piece by piece, and stops at a fatal signal. The process is in a session of its own: what
is sent to the command, its group or its terminal does not reach it.
"""

from __future__ import annotations

import os
import subprocess  # nosec B404
import sys
from contextlib import suppress
from pathlib import Path

_PROGRAM = Path(__file__).with_name("append.py")

END_SECONDS = 10.0
"""How long to wait for the process to end. It has nothing to do then."""


class Appender:
    """The process for one file.

    Args:
        descriptor: of the file. Its locks are the process's, too.

    Raises:
        OSError: if the process cannot be started.
    """

    def __init__(self, descriptor: int) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # nosec B603
            [sys.executable, "-I", "-S", str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=descriptor,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def append(self, block: bytes) -> None:
        """Append all of it, or nothing. Raises `OSError`."""
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(b"%d\n" % len(block))
            self._process.stdin.write(block)
            self._process.stdin.flush()
        reply = self._process.stderr.readline().strip()
        if not reply.isdigit():
            raise OSError("the process that appends to it was ended; run the same command again")
        if number := int(reply):
            raise OSError(number, os.strerror(number))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        self._process.stderr.close()
