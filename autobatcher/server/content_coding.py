"""Takes the content encoding off a body, piece by piece. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

PIECE_BYTES = 2**18
"""How much is decompressed at a time: a millisecond's work."""

_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class UnknownEncodingError(ValueError):
    """The content encoding is none that we decode."""


class EncodingError(ValueError):
    """The body is not of its content encoding."""


def content_decoder(encoding: str) -> ContentDecoder | None:
    """A decoder for the value of the header Content-Encoding; None if nothing is to be decoded.

    Raises:
        UnknownEncodingError: if the encoding is unknown.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding not in _WINDOW_BITS:
        raise UnknownEncodingError("Unsupported content-encoding: use gzip, deflate or none.")
    return ContentDecoder(encoding)


class ContentDecoder:
    """Decodes one body. Its `encoding` must be known."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
        self._is_empty = True

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        """Decode the next chunk of the body, lazily, into pieces of at most `PIECE_BYTES`.

        Raises:
            EncodingError: if it is not of this encoding.
        """
        for begin in range(0, len(chunk), PIECE_BYTES):
            yield from self._inflated(chunk[begin : begin + PIECE_BYTES])

    def end(self) -> None:
        """The body has ended. Raises `EncodingError` if it is cut off."""
        if not self._is_empty and not self._inflater.eof:
            raise EncodingError(f"The {self._encoding} body is truncated.")

    def _inflated(self, left: bytes) -> Iterator[bytes]:
        self._is_empty = self._is_empty and not left
        has_more = True
        while left or has_more:  # a full piece: the inflater may keep more, though it has taken all input
            if self._inflater.eof and left:
                self._inflater = zlib.decompressobj(_WINDOW_BITS[self._encoding])  # gzip may have several members
            try:
                piece = self._inflater.decompress(left, PIECE_BYTES)
            except zlib.error:
                raise EncodingError(f"The body is not valid {self._encoding}.") from None
            left = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail
            has_more = len(piece) == PIECE_BYTES
            yield piece
