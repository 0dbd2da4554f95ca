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

_NEVER_SENT = {
    "LocalProtocolError": "a header is not valid; is there a line end in the key or in default_headers?",
    "UnicodeEncodeError": "a header has a character that is not ASCII; see the key and default_headers",
    "InvalidURL": "base_url is not a valid URL",
    "UnsupportedProtocol": "base_url must begin with http:// or https://",
    "TooManyRedirects": "the server redirects in circles; check base_url",
}
"""Exceptions of the HTTP libraries after which no other try helps, and what to do. Their texts may quote a header, so
they are not shown."""

_NETWORK_MODULES = ("httpx", "httpx2", "httpcore", "httpcore2")

_NO_MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached", "insufficient_balance"})
"""Codes in a 429 of an account that has no money left: no waiting helps. (OpenAI's ordinary rate limits mention billing
in their text, too.)"""


def _lacks_money(body: bytes) -> bool:
    try:
        error = msgspec.json.decode(body)["error"]
        return bool(_NO_MONEY & {error.get("code"), error.get("type")})
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
        is_hopeless: bool = False,
        may_have_been_sent: bool = False,
    ) -> None:
        super().__init__(message)
        self.summary: str = summary or message
        self.status_code = status_code
        self.body = body
        self.retry_after = retry_after
        self._is_hopeless = is_hopeless
        self._may_have_been_sent = may_have_been_sent

    @property
    def is_retryable(self) -> bool:
        """Whether the same call may well succeed later."""
        if self.status_code is None:
            return not self._is_hopeless
        if self.status_code == 429:
            return self.is_throttled
        return self.status_code >= 500 or self.status_code in _RETRYABLE_STATUSES

    @property
    def is_throttled(self) -> bool:
        """Whether the upstream has no room for it now: a rate, a quota of work under way; not a want of credit."""
        return self.status_code == 429 and not _lacks_money(self.body)

    @property
    def is_ambiguous(self) -> bool:
        """Whether the upstream may have done what we asked although it did not say so."""
        return self.status_code == 409 or self._may_have_been_sent or (self.is_retryable and self.status_code != 429)


class UncertainCreationError(UpstreamError):
    """A batch may have been created or not, and the upstream could not be asked which."""


def refusal(operation: str, status_code: int, body: bytes, headers: Any) -> UpstreamError:
    """The error for an answer that is not 2xx. Its message has the server's reason."""
    return UpstreamError(
        f"{operation} answered {status_code}: {reason_given(body)}",
        summary=f"{operation} answered {status_code}",
        status_code=status_code,
        body=body,
        retry_after=_seconds(headers.get("retry-after"), headers.get("date")),
    )


def broken_call(operation: str, error: Exception, *, is_client_closed: bool = False) -> UpstreamError:
    """The error for any exception of an HTTP client: of its library, its transport, its event hooks or its auth."""
    name = type(error).__name__
    if (response := _refused_response(error)) is not None:
        return refusal(operation, response.status_code, _body_read(response), response.headers)
    if name in _NEVER_SENT:
        return UpstreamError(f"{operation} could not be sent ({name}): {_NEVER_SENT[name]}", is_hopeless=True)
    if is_client_closed:
        return UpstreamError(f"{operation} could not be sent: http_client is closed; keep it open", is_hopeless=True)
    if (lasting := _lasting_reason(error)) is not None:
        return UpstreamError(f"{operation}: {name}: {lasting}", is_hopeless=True)
    if _is_of_the_network(error):
        # The text of these is the system's or the proxy's, not ours.
        reason = f" ({error})" if name in ("ConnectError", "ProxyError") and str(error) else ""
        return UpstreamError(f"{operation}: {name}{reason}")
    return UpstreamError(
        f"{operation}: http_client raised {name}{_place_of(error)}", is_hopeless=True, may_have_been_sent=True
    )


def _refused_response(error: Exception) -> Any:
    """The response behind an event hook's `raise_for_status()`; None for any other exception."""
    if not _is_named(error, "HTTPStatusError"):
        return None
    response = getattr(error, "response", None)
    return response if response is not None and response.status_code >= 400 else None


def _body_read(response: Any) -> bytes:
    try:
        return bytes(response.content)
    except RuntimeError:  # nobody has read it
        return b""


def _is_of_the_network(error: Exception) -> bool:
    """Whether a call broke below the HTTP client. Either library lets errors of sockets and streams through."""
    below = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)
    if isinstance(error, below) or _is_named(error, "RequestError"):
        return True
    return type(error).__module__.startswith("httpcore")


def _is_named(error: Exception, name: str) -> bool:
    """Whether it is an exception of that name, or of a subclass, of httpx or httpx2."""
    return any(
        base.__name__ == name and base.__module__.partition(".")[0] in _NETWORK_MODULES for base in type(error).__mro__
    )


def _place_of(error: Exception) -> str:
    if isinstance(error, RuntimeError) and "loop" in str(error):
        return "; its connections belong to another event loop: make an http_client for each"
    return ", perhaps in an event hook, its auth or its transport: see the cause of this error"


def _lasting_reason(error: BaseException | None) -> str | None:
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
