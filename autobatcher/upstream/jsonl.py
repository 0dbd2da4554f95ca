"""The lines of input, output and error files, from bytes to bytes. Pure.

Bodies are spliced into input lines, and cut out of output lines, without being parsed. Only `\\n` ends a line: U+2028,
U+0085 and `\\r` may occur inside JSON, so never use `splitlines()` here.
"""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol


class Asked(Protocol):
    """A request, as far as its line goes. The body must be valid JSON."""

    @property
    def endpoint(self) -> str: ...

    @property
    def body(self) -> bytes: ...


_LINE_FEED, _CARRIAGE_RETURN = b"\n\r"
"""As integers: to search bytes for them takes a sixth of the time."""

_END = b"}\n"


def _middle(url: str) -> str:
    """What stands between a custom_id and a body."""
    return f'","method":"POST","url":"{url}","body":'


def most_line_bytes(url: str, body: bytes) -> int:
    """Return the line's maximum size in bytes, for a custom_id of up to 64 characters."""
    return _FRAME_BYTES + MAX_CUSTOM_ID_BYTES + len(url) + len(body)


_FRAME_BYTES = len('{"custom_id":"') + len(_middle("")) + len(_END)

MAX_CUSTOM_ID_BYTES = 64


PIECE_BYTES = 512 * 1024
"""How much of an input file is made and sent at once. Each piece costs the HTTP client 50 µs, whatever its size."""


class InputLines:
    """The lines of an input file, which are made when they are read.

    Args:
        requests: with their custom_ids, which need no escaping.
        url: returns how the lines spell an endpoint; needs no escaping either.

    Attributes:
        size: the total length in bytes.
    """

    def __init__(self, requests: Sequence[tuple[str, Asked]], url: Callable[[str], str]) -> None:
        self._requests = requests
        counts = Counter([request.endpoint for _, request in requests])
        self._middles = {endpoint: _middle(url(endpoint)) for endpoint in counts}
        frames = sum((_FRAME_BYTES + len(url(endpoint))) * count for endpoint, count in counts.items())
        self.size: int = frames + sum([len(custom_id) + len(request.body) for custom_id, request in requests])

    def pieces(self) -> Iterator[bytes]:
        """Yield the file in pieces. Each one but the last has at least `PIECE_BYTES`, none more than twice as much."""
        middles, parts, have = self._middles, list[bytes](), 0
        for custom_id, request in self._requests:
            body = request.body
            if _LINE_FEED in body or _CARRIAGE_RETURN in body:
                # JSON strings contain line breaks only in escaped form, so these are white space.
                body = body.replace(b"\n", b" ").replace(b"\r", b" ")
            head = f'{{"custom_id":"{custom_id}{middles[request.endpoint]}'.encode()
            parts += (head, body, _END)  # the body is not copied
            have += len(head) + len(body)
            if have >= PIECE_BYTES:
                yield from _cut(b"".join(parts))
                parts, have = [], 0
        if parts:
            yield b"".join(parts)


def _cut(piece: bytes) -> Iterator[bytes]:
    """A piece, or several if a line is long."""
    if len(piece) <= 2 * PIECE_BYTES:
        yield piece
        return
    rest = memoryview(piece)
    while len(rest) > 2 * PIECE_BYTES:
        yield bytes(rest[:PIECE_BYTES])
        rest = rest[PIECE_BYTES:]
    yield bytes(rest)


class InputFile:
    """An input file that is generated while it is read, and that is never whole in memory. It has what uploads need of
    a file: `read`, `tell`, and `seek` to its start or its end.

    Attributes:
        was_read: whether any of it may have been sent: HTTP clients read it once they have a connection.
    """

    def __init__(self, lines: InputLines) -> None:
        self.was_read: bool = False
        self._lines = lines
        self._left = lines.pieces()
        self._position = 0

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END and offset == 0:
            self._left, self._position = iter(()), self._lines.size
        elif whence == io.SEEK_SET and offset == 0:
            self._left, self._position = self._lines.pieces(), 0
        elif not (whence == io.SEEK_SET and offset == self._position):
            raise io.UnsupportedOperation("an input file can only seek to its start or its end")
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Read the next piece, whatever `size` is: HTTP clients take what they are given. b"" at the end."""
        self.was_read = True
        piece = next(self._left, b"")
        self._position += len(piece)
        return piece


def whole_lines(block: bytes) -> list[bytes | Overlong]:
    """Split lines that were all read to their ends. Drops blank lines."""
    return [line for line in block.split(b"\n") if line and not line.isspace()]


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

    def feed_block(self, chunk: bytes, most: int) -> bytes:
        """Return the lines that `chunk` completes, undivided.

        b"" if there are none, or one may be overlong, or they have more bytes than `most`: `feed` takes the chunk then.
        """
        end = chunk.rfind(b"\n") + 1
        if not end or self._is_overlong or self._rest.tell() + end > min(most, self._max_bytes):
            return b""
        block = b"".join((self._rest.getvalue(), memoryview(chunk)[:end]))
        self._rest = io.BytesIO()
        self._add(chunk[end:])
        return block

    def feed(self, chunk: bytes) -> list[bytes | Overlong]:
        """Return the lines that `chunk` completes."""
        if b"\n" not in chunk:  # of a long line; `split` would look at each byte
            self._add(chunk)
            return []
        first, *others = chunk.split(b"\n")
        self._add(first)
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
