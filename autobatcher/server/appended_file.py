"""A file that lines are appended to, and that others may move away: logrotate does."""

from __future__ import annotations

import logging
import os
import stat
from contextlib import suppress
from pathlib import Path

logger: logging.Logger = logging.getLogger("autobatcher")


class AppendedFile:
    """Opened for its owner alone, and opened again when another file, or none, has its name.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._is_cut = self._has_failed = False
        self._open()

    def write(self, lines: bytes) -> bool:
        """Append whole lines; False if they could not be written. Then the log says so, once until it works again."""
        try:
            self._reopen_if_moved()
            self._append(lines)
        except OSError as error:
            if not self._has_failed:
                logger.warning("autobatcher: cannot write %s: %s", self._path, error.strerror or error)
            self._has_failed = True
            return False
        self._has_failed = False
        return True

    def close(self) -> None:
        """Close the file. Can be called again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)

    def _append(self, lines: bytes) -> None:
        """A disk that is full takes a part. What follows that begins on a line of its own."""
        assert self._descriptor is not None
        left = memoryview(b"\n" + lines if self._is_cut else lines)
        while left:
            written = os.write(self._descriptor, left)
            self._is_cut = bytes(left[written - 1 : written]) != b"\n"
            left = left[written:]

    def _reopen_if_moved(self) -> None:
        if self._descriptor is not None and _is_at(self._path, self._descriptor):
            return
        self.close()
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)  # a pipe without reader: refused
        self._descriptor = os.open(self._path, flags, 0o600)
        self._is_cut = stat.S_ISREG(os.fstat(self._descriptor).st_mode) and _ends_in_a_line(self._path)


def _ends_in_a_line(path: Path) -> bool:
    """Whether the last line has no end: the process that wrote it was killed."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            return file.read(1) not in (b"", b"\n")
    except OSError:  # we may write it, and not read it
        return False


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
