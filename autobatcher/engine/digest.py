"""Digests by which equal requests are recognised. Pure.

The journal stores them: a change here would make the requests of older files unknown.
"""

from __future__ import annotations

import hashlib

import msgspec


def digest_of(endpoint: str, body: bytes, account: bytes) -> bytes:
    """Equal for equal requests of one account, however their JSON is written.

    Args:
        account: what tells who asks, or who pays, from all others.
    """
    return digest_of_parts(account, endpoint.encode(), canonical(body))


def canonical(body: bytes) -> bytes:
    """The same bytes for the same JSON; what cannot be decoded stays as it is."""
    try:
        return _encode(_decode(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body


_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="deterministic").encode


def digest_of_parts(*parts: bytes) -> bytes:
    """Equal for equal parts only: parts that are cut differently have another digest."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(b"%d:%b" % (len(part), part))
    return whole.digest()
