"""Asks the user on the terminal, for a bounded time, and without a thread that could not be stopped."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from contextlib import suppress

import trio

from ..display.displays import Terminal
from ..printable import printable_lines

ASK_SECONDS = 30.0
"""How long an answer is waited for. Whoever pressed Ctrl-C by mistake, or looks at a page first, needs some time."""

PAUSE_SECONDS = 2.0
"""How long a live picture may take to stand still: a terminal may block."""


class Question:
    """Asks one question on a terminal.

    Args:
        descriptor: of the terminal that is read from.
        display: the live picture on that terminal, which stands still meanwhile; None if there is none.
    """

    def __init__(
        self, descriptor: int = 0, display: Terminal | None = None, *, ask_seconds: float = ASK_SECONDS
    ) -> None:
        self.ask_seconds: float = ask_seconds
        self._descriptor = descriptor
        self._display = display

    async def ask(self, text: str, letters: Collection[str]) -> str | None:
        """The letter that is typed; None for a bare Enter, or if nobody answers in time.

        Cancelled: the picture goes on.
        """
        if not _is_in_foreground(self._descriptor):
            return None
        await self._pause()
        try:
            with trio.move_on_after(self.ask_seconds):
                return await self._answer(text, letters)
        except OSError:  # the terminal is gone
            return None
        finally:
            if self._display is not None:
                self._display.resume()
        return None

    async def _pause(self) -> None:
        if self._display is not None:
            with trio.move_on_after(PAUSE_SECONDS):
                await trio.to_thread.run_sync(self._display.pause, abandon_on_cancel=True)

    async def _answer(self, text: str, letters: Collection[str]) -> str | None:
        while True:
            _write(text)
            await self._wait_for_line()
            line = os.read(self._descriptor, 1024)
            answer = line.decode(errors="replace").strip().lower()
            if not answer:
                return None
            if answer[0] in letters:
                return answer[0]

    async def _wait_for_line(self) -> None:
        try:
            await trio.lowlevel.wait_readable(self._descriptor)
        except trio.Cancelled:  # by the clock or a signal: what is said next begins a line of its own
            with suppress(OSError):
                _write("\n")
            raise


def question_here(display: Terminal | None = None) -> Question | None:
    """How the user can be asked; None if stdin and stderr are not both a terminal, and on Windows."""
    streams = (sys.stdin, sys.stderr)
    if os.name == "nt" or not all(each is not None and each.isatty() for each in streams):
        return None
    return Question(sys.stdin.fileno(), display)


def _is_in_foreground(descriptor: int) -> bool:
    """Whether what is typed is for us. Reading in the background would stop the process."""
    if sys.platform == "win32":
        return False
    else:  # noqa: RET505  (mypy reads it as Windows, too)
        try:
            return os.tcgetpgrp(descriptor) == os.getpgrp()
        except OSError:
            return False


def _write(text: str) -> None:
    sys.stderr.write(printable_lines(text))
    sys.stderr.flush()
