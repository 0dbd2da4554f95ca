"""Whether a caller's header values can be used and passed on: checked here, for all routes, before anything. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..client.deadlines import DEADLINE_HEADER
from ..client.header_kinds import is_forwarded_header
from ..upstream.key import fits_a_header
from .exchange import RefusedError

_AUTHORIZATION = b"authorization"
_ONCE = frozenset({_AUTHORIZATION, b"idempotency-key", b"content-type", DEADLINE_HEADER.encode()})
"""Headers of which two contradict each other."""

_USED = frozenset({*_ONCE, b"content-encoding", b"x-request-id"})

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A name that HTTP/1.1 allows. HTTP/2 libraries let others pass, which no call to an upstream can have."""


def why_refused(headers: Iterable[tuple[bytes, bytes]]) -> RefusedError | None:
    """Why a request with these headers is refused: 401 for a key that no header can hold, 400; None if they are fine.

    Headers that are neither used nor passed on may hold anything.
    """
    once = set()
    for name, value in headers:
        is_used = name in _USED or is_forwarded_header(name.decode("latin-1"))
        if is_used and not _TOKEN.fullmatch(name):
            return RefusedError(
                400, "A header of this request has a name that HTTP does not allow.", code="invalid_header"
            )
        if is_used and not fits_a_header(value.decode("latin-1")):
            return _misfit(name)
        if name in once:
            return _refused(name, f"Send one header {name.decode()}.")
        if name in _ONCE:
            once.add(name)
    return None


def _misfit(name: bytes) -> RefusedError:
    shown = name.decode("latin-1")
    what = f"The key in the header {shown}" if name == _AUTHORIZATION else f"The value of the header {shown}"
    return _refused(name, f"{what} has characters that are not printable ASCII. Is it complete, and copied correctly?")


def _refused(name: bytes, message: str) -> RefusedError:
    if name == _AUTHORIZATION:
        return RefusedError(401, message, code="invalid_api_key")
    return RefusedError(400, message, code="invalid_header")
