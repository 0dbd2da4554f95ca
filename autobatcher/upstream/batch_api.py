"""`BatchAPI`: the upstream's files and batches over HTTP, with the retries that are safe.

Everything is safe to repeat but `POST /batches`, which costs money each time it succeeds and has no idempotency key.
So each batch carries a stamp in its metadata, and a creation whose outcome is unknown is looked up before it is
tried again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

import anyio
import msgspec

from .account import Account
from .batch_state import BatchState, parse_batch
from .failures import UncertainCreationError, UpstreamError, connection_errors, refusal
from .jsonl import InputFile, LineSplitter

STAMP_KEY = "autobatcher_stamp"
"""The metadata key under which a batch carries what we recognise it by."""

CALL_SECONDS = 60.0
"""The silence after which one HTTP call is given up; the SDK's 600 s are for models that think, not for these."""

CREATE_SECONDS = 30.0
"""How long a `POST /batches` on its way is shielded from cancellation: cutting it off would leave a batch that may
or may not run and cost. Twice what a slow server was seen to take."""

ATTEMPTS = 5
"""Tries of one safe call; with the back-off below they span about eight seconds of trouble."""

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 60.0
"""`Retry-After` is honoured up to this; a server that wants more is asked again after it."""

LOOKUP_PAGES = 5
"""Pages of 100 batches, newest first, that are searched for a stamp: more than anyone creates within a minute."""

T = TypeVar("T")


