"""Undoes the content encoding of a body, piece by piece: a small body may be a very large one, compressed. Pure.

HTTP libraries inflate whatever arrived at once: httpx made 1.2 GB of 0.6 MB, and held the event loop for two seconds.
A body may also be nothing but members of gzip, 20 bytes each, of which nothing comes. So pieces come after a bounded
amount of work, empty ones if need be.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator

PIECE_BYTES = 65_536
"""The longest piece, in bytes. One takes some tenths of a millisecond."""

_FED_BYTES = 16_384  # at a time: what is left over of it is copied once for each piece, and for each member
_GATHERED = 100  # results of zlib in one piece: tiny members take 3 us each

MOST_IDLE_BYTES = 1_000_000
"""How much may be read without anything coming of it. An upstream might send empty members for ever."""

ACCEPTED = "gzip, deflate"
"""The encodings to ask for."""

_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_UNREADABLE = ("br", "zstd", "compress")
_MOST_ENCODINGS = 2


class EncodingError(Exception):
    """A body cannot be decoded."""


class Decoder:
    """Decodes one body.

    Args:
        content_encoding: the header of that name. What is no known encoding (S3 sends "aws-chunked") is ignored.
        most_members: of gzip, in one body.

    Raises:
        EncodingError: for encodings that were not asked for.
    """

    def __init__(self, content_encoding: str, *, most_members: float = math.inf) -> None:
        names = [name.strip().lower() for name in content_encoding.split(",")]
        if any(name in _UNREADABLE for name in names):
            raise EncodingError("in an encoding that was not asked for; ask its operator for gzip or none")
        known = [name for name in names if name in _WINDOW_BITS]
        if len(known) > _MOST_ENCODINGS:
            raise EncodingError("in more encodings than there is a reason for")
        self._inflaters = [_Inflater(name, most_members) for name in reversed(known)]

    def pieces(self, raw: bytes) -> Iterable[bytes]:
        """Return what `raw` decodes to, at most `PIECE_BYTES` at a time, or nothing after some work.

        Raises:
            EncodingError: while it is iterated, if it is not of this encoding, or mocks it.
        """
        pieces = _slices(raw, PIECE_BYTES)
        for inflater in self._inflaters:
            pieces = inflater.pieces(pieces)
        return pieces

    def end(self) -> None:
        """Check that the body was whole. Raises `EncodingError`."""
        if any(inflater.is_cut for inflater in self._inflaters):
            raise EncodingError("cut in the middle of its encoding")


class _Inflater:
    """Undoes one encoding; gzip may have several members."""

    def __init__(self, name: str, most_members: float) -> None:
        self._may_be_raw = name == "deflate"
        self._bits = _WINDOW_BITS[name]
        self._most_members = most_members
        self._members = 0  # that have ended
        self._idle_bytes = 0
        self._is_over = False
        self._begin()

    def _begin(self) -> None:
        self._inflate = zlib.decompressobj(self._bits)
        self._was_fed = self._has_given = False

    @property
    def is_cut(self) -> bool:
        """Whether the body ended inside a member; a few bytes behind the last one are padding."""
        return self._has_given or (self._was_fed and not self._members)

    def pieces(self, encoded: Iterable[bytes]) -> Iterator[bytes]:
        for part in encoded:
            for raw in _slices(part, _FED_BYTES):
                yield from _gathered(self._inflated(raw))

    def _inflated(self, raw: bytes) -> Iterator[bytes]:
        self._idle_bytes += len(raw)
        has_more = bool(raw)  # zlib may have read everything, and had no room for all that it made of it
        while has_more and not self._is_over:
            try:
                piece = self._inflate.decompress(raw, PIECE_BYTES)
            except zlib.error as error:
                self._begin_otherwise(error)
                continue
            self._was_fed = True
            self._has_given = self._has_given or bool(piece)
            yield piece
            raw = self._inflate.unconsumed_tail
            has_more = bool(raw) or len(piece) == PIECE_BYTES
            if piece:
                self._idle_bytes = 0
            if self._inflate.eof:
                raw = self._inflate.unused_data
                has_more = bool(raw)
                self._end_member()
        if self._idle_bytes > MOST_IDLE_BYTES:
            raise EncodingError(f"with {MOST_IDLE_BYTES:,} bytes of which nothing comes when they are decoded")

    def _end_member(self) -> None:
        self._members += 1
        if self._members > self._most_members:
            raise EncodingError(f"in more than {self._most_members:,} members of gzip")
        self._begin()

    def _begin_otherwise(self, error: zlib.error) -> None:
        """Go on with raw deflate, which some servers call "deflate", or ignore what follows the last member of gzip.

        Raises:
            EncodingError: if the body is broken.
        """
        if self._has_given or not (self._may_be_raw or self._members):
            raise EncodingError("broken in the middle of its encoding") from error
        self._is_over = bool(self._members)
        self._may_be_raw = False
        self._bits = -zlib.MAX_WBITS
        self._begin()


def _gathered(results: Iterator[bytes]) -> Iterator[bytes]:
    """Join small results: taking a piece costs more than making a tiny one."""
    some: list[bytes] = []
    size = 0
    for result in results:
        if len(some) == _GATHERED or size + len(result) > PIECE_BYTES:
            yield b"".join(some)
            some, size = [], 0
        some.append(result)
        size += len(result)
    yield b"".join(some)


def _slices(content: bytes, size: int) -> Iterable[bytes]:
    if len(content) <= size:
        return (content,)
    return (content[start : start + size] for start in range(0, len(content), size))
