"""One HTTP call to an upstream, authenticated and bounded, whose every failure is an `UpstreamError`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import anyio

from .account import Account
from .back_off import back_off, wait_of
from .failures import UpstreamError, broken_call, refusal, without_secret
from .patience import Patience

CALL_SECONDS = 60.0
"""The silence after which one HTTP call is given up; the SDK's 600 s are for models that think, not for these."""

PATIENCE_SECONDS = 600.0
"""How long a call is tried again while its failure is retryable: outages of some minutes are ordinary, and whoever
waits for a batch waits for longer than that anyway."""

FIRST_CONTACT_SECONDS = 10.0
FIRST_CONTACT_TRIES = 3
"""The same for a server that never answered anything: a typing error in base_url should not take ten minutes."""

SECRET_HEADERS = ("authorization", "api-key")

T = TypeVar("T")


class UpstreamHTTP:
    """Makes calls to upstreams through one HTTP client.

    Args:
        http: an `httpx.AsyncClient` or `httpx2.AsyncClient`; owned by the caller.
    """

    def __init__(self, http: Any) -> None:
        self._http = http
        self._answering: set[str] = set()  # base URLs of servers that have answered something

    async def call_patiently(self, account: Account, method: str, path: str, **options: Any) -> bytes:
        """`call`, tried again as `patiently` does."""
        return await self.patiently(account, lambda: self.call(account, method, path, **options))

    async def patiently(
        self, account: Account, attempt: Callable[[], Awaitable[T]], *, refusals: Patience | None = None
    ) -> T:
        """Repeat `attempt` while its failure is worth another try, with growing delays.

        Args:
            refusals: how long other failures are borne, too; None for not at all.
        """
        delays = back_off()
        outage, no_contact = Patience(PATIENCE_SECONDS), Patience(FIRST_CONTACT_SECONDS, least=FIRST_CONTACT_TRIES)
        while True:
            try:
                return await attempt()
            except UpstreamError as error:
                now = anyio.current_time()
                if not error.is_retryable:
                    is_over = refusals is None or refusals.is_over(now)
                elif account.base_url in self._answering:
                    is_over = outage.is_over(now)
                else:
                    is_over = no_contact.is_over(now)
                if is_over:
                    raise
                wait = wait_of(error, next(delays))
            await anyio.sleep(wait)

    async def call(self, account: Account, method: str, path: str, **options: Any) -> bytes:
        """The body of a 2xx answer. Raises `UpstreamError` for everything else.

        Cancelled: the request may have been sent.
        """
        async with self.open(account, method, path, **options) as response:
            return await response.read()

    @asynccontextmanager
    async def open(
        self,
        account: Account,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        **options: Any,
    ) -> AsyncGenerator[OpenResponse]:
        """A 2xx answer, open for reading. Whatever the HTTP client raises becomes an `UpstreamError`."""
        failures = partial(_typed_failures, f"{method} {path}", self._http)
        headers = {"accept": "application/json, */*", **await account.request_headers()}
        with failures():
            request = self._http.build_request(
                method,
                account.base_url + path,
                params=[*account.query, *(params or {}).items()] or None,
                headers=headers,
                timeout=CALL_SECONDS,
                **options,
            )
            response = await self._http.send(request, stream=True, follow_redirects=True)
        try:
            self._answering.add(account.base_url)
            opened = OpenResponse(response, failures)
            if not 200 <= response.status_code < 300:
                said = await opened.read()
                for name in SECRET_HEADERS:
                    said = without_secret(said, headers.get(name, ""))
                raise refusal(f"{method} {path}", response.status_code, said, response.headers)
            yield opened
        finally:
            with suppress(Exception):  # all that was wanted of it has been read
                await response.aclose()


class OpenResponse:
    """A response that is open for reading. Whatever the HTTP client raises becomes an `UpstreamError`."""

    def __init__(self, response: Any, failures: Callable[[], AbstractContextManager[None]]) -> None:
        self._response = response
        self._failures = failures
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        """Read the whole body."""
        with self._failures():
            content: bytes = await self._response.aread()
            return content

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Read the body piece by piece. Close the generator, with `aclosing`."""
        async with aclosing(self._response.aiter_bytes()) as chunks:
            while True:
                with self._failures():
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                yield chunk  # noqa: ASYNC119  (the reader closes it)


@contextmanager
def _typed_failures(operation: str, http: Any) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise broken_call(operation, error, is_client_closed=http.is_closed) from error
