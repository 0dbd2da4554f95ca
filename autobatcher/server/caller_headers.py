"""Whether a caller's header values can be used and passed on: checked here, for all routes, before anything. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ..client.header_kinds import is_forwarded_header
from ..upstream.account import fits_a_header
from .exchange import RefusedError

_AUTHORIZATION = "authorization"
_ONCE = (_AUTHORIZATION, "idempotency-key", "content-type")
"""Headers of which two contradict each other."""

_USED = frozenset({*_ONCE, "content-encoding", "x-request-id"})


def why_refused(headers: Iterable[tuple[bytes, bytes]]) -> RefusedError | None:
    """Why a request with these headers is refused: 401 for a key that no header can hold, 400; None if they are fine.

    Headers that are neither used nor passed on may hold anything.
    """
    names: Counter[str] = Counter()
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        names[name] += 1
        if not fits_a_header(value) and (name in _USED or is_forwarded_header(name)):
            return _misfit(name)
    twice = next((name for name in _ONCE if names[name] > 1), None)
    return None if twice is None else _refused(twice, f"Send one header {twice}.")


def _misfit(name: str) -> RefusedError:
    what = "The key in the header authorization" if name == _AUTHORIZATION else f"The value of the header {name}"
    return _refused(name, f"{what} has characters that are not printable ASCII. Is it complete, and copied correctly?")


def _refused(name: str, message: str) -> RefusedError:
    if name == _AUTHORIZATION:
        return RefusedError(401, message, code="invalid_api_key")
    return RefusedError(400, message, code="invalid_header")
