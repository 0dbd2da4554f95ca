"""One HTTP call to an upstream: authenticated, bounded, and with every failure as an `UpstreamError`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import anyio

from ..redaction import Redactor, redactor_for
from .account import Account
from .back_off import back_off, retry_delay
from .base_url import advice_after
from .decompression import ACCEPTED
from .direct import send_directly
from .failures import UpstreamError, status_error, transport_error
from .key import has_inner_space
from .patience import Patience
from .redirects import Hop, foreign_request, is_redirect, next_hop
from .response import OpenResponse
from .retry_notice import RetryNotice

CALL_SECONDS = 60.0
"""Timeout of one HTTP call: seconds without any data. The SDK's 600 s are for slow models, not for these calls."""

PATIENCE_SECONDS = 600.0
"""How long a call with retryable failures is retried, in seconds. Outages of some minutes are common, and callers of a
batch wait longer than that anyway."""

FIRST_CONTACT_SECONDS = 10.0
FIRST_CONTACT_TRIES = 3
"""The same for a server that has never responded: a typo in base_url should not take ten minutes to show."""

MAX_CALL_SECONDS = 300.0
"""How long a call may take in all, but for uploads; and how long a download may take to begin."""

T = TypeVar("T")


class UpstreamHTTP:
    """Makes calls to upstreams through one HTTP client.

    Args:
        http: an `httpx.AsyncClient` or `httpx2.AsyncClient`; owned by the caller.
    """

    def __init__(self, http: Any) -> None:
        self._http = http
        self._answering: set[str] = set()  # base URLs of servers that have responded
        self.notice: RetryNotice = RetryNotice()

    async def call_with_retries(self, account: Account, method: str, path: str, **options: Any) -> bytes:
        """Like `call`, with the retries of `with_retries`."""
        return await self.with_retries(account, lambda: self.call(account, method, path, **options))

    async def with_retries(
        self,
        account: Account,
        attempt: Callable[[], Awaitable[T]],
        *,
        refusals: Patience | None = None,
        is_told: bool = False,
    ) -> T:
        """Repeat `attempt` with back-off while its failure is retryable.

        Args:
            refusals: the patience with failures that are not retryable; None to raise them at once.
            is_told: whether the first failure is logged, since callers wait for this.
        """
        delays = back_off()
        outage, no_contact = Patience(PATIENCE_SECONDS), Patience(FIRST_CONTACT_SECONDS, least=FIRST_CONTACT_TRIES)
        while True:
            try:
                return await attempt()
            except UpstreamError as error:
                retries = outage if account.base_url in self._answering else no_contact
                patience = retries if error.is_retryable else refusals
                if patience is None or patience.runs_out(anyio.current_time()):
                    if error.status_code is None:  # a good status, and perhaps a page
                        error.advise(advice_after(None, error.body, account.base_url))
                    raise
                if is_told:
                    self.notice.tell(account.base_url, error, patience.seconds)
                wait = retry_delay(error, next(delays))
            await anyio.sleep(wait)

    async def call(
        self, account: Account, method: str, path: str, *, seconds: float = MAX_CALL_SECONDS, **options: Any
    ) -> bytes:
        """Return the body of a 2xx response. Raises `UpstreamError` for everything else.

        Args:
            seconds: how long the call may take in all: a response that trickles is never silent, and never ends.

        Cancelled: the request may have been sent.
        """
        with anyio.move_on_after(seconds):
            async with self.open(account, method, path, seconds=seconds, **options) as response:
                return await response.read()
        raise UpstreamError(f"{method} {path} did not end within {seconds:.0f} s", was_sent=True)

    @asynccontextmanager
    async def open(
        self,
        account: Account,
        method: str,
        path: str,
        *,
        seconds: float = MAX_CALL_SECONDS,
        may_leave: bool = False,
        body: Callable[[], Mapping[str, Any]] = dict,
        params: Mapping[str, str] | None = None,
        content_type: str | None = None,
        silence_seconds: float = CALL_SECONDS,
    ) -> AsyncGenerator[OpenResponse]:
        """A 2xx answer, open for reading. Whatever the HTTP client raises becomes an `UpstreamError`.

        Args:
            seconds: how long it may take until the answer begins.
            may_leave: whether a redirect may lead to another host, without anything of ours.
            content_type: of the body, if its arguments do not say it.
            body: returns the body, as arguments of `build_request`, each time that the request is sent.
            silence_seconds: how long the server may be silent, and how long it may take to accept what we send.
        """
        operation = f"{method} {path}"
        headers = {"accept": "application/json, */*", **await account.request_headers(), "accept-encoding": ACCEPTED}
        if content_type is not None:
            headers["content-type"] = content_type
        redactor = redactor_for(headers, account.query, account.other_secrets)
        failures = partial(_typed_failures, operation, self._http, redactor)
        timeout = (CALL_SECONDS, silence_seconds, silence_seconds, CALL_SECONDS)  # connect, read, write, pool
        query = [*account.query, *(params or {}).items()] or None

        def build() -> Any:
            url = account.base_url + path
            return self._http.build_request(method, url, params=query, headers=headers, timeout=timeout, **body())

        with anyio.move_on_after(seconds) as limit, failures():
            sent, response = await self._send(operation, build, may_leave=may_leave)
        if limit.cancelled_caught:
            raise UpstreamError(f"{operation} did not begin to answer within {seconds:.0f} s", was_sent=True)
        try:
            if not (response.status_code < 500 and response.headers.get("content-type", "").startswith("text/html")):
                self._answering.add(account.base_url)  # else it may be a web site, which will never be an API
            # Hooks and `auth` of the user's HTTP client may have added credentials.
            redactor = redactor_for(sent.headers, account.query, account.other_secrets)
            opened = OpenResponse(operation, response, failures, redactor)
            if not 200 <= response.status_code < 300:
                raise _refusal(operation, response, await opened.read_error(), account.base_url, headers)
            yield opened
        finally:
            with suppress(Exception):  # all that was wanted of it has been read
                await response.aclose()

    async def _send(self, operation: str, build: Callable[[], Any], *, may_leave: bool) -> tuple[Any, Any]:
        """Send a request, and again where it is redirected to; see `next_hop`.

        Returns the last request with anything of ours, and the response.
        """
        request = build()
        hop = Hop(request.url)
        while True:
            if hop.is_foreign:
                response = await send_directly(self._http, foreign_request(request, hop.url))
            else:
                response = await self._http.send(request, stream=True, follow_redirects=False)
            if not is_redirect(response):
                return request, response
            with suppress(Exception):
                await response.aclose()
            hop = next_hop(operation, request.method, hop, response, may_leave=may_leave)
            if not hop.is_foreign:
                request = build()  # its body was read
                request.url = hop.url


def _refusal(operation: str, response: Any, said: bytes, base_url: str, headers: Mapping[str, str]) -> UpstreamError:
    """The error for a bad status, with advice."""
    error = status_error(operation, response.status_code, said, response.headers)
    error.advise(advice_after(response.status_code, said, base_url))
    error.advise(_advice_on_key(response.status_code, headers))
    return error


def _advice_on_key(status_code: int, headers: Mapping[str, str]) -> str:
    key = headers.get("authorization", "").removeprefix("Bearer ")
    is_odd = status_code in (401, 403) and has_inner_space(key)
    return "There is white space in the key: give the key and nothing else" if is_odd else ""


@contextmanager
def _typed_failures(operation: str, http: Any, redactor: Redactor) -> Iterator[None]:
    try:
        yield
    except UpstreamError:
        raise
    except Exception as error:
        redactor.redact_exception(error)
        raise transport_error(operation, error, redactor, is_client_closed=http.is_closed) from error
