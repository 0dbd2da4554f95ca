"""Undoes the content encoding of an answer, piece by piece: a small answer may be a very large one, compressed. Pure.

HTTP libraries inflate whatever arrived at once: httpx made 1.2 GB of 0.6 MB, and held the event loop for two seconds.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

PIECE_BYTES = 65_536
"""The longest piece, in bytes. One takes some tenths of a millisecond."""

_FED_BYTES = 16_384  # at a time: what is left over of it is copied once for each piece

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

    Raises:
        EncodingError: for encodings that were not asked for.
    """

    def __init__(self, content_encoding: str) -> None:
        names = [name.strip().lower() for name in content_encoding.split(",")]
        if any(name in _UNREADABLE for name in names):
            raise EncodingError("in an encoding that was not asked for; ask its operator for gzip or none")
        known = [name for name in names if name in _WINDOW_BITS]
        if len(known) > _MOST_ENCODINGS:
            raise EncodingError("in more encodings than there is a reason for")
        self._inflaters = [_Inflater(name) for name in reversed(known)]

    def pieces(self, raw: bytes) -> Iterator[bytes]:
        """Yield what `raw` decodes to, at most `PIECE_BYTES` at a time. Raises `EncodingError`."""
        pieces: Iterable[bytes] = _slices(raw, PIECE_BYTES)
        for inflater in self._inflaters:
            pieces = inflater.pieces(pieces)
        yield from pieces

    def end(self) -> None:
        """Check that the body was whole. Raises `EncodingError`."""
        if any(inflater.is_cut for inflater in self._inflaters):
            raise EncodingError("cut in the middle of its encoding")


class _Inflater:
    """Undoes one encoding; gzip may have several members."""

    def __init__(self, name: str) -> None:
        self._may_be_raw = name == "deflate"
        self._bits = _WINDOW_BITS[name]
        self._members = 0  # that have ended
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
                yield from self._inflated(raw)

    def _inflated(self, raw: bytes) -> Iterator[bytes]:
        has_more = bool(raw)  # zlib may have read everything, and had no room for all that it made of it
        while has_more and not self._is_over:
            try:
                piece = self._inflate.decompress(raw, PIECE_BYTES)
            except zlib.error as error:
                self._begin_otherwise(error)
                continue
            self._was_fed = True
            self._has_given = self._has_given or bool(piece)
            if piece:
                yield piece
            raw = self._inflate.unconsumed_tail
            has_more = bool(raw) or len(piece) == PIECE_BYTES
            if self._inflate.eof:
                raw = self._inflate.unused_data
                has_more = bool(raw)
                self._members += 1
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


def _slices(content: bytes, size: int) -> Iterator[bytes]:
    if len(content) <= size:
        yield content
    else:
        for start in range(0, len(content), size):
            yield content[start : start + size]
