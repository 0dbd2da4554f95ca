"""The lines of input, output and error files, from bytes to bytes. Pure.

Bodies are spliced into input lines, and cut out of output lines, without being parsed. Only `\\n` ends a line: U+2028,
U+0085 and `\\r` may occur inside JSON, so never use `splitlines()` here.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple


def input_line(custom_id: str, url: str, body: bytes) -> bytes:
    """Return one line of an input file. `body` must be valid JSON; `custom_id` and `url` must need no escaping."""
    if b"\n" in body or b"\r" in body:
        # JSON strings contain line breaks only in escaped form, so these are white space.
        body = body.replace(b"\n", b" ").replace(b"\r", b" ")
    head = f'{{"custom_id":"{custom_id}","method":"POST","url":"{url}","body":'.encode()
    return b"%b%b}\n" % (head, body)


_FRAME_BYTES = len(input_line("", "", b""))

MAX_CUSTOM_ID_BYTES = 64


def input_line_size(custom_id: str, url: str, body: bytes) -> int:
    """Return `len(input_line(...))`, in bytes."""
    return _FRAME_BYTES + len(custom_id) + len(url) + len(body)


def most_line_bytes(url: str, body: bytes) -> int:
    """Return the line's maximum size in bytes, for a custom_id of up to 64 characters."""
    return _FRAME_BYTES + MAX_CUSTOM_ID_BYTES + len(url) + len(body)


class InputFile(io.RawIOBase):
    """An input file that is generated while it is read: a seekable stream that is never whole in memory.

    Args:
        lines: yields the lines, the same ones each time it is iterated.
        size: the total length in bytes, for the upload's Content-Length.
    """

    def __init__(self, lines: Iterable[bytes], size: int) -> None:
        super().__init__()
        self._lines = lines
        self._size = size
        self._rewind()

    def _rewind(self) -> None:
        self._left: Iterator[bytes] = iter(self._lines)
        self._buffer, self._begin = b"", 0
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Seek to the start or the end. Uploads need nothing else."""
        if whence == io.SEEK_END and offset == 0:
            self._left, self._position = iter(()), self._size
            self._buffer, self._begin = b"", 0
        elif whence == io.SEEK_SET and offset == 0:
            self._rewind()
        elif not (whence == io.SEEK_SET and offset == self._position):
            raise io.UnsupportedOperation("an input file can only seek to its start or its end")
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Read `size` bytes, or all that is left. (`io.RawIOBase` would build this on `readinto`, and copy once
        more.)"""
        wanted = self._size if size is None or size < 0 else size
        if len(self._buffer) - self._begin < wanted:
            self._fill(wanted)
        chunk = self._buffer[self._begin : self._begin + wanted]
        self._begin += len(chunk)
        self._position += len(chunk)
        return chunk

    def _fill(self, wanted: int) -> None:
        """Append lines to what is left in the buffer. The buffer is not cut for each chunk: a line may have 64 MB."""
        parts, have = [self._buffer[self._begin :]], len(self._buffer) - self._begin
        for line in self._left:
            parts.append(line)
            have += len(line)
            if have >= wanted:
                break
        self._buffer, self._begin = b"".join(parts), 0

    def readinto(self, buffer: Any) -> int:
        chunk = self.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)


class Overlong(NamedTuple):
    """The beginning of a line that is longer than lines may be."""

    beginning: bytes


BEGINNING_BYTES = 65_536
"""How much is kept of an overlong line: enough for its custom_id, which servers write first."""


class LineSplitter:
    """Splits a stream of chunks at `\n`. Drops blank lines.

    Args:
        max_bytes: the longest line. Longer ones are not kept, however long they are.
    """

    def __init__(self, max_bytes: int = sys.maxsize) -> None:
        self._max_bytes = max_bytes
        # A list of chunks would cost forty times as much if they are of one byte; a bytearray, a copy at the end.
        self._rest = io.BytesIO()
        self._is_overlong = False

    @property
    def kept_bytes(self) -> int:
        """How much is kept of a line that has not ended."""
        return self._rest.tell()

    def feed(self, chunk: bytes) -> list[bytes | Overlong]:
        """Return the lines that `chunk` completes."""
        first, *others = chunk.split(b"\n")
        self._add(first)
        if not others:
            return []
        lines = self.rest()
        self._add(others.pop())
        return lines + [checked for line in others if (checked := self._checked(line))]

    def rest(self) -> list[bytes | Overlong]:
        """Return what follows the last `\n`: a line without a line break, or a truncated one."""
        line, is_overlong = self._rest.getvalue(), self._is_overlong
        self._rest, self._is_overlong = io.BytesIO(), False
        if is_overlong:
            return [Overlong(line)]
        return [line] if line and not line.isspace() else []

    def _add(self, part: bytes) -> None:
        if self._is_overlong:
            return
        self._rest.write(part)
        if self._rest.tell() > self._max_bytes:
            self._is_overlong = True
            self._rest = io.BytesIO(self._rest.getvalue()[:BEGINNING_BYTES])

    def _checked(self, line: bytes) -> bytes | Overlong:
        """The line, b"" for a blank one, or its beginning."""
        if len(line) > self._max_bytes:
            return Overlong(line[:BEGINNING_BYTES])
        return b"" if line.isspace() else line
