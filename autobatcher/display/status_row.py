"""Progress in the last row of a terminal that another program writes to.

The rows above it become the terminal's scrolling region, as apt does while packages are installed. So whatever the
program prints stays, and scrolls by. While a program has the terminal for itself, such as an editor or a prompt that
completes, nothing is painted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TextIO

from ..printable import printable
from .sentence import sentence
from .snapshot import ProgressSnapshot

PAINT_SECONDS = 1.0
LEAST_ROWS = 5
"""With fewer, no row can be spared."""

_SAVE, _RESTORE, _INDEX, _ERASE_ROW = "\x1b7", "\x1b8", "\x1bD", "\x1b[2K"


class StatusRow:
    """A line in the last row, repainted in place, and gone at the end.

    Args:
        stream: the terminal.
        size: its columns and rows; None if there is no terminal any more.
        is_taken: whether a program has it for itself.
    """

    seconds: float = PAINT_SECONDS
    rate: float = 1.0
    calls: int = 0

    def __init__(
        self,
        stream: TextIO,
        size: Callable[[], tuple[int, int] | None] | None = None,
        is_taken: Callable[[], bool] | None = None,
    ) -> None:
        self._stream = stream
        self._size = size or (lambda: _size_of(stream))
        self._is_taken = is_taken or (lambda: _is_raw(stream))
        self._reserved: tuple[int, int] | None = None  # the size for which a row is kept free

    def open(self) -> None:
        """Nothing to do: the row is taken when there is something to tell."""

    def __call__(self, snapshot: ProgressSnapshot) -> None:
        if snapshot.is_final or not (snapshot.requests or snapshot.submitted_batches):
            return
        size = self._size()
        if size is None or size[1] < LEAST_ROWS or self._is_taken():
            self._reserved = None  # the other program may have changed the region
            return
        columns, rows = size
        reserved = "" if size == self._reserved else reserving(rows)
        self._reserved = size
        self._write(reserved + painting(printable(sentence(snapshot)), columns, rows))

    def close(self) -> None:
        """Give the row back."""
        if self._reserved is not None:
            self._write(freeing(self._reserved[1]))
            self._reserved = None

    def _write(self, codes: str) -> None:
        self._stream.write(codes)
        self._stream.flush()


def reserving(rows: int) -> str:
    """What keeps the last row out of the scrolling region. First the cursor leaves that row, in its own column."""
    return f"{_INDEX}{_SAVE}\x1b[1;{rows - 1}r{_RESTORE}\x1b[1A"


def painting(line: str, columns: int, rows: int) -> str:
    """What shows a line in the last row, and leaves the cursor where it is."""
    shown = line if len(line) < columns else line[: columns - 2] + "…"
    return f"{_SAVE}\x1b[{rows};1H{_ERASE_ROW}\x1b[2m{shown}\x1b[0m{_RESTORE}"


def freeing(rows: int) -> str:
    """What empties the last row, and lets the whole terminal scroll again."""
    return f"{_SAVE}\x1b[r\x1b[{rows};1H{_ERASE_ROW}{_RESTORE}"


def _size_of(stream: TextIO) -> tuple[int, int] | None:
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return None
    return size.columns, size.lines


def _is_raw(stream: TextIO) -> bool:
    """Whether a program reads keys one by one."""
    if sys.platform == "win32":
        return True
    else:  # noqa: RET505  (mypy reads it as Windows, too)
        import termios

        try:
            return not termios.tcgetattr(stream.fileno())[3] & termios.ICANON
        except (termios.error, OSError, ValueError):
            return True
