"""Which content encodings of a request are taken, and how far. Pure."""

from __future__ import annotations

from ..upstream.decompression import Decoder

MOST_MEMBERS = 10_000
"""Of gzip, in one body: 64 MB in the small members of bgzip are 1,000. 64 MB of empty ones would take ten seconds."""

_KNOWN = ("gzip", "x-gzip", "deflate")


class UnknownEncodingError(ValueError):
    """The content encoding is none that we decode."""


def content_decoder(encoding: str) -> Decoder | None:
    """A decoder for the value of the header Content-Encoding; None if nothing is to be decoded.

    Raises:
        UnknownEncodingError: if the encoding is unknown.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding not in _KNOWN:
        raise UnknownEncodingError("Unsupported content-encoding: use gzip, deflate or none.")
    return Decoder(encoding, most_members=MOST_MEMBERS)
