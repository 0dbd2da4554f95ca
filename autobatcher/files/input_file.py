"""Where the lines of an input come from: a file, a compressed one, or stdin. It can be read again and again."""

from __future__ import annotations

import gzip
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from .input_lines import BadLine, InputLine, input_lines

STDIN = "-"


class InputError(Exception):
    """The input cannot be read. The message says why."""


class InputFile:
    """An input.

    Args:
        name: a path; one that ends with .gz is compressed. "-" is stdin, which is copied to a temporary file, because
            its custom ids must be known before its first line is sent.
        endpoint: see `input_lines`.
        limit: how many of its lines are read; None for all.
    """

    def __init__(self, name: str, endpoint: str | None, limit: int | None = None) -> None:
        self.name: str = "stdin" if name == STDIN else name
        self._endpoint = endpoint
        self._limit = limit
        self._path = None if name == STDIN else Path(name)
        self._copy: IO[bytes] | None = None

    def lines(self) -> Iterator[InputLine | BadLine]:
        """Read from the start, one line after the other.

        Raises:
            InputError: if it cannot be read.
        """
        with self._readable() as stream:
            for count, line in enumerate(input_lines(stream, self._endpoint)):
                if count == self._limit:
                    break
                yield line

    def check(self) -> None:
        """Raise `InputError` if there is no such file."""
        if self._path is not None and not self._path.exists():
            raise InputError(f"cannot read {self.name}: No such file or directory")

    def is_same_file(self, other: str) -> bool:
        """Whether the other name is of this very file."""
        return self._path is not None and self._path.exists() and Path(other).exists() and self._path.samefile(other)

    @contextmanager
    def _readable(self) -> Iterator[BinaryIO]:
        try:
            if self._path is None:
                stream: Any = self._copied_stdin()
                stream.seek(0)
                yield stream
                return
            with gzip.open(self._path) if self._path.suffix == ".gz" else self._path.open("rb") as stream:
                yield stream
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"cannot read {self.name}: {getattr(error, 'strerror', None) or error}") from error

    def _copied_stdin(self) -> IO[bytes]:
        if self._copy is None:
            self._copy = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as this does)
            shutil.copyfileobj(sys.stdin.buffer, self._copy)
        return self._copy
