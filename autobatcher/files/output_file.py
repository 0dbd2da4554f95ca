"""A file of output lines, which is written on after a crash.

A block of lines is one `write`. The kernel does it page by page, so a kill within it, or a full disk, may leave the
beginning of a line at the end. `open` drops that.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .known_ids import KnownIds
from .output_lines import BEGINNING, seen_in

_PIECE = 1 << 16


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

    def __enter__(self) -> OutputFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, known: KnownIds, line_ids: Collection[str]) -> Found:
        """Open the file, add the custom ids of its lines to `known`, and drop a beginning of a line at its end.

        Args:
            line_ids: ids of lines upstream; those of them that were written are returned.

        Raises:
            OutputError: if it cannot be opened, or has other lines than those of an output. Then it is unchanged.
        """
        if self._path is None:
            self._descriptor = os.dup(1)
            return Found(0, [])
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _BINARY, 0o666)
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
        is_file = self._path is not None
        end = os.lseek(self._descriptor, 0, os.SEEK_END) if is_file and self._is_regular else None
        try:
            _write_all(self._descriptor, lines)
        except OSError as error:
            if end is not None:
                os.ftruncate(self._descriptor, end)
            if isinstance(error, BrokenPipeError):
                raise
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

    def _cut(self, size: int) -> None:
        assert self._descriptor is not None
        os.ftruncate(self._descriptor, os.lseek(self._descriptor, 0, os.SEEK_END) - size)


_BINARY = getattr(os, "O_BINARY", 0)


def _begins_like_ours(line: bytes) -> bool:
    return line.startswith(BEGINNING[: len(line)])


def _write_all(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
