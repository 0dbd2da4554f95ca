"""`BatchAPI`: the upstream's files and batches over HTTP, with the retries that are safe.

Every call is safe to repeat except `POST /batches`: it costs money each time it succeeds, and no server honours an
idempotency key there. So each batch carries a key of ours in its metadata, and a creation whose outcome is unknown is
looked up before it is tried again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any
from urllib.parse import quote

import anyio

from .account import Account
from .answers import batch_answered, batches_listed, decoded, files_listed, id_answered
from .back_off import back_off, wait_of
from .batch_state import BatchState
from .failures import UncertainCreationError, UpstreamError
from .http import PATIENCE_SECONDS, UpstreamHTTP
from .jsonl import InputFile, LineSplitter
from .patience import REFUSED_SECONDS, Patience

IDEMPOTENCY_METADATA_KEY = "autobatcher_stamp"
"""The metadata key under which a batch carries what we recognise it by."""

CREATE_SECONDS = 30.0
"""How long a `POST /batches` on its way is shielded from cancellation: cutting it off would leave a batch that may
or may not run and cost. Twice what a slow server was seen to take."""

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


class BatchAPI:
    """Speaks to the upstreams' Batch APIs through one HTTP client.

    Every method raises `UpstreamError` when the upstream refuses or cannot be reached after all tries.

    Args:
        http: an `httpx.AsyncClient` or `httpx2.AsyncClient`; owned by the caller.
    """

    def __init__(self, http: Any) -> None:
        self._http = UpstreamHTTP(http)

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
                content = await self._http.call(
                    account,
                    "POST",
                    "/files",
                    data=purpose | (expiry if account.provider.files_expire else {}),
                    files={"file": (name, input_file(), "application/jsonl")},
                )
            return id_answered("POST /files", content)

        return await self._http.patiently(account, attempt)

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
        delays, patience, for_the_file = back_off(), Patience(PATIENCE_SECONDS), Patience(NEW_FILE_SECONDS)
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
            if failure.is_retryable:
                is_over = patience.is_over(anyio.current_time())
            else:
                is_over = not _misses_the_file(failure, input_file_id) or for_the_file.is_over(anyio.current_time())
            if is_over:
                raise failure
            await anyio.sleep(wait_of(failure, next(delays)))
        return None

    async def _create_once(self, account: Account, body: Mapping[str, Any]) -> BatchState:
        operation = "POST /batches"
        try:
            with anyio.fail_after(CREATE_SECONDS, shield=True):
                return batch_answered(operation, await self._http.call(account, "POST", "/batches", json=body))
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
        """The batch that carries `idempotency_key` or runs our input file, if the upstream has one.

        Refusals are tried again, too: who asks this wants to know whether something costs.
        """
        attempt = partial(self.find_once, account, idempotency_key, input_file_id)
        return await self._http.patiently(account, attempt, refusals=Patience(REFUSED_SECONDS))

    async def find_once(self, account: Account, idempotency_key: str, input_file_id: str) -> BatchState | None:
        """The same without a second try."""
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
        page = decoded("GET /batches", await self._http.call(account, "GET", "/batches", params=params))
        states = batches_listed(page)
        has_more = bool(states) and isinstance(page, dict) and bool(page.get("has_more"))
        return states, states[-1].id if has_more else None

    async def retrieve(self, account: Account, batch_id: str) -> BatchState:
        """Poll once, without a second try: the next poll is that."""
        return batch_answered(
            "GET /batches/{id}", await self._http.call(account, "GET", f"/batches/{_quoted(batch_id)}")
        )

    async def cancel(self, account: Account, batch_id: str) -> BatchState:
        """Ask the upstream once to stop the batch; repeating this is harmless. What already ran is still billed."""
        path = f"/batches/{_quoted(batch_id)}/cancel"
        return batch_answered("POST /batches/{id}/cancel", await self._http.call(account, "POST", path))

    async def delete_file(self, account: Account, file_id: str) -> None:
        """Delete a file of ours; one that is gone already is fine."""
        try:
            await self._http.call_patiently(account, "DELETE", f"/files/{_quoted(file_id)}")
        except UpstreamError as error:
            if error.status_code not in (404, 410):
                raise

    async def delete_files_named(self, account: Account, name: str) -> None:
        """Delete what uploads of that name left behind whose answers, and so the files' ids, were lost."""
        params = {"purpose": account.provider.file_purpose, "limit": "100", "order": "desc"}
        for _ in range(LOOKUP_PAGES):
            page = decoded("GET /files", await self._http.call_patiently(account, "GET", "/files", params=params))
            files = [file for file in files_listed(page) if isinstance(file, dict) and file.get("id")]
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
        async with self._http.open(account, "GET", f"/files/{_quoted(file_id)}/content", params=params) as response:
            async with aclosing(response.chunks()) as chunks:
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


def _misses_the_file(error: UpstreamError, input_file_id: str) -> bool:
    """Whether the upstream says that it does not know, or is not done with, the file it has just taken."""
    if error.status_code == 404:
        return True
    return error.status_code == 400 and (input_file_id.encode() in error.body or b"input_file" in error.body)


def _quoted(identifier: str) -> str:
    """An id as one segment of a path; ids are the server's, and may have anything in them."""
    return quote(identifier, safe="")
