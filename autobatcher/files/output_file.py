"""A file of output lines, which is written on after a crash.

It has complete lines only, also after a kill: see `Appender`. A power failure, or a kill of that process too, may leave
the beginning of a line at the end. `open` drops that.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .appender import Appender
from .known_ids import KnownIds
from .output_lines import BEGINNING, seen_in

LOCK_SECONDS = 10.0
"""How long to wait for what a killed run still appends."""


class OutputError(Exception):
    """The file cannot be used. The message says why, and what to do."""


class Found(NamedTuple):
    """What an output has from earlier runs.

    Attributes:
        failed: how many of its lines are failures.
        written: ids of lines upstream that were looked for, and are in it.
    """

    failed: int
    written: list[str]


class OutputFile:
    """One output. Synchronous; for one process.

    Args:
        name: a path, or "-" for stdout.
    """

    def __init__(self, name: str) -> None:
        self.name: str = "stdout" if name == "-" else name
        self._path = None if name == "-" else Path(name)
        self._descriptor: int | None = None
        self._appender: Appender | None = None

    def __enter__(self) -> OutputFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check(self) -> None:
        """Raise `OutputError` if it has no directory: that is told before a journal is missed there."""
        if self._path is not None and not self._path.parent.is_dir():
            raise OutputError(f"cannot write {self.name}: there is no directory {self._path.parent}")

    def open(self, known: KnownIds, line_ids: Collection[str]) -> Found:
        """Open the file, add the custom ids of its lines to `known`, and drop a beginning of a line at its end.

        Args:
            line_ids: ids of lines upstream; those of them that were written are returned.

        Raises:
            OutputError: if it cannot be opened, if another run writes it, or if it has other lines than those of an
                output. Then it is unchanged.
        """
        if self._path is None:
            self._descriptor = os.dup(1)
            return Found(0, [])
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _BINARY, 0o666)
            if self._is_regular and not _is_locked_within(LOCK_SECONDS, self._descriptor):
                raise OutputError(f"{self.name} is being written by another run: wait for its end")
            with os.fdopen(os.dup(self._descriptor), "rb") as file:
                return self._read(file, known, line_ids)
        except OSError as error:
            raise OutputError(f"cannot write {self.name}: {error.strerror or error}") from error

    def look(self, known: KnownIds) -> None:
        """Add the custom ids of its lines to `known`, and change nothing. Raises `OutputError`."""
        if not self._is_regular:
            return
        assert self._path is not None
        try:
            with self._path.open("rb") as file:
                for line in file:
                    if (seen := seen_in(line)) is not None:
                        known.add(seen.custom_id)
        except OSError as error:
            raise OutputError(f"cannot read {self.name}: {error.strerror or error}") from error

    def write(self, lines: bytes) -> None:
        """Append complete lines. Raises `OutputError`; then none of a file's lines is cut."""
        assert self._descriptor is not None
        try:
            if self._is_regular:
                self._append(self._descriptor, lines)
            else:
                _write_all(self._descriptor, lines)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"cannot write {self.name}: {error.strerror or error}") from error

    def sync(self) -> None:
        """Make sure that all lines survive a power failure. Raises `OutputError`."""
        if self._descriptor is not None and self._is_regular:
            try:
                os.fsync(self._descriptor)
            except OSError as error:
                raise OutputError(f"cannot write {self.name}: {error.strerror or error}") from error

    def close(self) -> None:
        """Close the file. Can be called again."""
        appender, self._appender = self._appender, None
        if appender is not None:
            appender.close()
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    @property
    def _is_regular(self) -> bool:
        return self._path is not None and self._path.is_file()

    def _read(self, file: BinaryIO, known: KnownIds, line_ids: Collection[str]) -> Found:
        failed, written = 0, list[str]()
        if not self._is_regular:
            return Found(failed, written)
        for number, line in enumerate(file, start=1):
            seen = seen_in(line)
            if seen is not None:
                known.add(seen.custom_id)
                failed += seen.is_failed
                if seen.line_id in line_ids:
                    written.append(seen.line_id)
                if not line.endswith(b"\n"):
                    self.write(b"\n")
            elif not line.endswith(b"\n") and _begins_like_ours(line):
                self._cut(len(line))
            elif not line.isspace():
                raise OutputError(
                    f"line {number} of {self.name} is no line of an output: give another file, or delete this one"
                )
        return Found(failed, written)

    def _append(self, descriptor: int, lines: bytes) -> None:
        end = os.lseek(descriptor, 0, os.SEEK_END)
        self._appender = self._appender or Appender(descriptor)
        try:
            self._appender.append(lines)
        except OSError:
            os.ftruncate(descriptor, end)
            raise

    def _cut(self, size: int) -> None:
        assert self._descriptor is not None
        os.ftruncate(self._descriptor, os.lseek(self._descriptor, 0, os.SEEK_END) - size)


_BINARY = getattr(os, "O_BINARY", 0)


def _is_locked_within(seconds: float, descriptor: int) -> bool:
    """Lock the file for this run and its appender. Returns whether nobody else has locked it."""
    until = time.monotonic() + seconds
    while not _is_locked(descriptor):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def _is_locked(descriptor: int) -> bool:
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
    return True


def _begins_like_ours(line: bytes) -> bool:
    return line.startswith(BEGINNING[: len(line)])


def _write_all(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
