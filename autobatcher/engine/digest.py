"""Digests by which equal requests are recognised. Pure.

The journal stores them: a change here would make the requests of older files unknown.
"""

from __future__ import annotations

import hashlib

import msgspec

from ..turns import Steps, at_once
from .json_scan import JSONScan, OversizeError, is_large, large_form, name_count


def digest_of(endpoint: str, body: bytes, account: bytes) -> bytes:
    """Equal for equal requests of one account, however their JSON is written.

    Args:
        body: of the request, or the form that stands for a large one.
        account: what tells who asks, or who pays, from all others.
    """
    return digest_of_parts(account, endpoint.encode(), canonical(body))


def canonical(body: bytes) -> bytes:
    """The same bytes for the same JSON; what cannot be decoded stays as it is.

    A body with a name that comes twice is not the same as one without. Of large bodies only the white space may differ.
    """
    try:
        if is_large(body):
            return at_once(large_form(body))
        encoded = _encode(_decode(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OversizeError):
        return body
    return JSONScan().feed(body) if at_once(has_lost_names(body, encoded)) else encoded


def has_lost_names(body: bytes, encoded: bytes) -> Steps[bool]:
    """Find whether `encoded`, made of the decoded body, lacks names that the body has: of equal ones the last is kept.

    Each name has its colon. Texts keep theirs, unless it was written as an escape.
    """
    if body.count(b":") == encoded.count(b":"):
        yield
        if not _has_escaped_colon(body):
            return False
    return (yield from name_count(body)) != (yield from name_count(encoded))


def _has_escaped_colon(body: bytes) -> bool:
    return b"\\" in body and (b"\\u003a" in body or b"\\u003A" in body)  # the first look is the quickest


_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="deterministic").encode


def digest_of_parts(*parts: bytes) -> bytes:
    """Equal for equal parts only: parts that are cut differently have another digest."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(b"%d:%b" % (len(part), part))
    return whole.digest()
