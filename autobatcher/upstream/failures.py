"""Failures of one HTTP call to the upstream, with either HTTP library."""

from __future__ import annotations

import errno
import math
import ssl
import sys
from email.utils import parsedate_to_datetime
from typing import Any

import anyio
import msgspec

from ..printable import printable
from ..redaction import Redactor
from . import bounded_json
from .base_url import is_html
from .reachability import certificates_mistake, place_called
from .reasons import codes_in, lacks_capacity, lacks_money, reason_in, well_formed

# The server was busy or timed out. 409 is not retryable: it is an answer.
_RETRYABLE_STATUSES = frozenset({408, 425, 429})

GONE = frozenset({404, 410})
"""The statuses with which an upstream reports that a batch or file does not exist (any more)."""

NOT_IMPLEMENTED = 501
"""A server that has no such operation, such as a web site without an API. It is no outage."""

_NEVER_SENT = {
    "LocalProtocolError": "a header is not valid; is there a line end in the key or in default_headers?",
    "UnicodeEncodeError": "a header has a character that is not ASCII; see the key and default_headers",
    "InvalidURL": "base_url is not a valid URL",
    "UnsupportedProtocol": "base_url must begin with http:// or https://",
}
"""Exceptions of the HTTP libraries after which no other try helps, and what to do. Their texts may quote a header, so
they are not shown."""

_NOT_CONNECTED = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError"})
"""Exceptions of the HTTP libraries before which nothing was sent."""

_NETWORK_MODULES = ("httpx", "httpx2", "httpcore", "httpcore2")


