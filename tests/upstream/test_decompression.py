"""Content encodings are undone in pieces, whatever the chunks they come in."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatcher.upstream.decompression import MOST_IDLE_BYTES, PIECE_BYTES, Decoder, EncodingError


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


EMPTY, TINY = gzip.compress(b"", mtime=0), gzip.compress(b"x", mtime=0)


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip"])
@pytest.mark.parametrize("member", [EMPTY, TINY], ids=["empty", "tiny"])
def test_a_piece_comes_after_a_hundred_members_at_most_and_seldom_before(member: bytes, encoding: str) -> None:
    body = member * 40_000
    pieces = list(Decoder(encoding).pieces(body if encoding == "gzip" else gzip.compress(body)))
    assert b"".join(pieces) == (b"" if member is EMPTY else b"x" * 40_000)
    assert 400 <= len(pieces) <= 2_000


class _Copies:
    """An inflater that counts the bytes which it hands back: each is copied."""

    def __init__(self, inflater: Any, counts: list[int]) -> None:
        self._inflater, self._counts = inflater, counts

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inflater, name)
        if name in ("unused_data", "unconsumed_tail"):
            self._counts.append(len(value))
        return value


@pytest.mark.parametrize(
    "body", [EMPTY * 40_000, TINY * 40_000, gzip.compress(b" " * 40_000_000, mtime=0)], ids=["empty", "tiny", "spaces"]
)
def test_the_work_on_a_body_grows_with_its_bytes(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    make = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", lambda bits: _Copies(make(bits), counts))
    came = sum(map(len, Decoder("gzip").pieces(body)))
    assert sum(counts) < 500 * (len(body) + came)  # 16 kB for each member of 20 bytes


@pytest.mark.parametrize("endless", [EMPTY * 1_000, b"\0" * 20_000, b"name" * 5_000])
def test_a_body_that_goes_on_and_gives_nothing_is_refused(endless: bytes) -> None:
    decoder = Decoder("gzip")
    head = {b"\0": EMPTY, b"n": b"\x1f\x8b\x08\x08" + bytes(6)}.get(endless[:1], b"")  # padding; an endless file name
    chunks = [head, *[endless] * (MOST_IDLE_BYTES // 10_000)]
    with pytest.raises(EncodingError, match="of which nothing comes"):
        list(chain.from_iterable(map(decoder.pieces, chunks)))


def test_members_are_counted_where_they_are_limited() -> None:
    assert list(Decoder("gzip", most_members=10).pieces(TINY * 10)) == [b"x" * 10]
    with pytest.raises(EncodingError, match="more than 10 members"):
        list(Decoder("gzip", most_members=10).pieces(TINY * 11))
