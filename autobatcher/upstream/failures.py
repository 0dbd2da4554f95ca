"""What can go wrong with one HTTP call to the upstream, whichever HTTP library makes it."""

from __future__ import annotations

import errno
import math
import ssl
import sys
from email.utils import parsedate_to_datetime
from typing import Any

import anyio
import msgspec

# Worth another try: the server was busy or broken, or gave up waiting. 409 is left out: it is an answer.
_RETRYABLE_STATUSES = frozenset({408, 425, 429})

GONE = frozenset({404, 410})
"""What an upstream answers that has no such batch, or no such file, or not any more."""

# Errors of the HTTP libraries for which we, not the network, are to blame: trying again is no use, and their text may
# quote a header, so it is never told.
_LOCAL_ERRORS = frozenset(
    {"LocalProtocolError", "InvalidURL", "UnsupportedProtocol", "RuntimeError", "UnicodeEncodeError"}
)


_OUT_OF_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "insufficient_balance"})
"""Codes in a 429 of an account that has no money left: no waiting helps. (OpenAI's ordinary rate limits mention billing
in their text, too.)"""


def _is_out_of_credit(body: bytes) -> bool:
    try:
        error = msgspec.json.decode(body)["error"]
        return bool(_OUT_OF_CREDIT & {error.get("code"), error.get("type")})
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError, KeyError, AttributeError):
        return False


class UpstreamError(Exception):
    """A call to the upstream failed.

    Attributes:
        status_code: what it answered; None if no (whole) answer came.
        body: the answer's body; b"" if none came.
        retry_after: how long it asks us to wait, in seconds; None if it does not say.
        summary: the message without the server's own words, which may quote what we sent; for events and logs.
    """

    def __init__(
        self,
        message: str,
        *,
        summary: str | None = None,
        status_code: int | None = None,
        body: bytes = b"",
        retry_after: float | None = None,
        is_permanent: bool = False,
    ) -> None:
        super().__init__(message)
        self.summary: str = summary or message
        self.status_code = status_code
        self.body = body
        self.retry_after = retry_after
        self._is_permanent = is_permanent

    @property
    def is_retryable(self) -> bool:
        """Whether the same call may well succeed later."""
        if self.status_code is None:
            return not self._is_permanent
        if self.status_code == 429:
            return self.is_throttled
        return self.status_code >= 500 or self.status_code in _RETRYABLE_STATUSES

    @property
    def is_throttled(self) -> bool:
        """Whether the upstream has no room for it now: a rate, a quota of work under way; not a want of credit."""
        return self.status_code == 429 and not _is_out_of_credit(self.body)

    @property
    def is_ambiguous(self) -> bool:
        """Whether the upstream may have done what we asked although it did not say so."""
        return self.status_code == 409 or (self.is_retryable and self.status_code != 429)


class UncertainCreationError(UpstreamError):
    """A batch may have been created or not, and the upstream could not be asked which."""


def status_error(operation: str, status_code: int, body: bytes, headers: Any) -> UpstreamError:
    """The error for an answer that is not 2xx. Its message has the server's reason."""
    return UpstreamError(
        f"{operation} answered {status_code}: {reason_given(body)}",
        summary=f"{operation} answered {status_code}",
        status_code=status_code,
        body=body,
        retry_after=_seconds(headers.get("retry-after"), headers.get("date")),
    )


def transport_error(operation: str, error: Exception) -> UpstreamError:
    """The error for a call that the HTTP library, or what is below it, could not bring to its end."""
    name = type(error).__name__
    if name in _LOCAL_ERRORS:
        hint = "is there a line end in the key or in a header, or is the HTTP client closed?"
        return UpstreamError(f"{operation} could not be sent ({name}): {hint}", is_permanent=True)
    if (lasting := _permanent_reason(error)) is not None:
        return UpstreamError(f"{operation}: {name}: {lasting}", is_permanent=True)
    reason = f" ({error})" if name == "ConnectError" and str(error) else ""  # its text is the system's, not ours
    return UpstreamError(f"{operation}: {name}{reason}")


def _permanent_reason(error: BaseException | None) -> str | None:
    """What no second try would change, somewhere among the causes of a broken call: a certificate, a full disk."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
            return "the server's certificate is not trusted; see http_client= for certificates of your own"
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return "the disk is full"
        error = error.__cause__ or error.__context__
    return None


SHORTEST_SECRET = 8
"""Characters; what is shorter is no real key, and would be found inside ordinary words."""


def without_secret(body: bytes, secret: str) -> bytes:
    """An upstream's own words, with our key taken out: servers have been seen to quote the key they refuse."""
    key = secret.removeprefix("Bearer ").encode()
    return body.replace(key, b"***") if len(key) >= SHORTEST_SECRET else body


def reason_given(body: bytes) -> str:
    """The reason inside an error body of any of the known shapes; a shortened text otherwise."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = body.decode(errors="replace")
    for key in ("error", "detail", "message"):
        if isinstance(value, dict) and key in value:
            value = value[key]
    text = " ".join(str(value).split()) or "no reason given"
    return text if len(text) <= 300 else text[:300] + "…"


def _seconds(retry_after: str | None, date: str | None) -> float | None:
    """A Retry-After in seconds. One that is a date counts from the answer's own date: our clock may be another."""
    if not retry_after:
        return None
    try:
        seconds = float(retry_after)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(retry_after)
        return max(0.0, (until - parsedate_to_datetime(date or "")).total_seconds())
    except (ValueError, TypeError):
        return None


def http_library(client_class: type) -> Any:
    """The library, httpx or httpx2, whose `AsyncClient` or `Client` this class is or derives from."""
    base = next(base for base in client_class.__mro__ if base.__name__ in ("AsyncClient", "Client"))
    return sys.modules[base.__module__.partition(".")[0]]


def connection_errors(http: Any) -> tuple[type[Exception], ...]:
    """What `http`, a client of either library, raises when a call does not come to its end."""
    library = http_library(type(http))
    # Below its own errors, either library has let these through (seen with cut connections and broken TLS).
    below = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, UnicodeEncodeError)
    return (library.RequestError, library.InvalidURL, *below)