class UpstreamError(Exception):
    """A call to the upstream failed.

    Attributes:
        status_code: the response's status; None if there was no complete response.
        body: the response's body; b"" if there was none.
        retry_after: how long the upstream asks us to wait, in seconds; None if it does not say.
        may_have_arrived: whether the upstream may have got the call, although there was no response.
        reason: the server's own words, printable; "" without any. They may quote prompts; see `mask_reason`.
        summary: the message for events and logs, with `reason` in it.
        advice: ours, at the end of message and summary; see `advise`.
    """

    def __init__(
        self,
        message: str,
        *,
        summary: str | None = None,
        reason: str = "",
        status_code: int | None = None,
        body: bytes = b"",
        retry_after: float | None = None,
        is_permanent: bool = False,
        may_have_been_sent: bool = False,
        was_sent: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason: str = reason
        self._told: str = summary or message  # before the reason
        self.advice: str = ""
        self.status_code = status_code
        self.body = body
        self.retry_after = retry_after
        self._is_permanent = is_permanent
        self._may_have_been_sent = may_have_been_sent
        self.may_have_arrived: bool = may_have_been_sent or was_sent

    def advise(self, advice: str) -> None:
        """Add what to do to the message; "" for nothing."""
        if advice:
            self.advice = f"{self.advice}. {advice}" if self.advice else advice
            self.args: tuple[Any, ...] = (f"{self}. {advice}",)

    @property
    def failed_operation(self) -> str:
        """What failed, without the server's own words."""
        return self._told

    @property
    def summary(self) -> str:
        """See above."""
        return f"{self._told}{self.reason and f': {self.reason}'}{self.advice and f'. {self.advice}'}"

    def mask_reason(self, masked: str) -> None:
        """Replace the server's words in the summary, in which prompts are masked now. The message keeps them."""
        self.reason = masked

    @property
    def is_retryable(self) -> bool:
        """Whether the same call may succeed later."""
        if self.status_code is None:
            return not self._is_permanent
        if self.status_code == 429:
            return self.is_throttled
        if self.status_code == NOT_IMPLEMENTED:
            return False
        return self.status_code >= 500 or self.status_code in _RETRYABLE_STATUSES or self.is_throttled

    @property
    def is_throttled(self) -> bool:
        """Whether the upstream has no capacity now: a rate limit or a quota of enqueued work, not missing credit.

        The code decides, whatever the status: Azure answers 400 with `token_limit_exceeded`.
        """
        if self.status_code is None or self.status_code >= 500:
            return False  # nobody knows then whether the call was carried out
        codes = codes_in(_decoded(self.body))
        return lacks_capacity(codes) or (self.status_code == 429 and not lacks_money(codes))

    @property
    def is_ambiguous(self) -> bool:
        """Whether the upstream may have carried out the call although it reported a failure."""
        if self._may_have_been_sent or self.status_code in (408, 409, NOT_IMPLEMENTED):
            return True
        return self.is_retryable and not self.is_throttled


class UnusableAnswerError(UpstreamError):
    """The upstream carried the call out, and its answer cannot be used. The next one may be no better."""


class UncertainCreationError(UpstreamError):
    """It is unknown whether a batch was created, and it could not be looked up."""


def status_error(operation: str, status_code: int, body: bytes, headers: Any) -> UpstreamError:
    """Make the error for a non-2xx response. Its message includes the server's reason.

    What is no status of a failure (304, 999) is not handed on as one.
    """
    is_failure, reason = 400 <= status_code <= 599, reason_given(body)
    return UpstreamError(
        f"{operation} answered {status_code}: {reason}",
        summary=f"{operation} answered {status_code}",
        reason=printable(reason),
        status_code=status_code if is_failure else None,
        body=body,
        retry_after=_seconds(headers.get("retry-after"), headers.get("date")),
        is_permanent=status_code < 500,
        may_have_been_sent=not is_failure,
    )


def transport_error(
    operation: str, error: Exception, redactor: Redactor, *, is_client_closed: bool = False
) -> UpstreamError:
    """The error for any exception of an HTTP client: of its library, its transport, its event hooks or its auth."""
    name = type(error).__name__
    if (response := _refused_response(error)) is not None:
        return status_error(operation, response.status_code, redactor.redact(_body_read(response)), response.headers)
    if name in _NEVER_SENT:
        return UpstreamError(f"{operation} could not be sent ({name}): {_NEVER_SENT[name]}", is_permanent=True)
    if name == "RemoteProtocolError" and "location header" in str(error):  # openai 2.x: httpx reads it all the same
        reason = "was redirected to something that is not a URL"
        return UpstreamError(f"{operation} {reason}", is_permanent=True, may_have_been_sent=True)
    if is_client_closed:
        return UpstreamError(f"{operation} could not be sent: http_client is closed; keep it open", is_permanent=True)
    if (permanent := _permanent_reason(error)) is not None:
        return UpstreamError(f"{operation}: {name}: {permanent}", is_permanent=True)
    if _is_of_the_network(error):
        # The text of these is the system's or the proxy's, not ours.
        reason = f" ({error})" if name in ("ConnectError", "ProxyError") and str(error) else ""
        if name in _NOT_CONNECTED and (place := place_called(error)):
            reason = f"{reason}: {place}"
        return UpstreamError(f"{operation}: {name}{reason}", was_sent=name not in _NOT_CONNECTED)
    return UpstreamError(
        f"{operation}: http_client raised {name}{_place_of(error)}", is_permanent=True, may_have_been_sent=True
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


def _permanent_reason(error: BaseException | None) -> str | None:
    """Search the causes of a failed call for one that retrying cannot change: a certificate, a full disk."""
    if type(error).__name__ == "ConnectError" and "WRONG_VERSION_NUMBER" in str(error):
        return "there is no TLS at that port; must base_url begin with http:// instead of https://?"
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
            return (
                "the server's certificate is not trusted. If it is your company's, set SSL_CERT_FILE to a file with "
                "the certificate of your company's authority, or pass http_client="
            )
        if _is_of_a_file(error) and (mistake := certificates_mistake()) is not None:
            return mistake
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return "the disk is full"
        error = error.__cause__ or error.__context__
    return None


def _is_of_a_file(error: BaseException) -> bool:
    """Whether a file could not be loaded. These errors do not name it."""
    kinds = (FileNotFoundError, PermissionError, IsADirectoryError)
    return isinstance(error, kinds) or "NO_CERTIFICATE_OR_CRL_FOUND" in str(error)


def reason_given(body: bytes) -> str:
    """Return the reason in an error body of any known shape; otherwise the body's text, shortened."""
    if is_html(body):
        return "an HTML page"
    value = _decoded(body)
    text = reason_in(value) or " ".join(well_formed(str(value)).split()) or "no reason given"
    return text if len(text) <= 300 else text[:300] + "…"


def _decoded(body: bytes) -> Any:
    """Return the body's JSON, or its text if it is not JSON."""
    try:
        return bounded_json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body.decode(errors="replace")


def _seconds(retry_after: str | None, date: str | None) -> float | None:
    """Parse `Retry-After` into seconds. A date is relative to the response's own date, since our clock may differ."""
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
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def http_library(client_class: type) -> Any:
    """Return the module, httpx or httpx2, whose `AsyncClient` or `Client` this class is or derives from."""
    base = next(base for base in client_class.__mro__ if base.__name__ in ("AsyncClient", "Client"))
    return sys.modules[base.__module__.partition(".")[0]]
