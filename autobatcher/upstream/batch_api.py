"""`BatchAPI`: the upstream's files and batches over HTTP, with the retries that are safe.

Every call is safe to repeat except `POST /batches`: it costs money each time it succeeds, and no server honours an
idempotency key there. So each batch carries a key of ours in its metadata, and a creation whose outcome is unknown is
looked up before it is tried again.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import anyio
import msgspec

from .account import Account
from .batch_state import BatchState, parse_batch
from .failures import UncertainCreationError, UpstreamError, broken_call, connection_errors, refusal, without_secret
from .jsonl import InputFile, LineSplitter

IDEMPOTENCY_METADATA_KEY = "autobatcher_stamp"
"""The metadata key under which a batch carries what we recognise it by."""

CALL_SECONDS = 60.0
"""The silence after which one HTTP call is given up; the SDK's 600 s are for models that think, not for these."""

CREATE_SECONDS = 30.0
"""How long a `POST /batches` on its way is shielded from cancellation: cutting it off would leave a batch that may
or may not run and cost. Twice what a slow server was seen to take."""

PATIENCE_SECONDS = 600.0
"""How long a call is tried again while it fails in passing: outages of some minutes are ordinary, and whoever waits
for a batch waits for longer than that anyway."""

FIRST_CONTACT_SECONDS = 10.0
"""The same for a server that never answered anything: a typing error in base_url should not take ten minutes."""

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 60.0
LONGEST_ASKED_SECONDS = 300.0
"""`Retry-After` is honoured up to this; a server that wants more is asked again after it."""

JITTER = 0.2
"""The part of a delay that is left to chance, so that many clients do not come back at once."""

NEW_FILE_SECONDS = 60.0
"""How long a server may not know a file that it has just taken: it is not visible everywhere at once, and Azure
works on it first."""

LOOKUP_DELAYS = (1.0, 4.0, 10.0, 30.0)
"""Seconds before each lookup of a creation whose answer was lost: a gateway may give up while the server behind it is
still at work. Together they are longer than `CREATE_SECONDS`."""

LOOKUP_PAGES = 10
"""Pages of 100 batches that are searched for an idempotency key. Servers list the newest first; if the batch is not
among these, nobody can tell whether it exists."""

MOST_METADATA = 16
"""Maximum number of metadata pairs. A user with that many of their own leaves no room for the idempotency key; then the
batch is recognised by its input file's id."""