class BatchAPI:
    """Speaks to the upstreams' Batch APIs through one HTTP client.

    Every method raises `UpstreamError` when the upstream refuses or cannot be reached after all tries.

    Args:
        http: an `httpx.AsyncClient` or `httpx2.AsyncClient`; owned by the caller.
    """

    def __init__(self, http: Any) -> None:
        self._http = http
        self._connection_errors = connection_errors(http)

    async def upload(self, account: Account, input_file: Callable[[], InputFile], name: str) -> str:
        """Upload an input file; give its id. `input_file` is called anew for each try.

        Cancelled: the file may be there or not; it costs nothing and can be deleted or left to expire.
        """

        async def attempt() -> str:
            content = await self._call(
                account,
                "POST",
                "/files",
                data={"purpose": account.provider.file_purpose},
                files={"file": (name, input_file(), "application/jsonl")},
            )
            return _object_id("POST /files", content)

        return await _patiently(attempt)

    async def create(
        self,
        account: Account,
        *,
        input_file_id: str,
        endpoint: str,
        completion_window: str,
        metadata: Mapping[str, str],
        stamp: str,
    ) -> BatchState:
        """Create the batch, once.

        Raises:
            UncertainCreationError: if it may exist although nobody said so, and it could not be looked up.

        Cancelled: while the request was on its way, it is awaited for up to `CREATE_SECONDS` under a shield; a
        native asyncio cancellation pierces that, and then only `find` can tell.
        """
        body = {
            "input_file_id": input_file_id,
            "endpoint": endpoint,
            "completion_window": completion_window,
            "metadata": {**metadata, STAMP_KEY: stamp} if len(metadata) < 16 else dict(metadata),
        }

        may_exist = False

        async def attempt() -> BatchState:
            nonlocal may_exist
            if may_exist:
                # A lookup that fails is tried again like a creation; nothing is created without one that succeeded.
                found = await self._find_once(account, stamp, input_file_id)
                if found is not None:
                    return found
            try:
                with anyio.fail_after(CREATE_SECONDS, shield=True):
                    return _batch("POST /batches", await self._call(account, "POST", "/batches", json=body))
            except TimeoutError as error:
                may_exist = True
                raise UpstreamError(f"POST /batches did not answer within {CREATE_SECONDS:.0f} s") from error
            except UpstreamError as error:
                may_exist = error.is_ambiguous
                raise

        try:
            return await _patiently(attempt)
        except UpstreamError as error:
            if may_exist:
                raise UncertainCreationError(str(error)) from error
            raise

    async def find(self, account: Account, *, stamp: str, input_file_id: str) -> BatchState | None:
        """The batch that carries `stamp` or runs our input file, if the upstream has one."""
        return await _patiently(lambda: self._find_once(account, stamp, input_file_id))

    async def _find_once(self, account: Account, stamp: str, input_file_id: str) -> BatchState | None:
        after: str | None = None
        for _ in range(LOOKUP_PAGES):
            params = {"limit": "100", **({"after": after} if after else {})}
            page = _decoded("GET /batches", await self._call(account, "GET", "/batches", params=params))
            items = page.get("data") if isinstance(page, dict) else None
            states = [state for item in items or () if (state := parse_batch(item)) is not None]
            for state in states:
                if state.metadata.get(STAMP_KEY) == stamp or state.input_file_id == input_file_id:
                    return state
            if not states or not page.get("has_more"):
                break
            after = states[-1].id
        return None

    async def retrieve(self, account: Account, batch_id: str) -> BatchState:
        """Poll once, without a second try: the next poll is that."""
        return _batch("GET /batches/{id}", await self._call(account, "GET", f"/batches/{batch_id}"))

    async def cancel(self, account: Account, batch_id: str) -> BatchState:
        """Ask the upstream to stop the batch; repeating this is harmless. What already ran is still billed."""
        path = f"/batches/{batch_id}/cancel"
        return _batch("POST /batches/{id}/cancel", await self._patient_call(account, "POST", path))

    async def delete_file(self, account: Account, file_id: str) -> None:
        """Delete a file of ours."""
        await self._patient_call(account, "DELETE", f"/files/{file_id}")

    async def read_lines(self, account: Account, file_id: str, each: Callable[[bytes], None], *, skip: int = 0) -> int:
        """Stream an output or error file, give each line to `each`, and return the next `skip`.

        Args:
            skip: lines to leave out, for providers with `partial_output`; others always send the whole file.

        A connection cut half-way raises `UpstreamError` after the lines before the cut were given; read again with
        the same `skip`, and expect those lines twice.
        """
        # "offset" is what Doubleword's `skip` was called before November 2025; servers ignore the one they don't know.
        params = {"skip": str(skip), "offset": str(skip)} if account.provider.partial_output else {}
        lines, count = LineSplitter(), 0
        async with self._open(account, "GET", f"/files/{file_id}/content", params=params) as response:
            async with aclosing(response.aiter_bytes()) as chunks:
                async for chunk in chunks:
                    for line in lines.feed(chunk):
                        each(line)
                        count += 1
            for line in lines.rest():
                each(line)
                count += 1
            last_line = response.headers.get("x-last-line", "")
            return int(last_line) if last_line.isdecimal() else skip + count

    async def _patient_call(self, account: Account, method: str, path: str, **options: Any) -> bytes:
        return await _patiently(lambda: self._call(account, method, path, **options))

    async def _call(self, account: Account, method: str, path: str, **options: Any) -> bytes:
        async with self._open(account, method, path, **options) as response:
            content: bytes = await response.aread()
            return content

    @asynccontextmanager
    async def _open(
        self,
        account: Account,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        **options: Any,
    ) -> AsyncGenerator[Any]:
        """One HTTP exchange, open for reading; everything that breaks it becomes an `UpstreamError`."""
        operation = f"{method} {path}"
        headers = {"accept": "application/json, */*", **await account.request_headers()}
        try:
            async with self._http.stream(
                method,
                account.base_url + path,
                params={**dict(account.query), **(params or {})} or None,
                headers=headers,
                timeout=CALL_SECONDS,
                follow_redirects=True,
                **options,
            ) as response:
                if not 200 <= response.status_code < 300:
                    raise refusal(operation, response.status_code, await response.aread(), response.headers)
                yield response
        except self._connection_errors as error:
            raise UpstreamError(f"{operation}: {type(error).__name__}: {error}") from error


async def _patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """Repeat `attempt` while its failure is a passing one, with growing delays."""
    delay = FIRST_DELAY_SECONDS
    for tries_left in reversed(range(ATTEMPTS)):
        try:
            return await attempt()
        except UpstreamError as error:
            if tries_left == 0 or not error.is_passing:
                raise
            wait = max(delay, error.retry_after or 0.0)
        await anyio.sleep(min(wait, LONGEST_DELAY_SECONDS))
        delay *= 2
    raise AssertionError("unreachable: the last try returns or raises")


def _decoded(operation: str, content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # A 200 with a page of HTML is a proxy's doing: nothing that the API answered.
        raise UpstreamError(f"{operation} answered something that is not JSON") from error


def _batch(operation: str, content: bytes) -> BatchState:
    state = parse_batch(_decoded(operation, content))
    if state is None:
        raise UpstreamError(f"{operation} answered no batch object")
    return state


def _object_id(operation: str, content: bytes) -> str:
    fields = _decoded(operation, content)
    if not isinstance(fields, dict) or not fields.get("id"):
        raise UpstreamError(f"{operation} answered no id")
    return str(fields["id"])
