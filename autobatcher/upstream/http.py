"""One HTTP call to an upstream: authenticated, bounded, and with every failure as an `UpstreamError`."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import anyio

from ..redaction import Redactor, redactor_for
from .account import Account
from .back_off import back_off, retry_delay
from .failures import UpstreamError, status_error, transport_error
from .patience import Patience

CALL_SECONDS = 60.0
"""Timeout of one HTTP call: seconds without any data. The SDK's 600 s are for slow models, not for these calls."""

PATIENCE_SECONDS = 600.0
"""How long a call with retryable failures is retried, in seconds. Outages of some minutes are common, and callers of a
batch wait longer than that anyway."""

FIRST_CONTACT_SECONDS = 10.0
FIRST_CONTACT_TRIES = 3
"""The same for a server that has never responded: a typo in base_url should not take ten minutes to show."""

MAX_CALL_SECONDS = 300.0
"""How long a call may take in all, but for uploads: a response that trickles is never silent, and never ends."""

T = TypeVar("T")


class UpstreamHTTP:
    """Makes calls to upstreams through one HTTP client.

    Args:
        http: an `httpx.AsyncClient` or `httpx2.AsyncClient`; owned by the caller.
    """

    def __init__(self, http: Any) -> None:
        self._http = http
        self._answering: set[str] = set()  # base URLs of servers that have responded

    async def call_with_retries(self, account: Account, method: str, path: str, **options: Any) -> bytes:
        """Like `call`, with the retries of `with_retries`."""
        return await self.with_retries(account, lambda: self.call(account, method, path, **options))

    async def with_retries(
        self, account: Account, attempt: Callable[[], Awaitable[T]], *, refusals: Patience | None = None
    ) -> T:
        """Repeat `attempt` with back-off while its failure is retryable.

        Args:
            refusals: the patience with failures that are not retryable; None to raise them at once.
        """
        delays = back_off()
        outage, no_contact = Patience(PATIENCE_SECONDS), Patience(FIRST_CONTACT_SECONDS, least=FIRST_CONTACT_TRIES)
        while True:
            try:
                return await attempt()
            except UpstreamError as error:
                now = anyio.current_time()
                if not error.is_retryable:
                    is_over = refusals is None or refusals.runs_out(now)
                elif account.base_url in self._answering:
                    is_over = outage.runs_out(now)
                else:
                    is_over = no_contact.runs_out(now)
                if is_over:
                    raise
                wait = retry_delay(error, next(delays))
            await anyio.sleep(wait)

    async def call(self, account: Account, method: str, path: str, **options: Any) -> bytes:
        """Return the body of a 2xx response. Raises `UpstreamError` for everything else.

        Cancelled: the request may have been sent.
        """
        with anyio.move_on_after(MAX_CALL_SECONDS if "silence_seconds" not in options else math.inf):
            async with self.open(account, method, path, **options) as response:
                return await response.read()
        raise UpstreamError(f"{method} {path} did not end within {MAX_CALL_SECONDS:.0f} s")

    @asynccontextmanager
    async def open(
        self,
        account: Account,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        silence_seconds: float = CALL_SECONDS,
        **options: Any,
    ) -> AsyncGenerator[OpenResponse]:
        """A 2xx answer, open for reading. Whatever the HTTP client raises becomes an `UpstreamError`."""
        headers = {"accept": "application/json, */*", **await account.request_headers()}
        redactor = redactor_for(headers, account.query, account.other_secrets)
        failures = partial(_typed_failures, f"{method} {path}", self._http, redactor)
        with failures():
            request = self._http.build_request(
                method,
                account.base_url + path,
                params=[*account.query, *(params or {}).items()] or None,
                headers=headers,
                timeout=(CALL_SECONDS, silence_seconds, silence_seconds, CALL_SECONDS),  # connect, read, write, pool
                **options,
            )
            response = await self._http.send(request, stream=True, follow_redirects=True)
        try:
            self._answering.add(account.base_url)
            # Hooks and `auth` of the user's HTTP client may have added credentials.
            redactor = redactor_for(request.headers, account.query, account.other_secrets)
            opened = OpenResponse(response, failures, redactor)
            if not 200 <= response.status_code < 300:
                said = await opened.read()
                raise status_error(f"{method} {path}", response.status_code, said, response.headers)
            yield opened
        finally:
            with suppress(Exception):  # all that was wanted of it has been read
                await response.aclose()


class OpenResponse:
    """A response that is open for reading. Whatever the HTTP client raises becomes an `UpstreamError`.

    Attributes:
        redactor: masks what the request carried. `read` has done so; chunks must be put together first.
    """

    def __init__(self, response: Any, failures: Callable[[], AbstractContextManager[None]], redactor: Redactor) -> None:
        self._response = response
        self._failures = failures
        self.redactor: Redactor = redactor
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        """Read the whole body."""
        with self._failures():
            content: bytes = await self._response.aread()
            return self.redactor.redact(content)

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Read the body piece by piece."""
        async with aclosing(self._response.aiter_bytes()) as chunks:
            while True:
                with self._failures():
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                yield chunk  # noqa: ASYNC119  (who reads it closes it)


@contextmanager
def _typed_failures(operation: str, http: Any, redactor: Redactor) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        redactor.redact_exception(error)
        raise transport_error(operation, error, redactor, is_client_closed=http.is_closed) from error