SECRET_HEADERS = ("authorization", "api-key")

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
        self._answering: set[str] = set()  # base URLs of servers that have answered something

    async def upload(
        self,
        account: Account,
        input_file: Callable[[], InputFile],
        name: str,
        *,
        expires_seconds: int,
        limiter: anyio.CapacityLimiter,
        is_wanted: Callable[[], bool],
    ) -> str | None:
        """Upload an input file; give its id. `input_file` is called anew for each try.

        Args:
            limiter: is held during each try.
            is_wanted: asked before each; None if it says no.
            expires_seconds: when the upstream may delete the file by itself, where it knows of that.

        Cancelled: the file may be there or not; it costs nothing, and `delete_files_named` finds it.
        """
        expiry = {"expires_after[anchor]": "created_at", "expires_after[seconds]": str(expires_seconds)}
        purpose = {"purpose": account.provider.file_purpose}

        async def attempt() -> str | None:
            async with limiter:
                if not is_wanted():
                    return None
                content = await self._call(
                    account,
                    "POST",
                    "/files",
                    data=purpose | (expiry if account.provider.files_expire else {}),
                    files={"file": (name, input_file(), "application/jsonl")},
                )
            return _object_id("POST /files", content)

        return await self._patiently(account, attempt)

    async def create(
        self,
        account: Account,
        *,
        input_file_id: str,
        endpoint: str,
        completion_window: str,
        metadata: Mapping[str, str],
        idempotency_key: str,
        is_wanted: Callable[[], bool],
        before: Callable[[], Awaitable[None]] | None = None,
        note: Callable[[bool], None] = lambda may_exist: None,
    ) -> BatchState | None:
        """Create the batch, once. None if `is_wanted` said no before anything was created.

        `before` is awaited before each try. `note` is told whether the batch may exist, whenever that changes.

        An ambiguous failure (a cut connection, a time-out, 5xx) is followed by lookups over `LOOKUP_DELAYS`; only if
        all of them succeed and find nothing is the creation tried again. A server that takes longer than that to
        make a batch known, after telling us that it failed, can still end up with two.

        Raises:
            UncertainCreationError: if the batch may exist although nobody said so, and it could not be looked up.

        Cancelled: while the request was on its way, it is awaited for up to `CREATE_SECONDS` under a shield; a
        native asyncio cancellation pierces that, and then only `find` can tell.
        """
        body = {
            "input_file_id": input_file_id,
            "endpoint": endpoint,
            "completion_window": completion_window,
            "metadata": {**metadata, IDEMPOTENCY_METADATA_KEY: idempotency_key}
            if len(metadata) < MOST_METADATA
            else dict(metadata),
        }
        delays, begun = back_off(), anyio.current_time()
        while is_wanted():
            found: BatchState | None = None
            if before is not None:
                await before()
                if not is_wanted():
                    break
            note(True)
            try:
                return await self._create_once(account, body)
            except UpstreamError as error:
                failure = error
            if failure.is_ambiguous:
                found = await self._look_repeatedly(account, idempotency_key, input_file_id, LOOKUP_DELAYS)
            elif failure.is_throttled:  # a clear refusal, but perhaps that of a gateway in front of a success
                found = await self._look_repeatedly(account, idempotency_key, input_file_id, (0.0,))
            if found is not None:
                return found
            note(False)
            tried_for = anyio.current_time() - begun
            is_early = _misses_the_file(failure, input_file_id) and tried_for < NEW_FILE_SECONDS
            if tried_for > PATIENCE_SECONDS or not (failure.is_retryable or is_early):
                raise failure
            await anyio.sleep(wait_of(failure, next(delays)))
        return None

    async def _create_once(self, account: Account, body: Mapping[str, Any]) -> BatchState:
        operation = "POST /batches"
        try:
            with anyio.fail_after(CREATE_SECONDS, shield=True):
                return _batch(operation, await self._call(account, "POST", "/batches", json=body))
        except TimeoutError as error:
            raise UpstreamError(f"{operation} did not answer within {CREATE_SECONDS:.0f} s") from error

    async def _look_repeatedly(
        self, account: Account, idempotency_key: str, input_file_id: str, delays: tuple[float, ...]
    ) -> BatchState | None:
        for delay in delays:
            await anyio.sleep(delay)
            try:
                found = await self.find(account, idempotency_key=idempotency_key, input_file_id=input_file_id)
            except UpstreamError as error:
                raise UncertainCreationError(str(error), summary=error.summary) from error
            if found is not None:
                return found
        return None

    async def find(self, account: Account, *, idempotency_key: str, input_file_id: str) -> BatchState | None:
        """The batch that carries `idempotency_key` or runs our input file, if the upstream has one."""
        return await self._patiently(account, lambda: self._find_once(account, idempotency_key, input_file_id))

    async def _find_once(self, account: Account, idempotency_key: str, input_file_id: str) -> BatchState | None:
        after: str | None = None
        for _ in range(LOOKUP_PAGES):
            states, after = await self._page(account, after)
            for state in states:
                if (
                    state.metadata.get(IDEMPOTENCY_METADATA_KEY) == idempotency_key
                    or state.input_file_id == input_file_id
                ):
                    return state
            if after is None:
                return None
        raise UpstreamError(f"GET /batches goes on for more than {LOOKUP_PAGES} pages", is_hopeless=True)

    async def list_batches(self, account: Account) -> list[BatchState]:
        """The upstream's list, the newest first as servers have it, `LOOKUP_PAGES` pages at most; no second try."""
        listed: list[BatchState] = []
        after: str | None = None
        for _ in range(LOOKUP_PAGES):
            states, after = await self._page(account, after)
            listed += states
            if after is None:
                break
        return listed

    async def _page(self, account: Account, after: str | None) -> tuple[list[BatchState], str | None]:
        """One page of the list, and after which batch the next one begins; None if there is no more."""
        params = {"limit": "100", **({"after": after} if after else {})}
        page = _decoded("GET /batches", await self._call(account, "GET", "/batches", params=params))
        states = _batches_listed(page)
        has_more = bool(states) and isinstance(page, dict) and bool(page.get("has_more"))
        return states, states[-1].id if has_more else None

    async def retrieve(self, account: Account, batch_id: str) -> BatchState:
        """Poll once, without a second try: the next poll is that."""
        return _batch("GET /batches/{id}", await self._call(account, "GET", f"/batches/{_quoted(batch_id)}"))

    async def cancel(self, account: Account, batch_id: str) -> BatchState:
        """Ask the upstream to stop the batch; repeating this is harmless. What already ran is still billed."""
        path = f"/batches/{_quoted(batch_id)}/cancel"
        return _batch("POST /batches/{id}/cancel", await self._patient_call(account, "POST", path))

    async def delete_file(self, account: Account, file_id: str) -> None:
        """Delete a file of ours; one that is gone already is fine."""
        try:
            await self._patient_call(account, "DELETE", f"/files/{_quoted(file_id)}")
        except UpstreamError as error:
            if error.status_code not in (404, 410):
                raise

    async def delete_files_named(self, account: Account, name: str) -> None:
        """Delete what uploads of that name left behind whose answers, and so the files' ids, were lost."""
        params = {"purpose": account.provider.file_purpose, "limit": "100", "order": "desc"}
        for _ in range(LOOKUP_PAGES):
            page = _decoded("GET /files", await self._patient_call(account, "GET", "/files", params=params))
            files = [file for file in _listed(page) if isinstance(file, dict) and file.get("id")]
            for file in files:
                if file.get("filename") == name:
                    await self.delete_file(account, str(file["id"]))
            if not files or not page.get("has_more"):
                return
            params["after"] = str(files[-1]["id"])

    async def read_lines(
        self,
        account: Account,
        file_id: str,
        each: Callable[[bytes], None],
        *,
        skip: int = 0,
        room: Callable[[], Awaitable[None]] | None = None,
    ) -> int:
        """Stream an output or error file, give each line to `each`, and return the next `skip`.

        Args:
            skip: lines to leave out, for providers with `partial_output`; others always send the whole file.
            room: awaited after each piece, if there is one.

        A connection cut half-way raises `UpstreamError` after the lines before the cut were given; read again with
        the same `skip`, and expect those lines twice.
        """
        # "offset" is what Doubleword's `skip` was called before November 2025; servers ignore the one they don't know.
        params = {"skip": str(skip), "offset": str(skip)} if account.provider.partial_output else {}
        splitter, count = LineSplitter(), 0
        async with self._open(account, "GET", f"/files/{_quoted(file_id)}/content", params=params) as response:
            async with aclosing(response.aiter_bytes()) as chunks:
                async for chunk in chunks:
                    lines = splitter.feed(chunk)
                    count += len(lines)
                    for line in lines:
                        each(line)
                    if room is not None:
                        await room()
            for line in splitter.rest():
                each(line)
                count += 1
            last_line = response.headers.get("x-last-line", "")
            return int(last_line) if last_line.isdecimal() else skip + count

    async def _patient_call(self, account: Account, method: str, path: str, **options: Any) -> bytes:
        return await self._patiently(account, lambda: self._call(account, method, path, **options))

    async def _patiently(self, account: Account, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat `attempt` while its failure is a passing one, with growing delays."""
        delays, begun = back_off(), anyio.current_time()
        while True:
            try:
                return await attempt()
            except UpstreamError as error:
                patience = PATIENCE_SECONDS if account.base_url in self._answering else FIRST_CONTACT_SECONDS
                if not error.is_retryable or anyio.current_time() - begun > patience:
                    raise
                wait = wait_of(error, next(delays))
            await anyio.sleep(wait)

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
                params=[*account.query, *(params or {}).items()] or None,
                headers=headers,
                timeout=CALL_SECONDS,
                follow_redirects=True,
                **options,
            ) as response:
                self._answering.add(account.base_url)
                if not 200 <= response.status_code < 300:
                    said: bytes = await response.aread()
                    for name in SECRET_HEADERS:
                        said = without_secret(said, headers.get(name, ""))
                    raise refusal(operation, response.status_code, said, response.headers)
                yield response
        except self._connection_errors as error:
            raise broken_call(operation, error) from error
        except RuntimeError as error:
            if not self._http.is_closed:
                raise
            raise broken_call(operation, error) from error


def back_off() -> Iterator[float]:
    """The seconds to wait between the tries of one call: growing, and no two clients' alike."""
    for n in itertools.count():
        yield jittered(min(FIRST_DELAY_SECONDS * 2 ** min(n, 10), LONGEST_DELAY_SECONDS))


def jittered(seconds: float) -> float:
    """About so many seconds."""
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  (no secret)


def sooner(seconds: float) -> float:
    """So many seconds, or somewhat less."""
    return seconds * random.uniform(1 - JITTER, 1)  # noqa: S311  (no secret)


def wait_of(error: UpstreamError, delay: float) -> float:
    """How long to wait after `error`: `delay`, or longer if the server asks for it, within reason."""
    return max(delay, min(error.retry_after or 0.0, LONGEST_ASKED_SECONDS))


def _misses_the_file(error: UpstreamError, input_file_id: str) -> bool:
    """Whether the upstream says that it does not know, or is not done with, the file it has just taken."""
    if error.status_code == 404:
        return True
    return error.status_code == 400 and (input_file_id.encode() in error.body or b"input_file" in error.body)


def _quoted(identifier: str) -> str:
    """An id as one segment of a path; ids are the server's, and may have anything in them."""
    return quote(identifier, safe="")


def _decoded(operation: str, content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # A 200 with a page of HTML is a proxy's doing: nothing that the API answered.
        raise UpstreamError(f"{operation} answered something that is not JSON") from error


def _listed(page: Any) -> list[Any]:
    items = page.get("data") if isinstance(page, dict) else None
    return items if isinstance(items, list) else []


def _batches_listed(page: Any) -> list[BatchState]:
    """The batches of a page of the list. What is no list of batches is no answer, least of all an empty one."""
    items = page.get("data") if isinstance(page, dict) else page or None
    if not isinstance(items, list):
        raise UpstreamError("GET /batches answered no list")
    return [state for item in items if (state := parse_batch(item)) is not None]


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
