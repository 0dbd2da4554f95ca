"""Content encodings are undone in pieces, whatever the chunks they come in."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatcher.upstream.decompression import PIECE_BYTES, Decoder, EncodingError


def raw_deflate(content: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(content) + deflate.flush()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "utf-8": bytes,  # no encoding, but seen in that header
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "gzip, gzip": lambda content: gzip.compress(gzip.compress(content)),
    "GZIP": lambda content: gzip.compress(content) + gzip.compress(b"more") + b"\0" * 100,
}


def decoded(encoding: str, encoded: bytes, size: int) -> bytes:
    decoder = Decoder(encoding)
    chunks = [encoded[start : start + size] for start in range(0, len(encoded), size)]
    pieces = [piece for chunk in chunks for piece in decoder.pieces(chunk)]
    decoder.end()
    assert max(map(len, pieces), default=0) <= PIECE_BYTES
    return b"".join(pieces)


@given(
    st.sampled_from(sorted(ENCODERS)), st.binary(max_size=50), st.integers(0, 400_000), st.sampled_from([1, 50, 10**6])
)
def test_what_was_encoded_comes_back_in_pieces(encoding: str, content: bytes, padding: int, size: int) -> None:
    content += b" " * (padding // 100 if size == 1 else padding)
    expected = content + (b"more" if encoding == "GZIP" else b"")
    assert decoded(encoding, ENCODERS[encoding](content), size) == expected


def test_deflate_without_its_header_is_read_as_well() -> None:
    assert decoded("deflate", raw_deflate(b"abc" * 100), 50) == b"abc" * 100


@pytest.mark.parametrize(
    ("encoding", "encoded"),
    [
        ("gzip", gzip.compress(b"abc" * 100, mtime=0)[:-9]),
        ("gzip", b"<html>"),
        ("deflate", b"<html>"),
        ("br", b""),
        ("zstd", b""),
        ("gzip, gzip, gzip", b""),
    ],
)
def test_a_body_that_is_broken_or_in_an_unknown_encoding_is_told(encoding: str, encoded: bytes) -> None:
    with pytest.raises(EncodingError):
        decoded(encoding, encoded, 10)


def test_a_body_that_is_empty_is_no_broken_one() -> None:
    assert decoded("gzip", b"", 10) == b""
