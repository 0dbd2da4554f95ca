"""`BatchAPI`: the upstream's files and batches over HTTP, with the retries that are safe.

Every call can be repeated safely except `POST /batches`: each success costs money, and no server supports idempotency
keys there. So each batch carries a key of ours in its metadata. A creation of unknown outcome is looked up by it before
it is tried again.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import anyio

from .account import Account
from .answers import batch_answered, batches_listed, decoded, files_listed, id_answered
from .back_off import back_off, retry_delay
from .batch_analytics import BatchAnalytics
from .batch_state import BatchState
from .failures import UncertainCreationError, UpstreamError
from .http import PATIENCE_SECONDS, UpstreamHTTP
from .identifiers import path_segment
from .jsonl import InputFile, Overlong
from .large_turn import LargeTurn
from .lookup import IDEMPOTENCY_METADATA_KEY, LOOKUP_PAGES, Lookup, page_size
from .model_list import ModelList
from .patience import REFUSED_SECONDS, Patience
from .realtime_api import RealtimeAPI
from .result_file import read_lines

CREATE_SECONDS = 30.0
"""How long a `POST /batches` in flight is shielded from cancellation, in seconds. Cutting it off would leave a batch
that may or may not run and cost money. This is twice the longest time we saw a server take."""

UPLOAD_SILENCES = 10
"""How long one try of an upload may take in all, in silences that it may have. A large file on a slow line takes long;
a server that drips its answer does not end."""

NEW_FILE_SECONDS = 60.0
"""How long a server may fail to find a new input file: uploads are not visible at once, and Azure processes them."""

LOOKUP_DELAYS = (1.0, 4.0, 10.0, 30.0)
"""Seconds before each lookup of a creation of unknown outcome: a gateway may time out while the server behind it keeps
working. Their sum exceeds `CREATE_SECONDS`."""

MAX_METADATA_PAIRS = 16
"""Maximum number of metadata pairs. If the user sets as many, there is no room for the idempotency key, and the batch
is recognised by its input file's id."""


class BatchAPI:
    """Client for the Batch APIs of upstreams, over one HTTP client.

    Every method raises `UpstreamError` if the upstream refuses or cannot be reached. Cancelling a method may leave its
    HTTP request sent or not; every one but `create` can simply be repeated.

    Args:
        http: an `httpx.AsyncClient` or `httpx2.AsyncClient`; owned by the caller.
    """

    def __init__(self, http: Any) -> None:
        self._http = UpstreamHTTP(http)
        self.realtime: RealtimeAPI = RealtimeAPI(self._http)
        self.models: ModelList = ModelList(self._http)
        self.analytics: BatchAnalytics = BatchAnalytics(self._http)

    async def upload(
        self,
        account: Account,
        input_file: Callable[[], InputFile],
        name: str,
        *,
        expires_seconds: int,
        silence_seconds: float,
        turn: AbstractAsyncContextManager[None],
        is_wanted: Callable[[], bool],
    ) -> str | None:
        """Upload an input file and return its id; None if it is not wanted any more.

        Args:
            input_file: called for each try, and for each redirect; returns the file's content from its start.
            name: the file's name. `delete_files_named` finds files by it.
            expires_seconds: after how long the upstream may delete the file, where it supports that.
            turn: held during each try, not between tries.
            is_wanted: asked before each try.

        Cancelled: the file may exist. It costs nothing, and `delete_files_named` finds it.
        """
        expiry = {"expires_after[anchor]": "created_at", "expires_after[seconds]": str(expires_seconds)}
        provider = account.provider
        form = {
            "purpose": provider.file_purpose,
            **({"file_name": name} if provider.upload_names_file else {}),
            **(expiry if provider.files_expire else {}),
        }

        async def attempt() -> str | None:
            async with turn:
                if not is_wanted():
                    return None
                content = await self._http.call(
                    account,
                    "POST",
                    provider.upload_path,
                    body=lambda: {"data": form, "files": {"file": (name, input_file(), "application/jsonl")}},
                    seconds=silence_seconds * UPLOAD_SILENCES,
                    silence_seconds=silence_seconds,
                )
            return id_answered("POST /files", content)

        return await self._http.with_retries(account, attempt, is_told=True)

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
        before_attempt: Callable[[], Awaitable[None]] | None = None,
        on_may_exist: Callable[[bool], None] = lambda may_exist: None,
    ) -> BatchState | None:
        """Create the batch, at most once; return None if it is not wanted any more and was not created.

        An ambiguous failure (a cut connection, a timeout, 5xx) is followed by lookups over `LOOKUP_DELAYS`. The
        creation is only tried again if all of them succeed and find nothing. A server that takes longer than that to
        list a batch whose creation it reported as failed can still end up with two.

        Args:
            is_wanted: asked before each try.
            before_attempt: awaited before each try.
            on_may_exist: called whenever it changes whether the batch may exist.

        Raises:
            UncertainCreationError: if the outcome is unknown and could not be looked up.

        Cancelled: a request in flight is awaited for up to `CREATE_SECONDS`, under a shield. Native asyncio
        cancellation pierces the shield; then only `find` can tell whether the batch exists.
        """
        body = {
            "input_file_id": input_file_id,
            "endpoint": endpoint,
            "completion_window": completion_window,
            "metadata": {**metadata, IDEMPOTENCY_METADATA_KEY: idempotency_key}
            if len(metadata) < MAX_METADATA_PAIRS
            else dict(metadata),
        }
        delays, patience, for_the_file = back_off(), Patience(PATIENCE_SECONDS), Patience(NEW_FILE_SECONDS)
        while is_wanted():
            found: BatchState | None = None
            if before_attempt is not None:
                await before_attempt()
                if not is_wanted():
                    break
            on_may_exist(True)
            try:
                return await self._create_once(account, body)
            except UpstreamError as error:
                failure = error.with_traceback(None)  # it has this frame, which has the error
            if failure.is_ambiguous:
                found = await self._look_repeatedly(account, idempotency_key, input_file_id, LOOKUP_DELAYS)
            elif failure.is_throttled:  # a gateway may refuse although the creation succeeded
                found = await self._look_repeatedly(account, idempotency_key, input_file_id, (0.0,))
            if found is not None:
                return found
            on_may_exist(False)
            if failure.is_retryable:
                is_over = patience.runs_out(anyio.current_time())
            else:
                is_over = not _file_is_not_ready(failure, input_file_id) or for_the_file.runs_out(anyio.current_time())
            if is_over:
                raise failure
            if failure.is_retryable:
                self._http.notice.tell(account.base_url, failure, patience.seconds)
            await anyio.sleep(retry_delay(failure, next(delays)))
        return None

    async def _create_once(self, account: Account, body: Mapping[str, Any]) -> BatchState:
        operation = "POST /batches"
        try:
            with anyio.fail_after(CREATE_SECONDS, shield=True):
                return batch_answered(
                    operation, await self._http.call(account, "POST", "/batches", body=lambda: {"json": body})
                )
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
        """Return the batch that has `idempotency_key` or `input_file_id`, or None.

        Refusals are retried, too, because an unknown batch may cost money.
        """
        attempt = partial(self.look_up, account, Lookup(idempotency_key, input_file_id))
        return await self._http.with_retries(account, attempt, refusals=Patience(REFUSED_SECONDS))

    async def look_up(self, account: Account, lookup: Lookup) -> BatchState | None:
        """Like `find`, without retries. After a failure, call it again with the same `lookup`, which knows its page."""
        while True:
            try:
                states, after = await self._page(account, lookup.page, lookup.after)
            except UpstreamError as error:
                if not error.is_retryable:
                    lookup.restart()  # the page itself may be what is refused
                raise
            found = lookup.find_in(states)
            if found is not None or not lookup.goes_on(states, after):
                lookup.restart()
                return found

    async def list_batches(self, account: Account) -> list[BatchState]:
        """List batches in the server's order (newest first), `LOOKUP_PAGES` pages at most. No retries."""
        listed: list[BatchState] = []
        after, before = None, None
        for number in range(LOOKUP_PAGES):
            states, after = await self._page(account, number, before)
            listed += states
            if after in (None, before):
                break
            before = after
        return listed

    async def newest_batches(self, account: Account, after: str | None) -> tuple[list[BatchState], str | None]:
        """List as many batches as servers list at once, and the cursor of those that follow, or None. No retries."""
        return await self._page(account, LOOKUP_PAGES, after)

    async def _page(self, account: Account, number: int, after: str | None) -> tuple[list[BatchState], str | None]:
        """Fetch one page of the list; return its batches, and the cursor of the next page or None."""
        params = {"limit": str(page_size(number)), **({"after": after} if after else {})}
        page = decoded("GET /batches", await self._http.call(account, "GET", "/batches", params=params))
        states = batches_listed(page)
        has_more = bool(states) and isinstance(page, dict) and bool(page.get("has_more"))
        return states, states[-1].id if has_more else None

    async def retrieve(self, account: Account, batch_id: str) -> BatchState:
        """Poll a batch once. No retries, because the next poll follows anyway."""
        return batch_answered(
            "GET /batches/{id}", await self._http.call(account, "GET", f"/batches/{path_segment(batch_id)}")
        )

    async def cancel(self, account: Account, batch_id: str) -> BatchState:
        """Ask the upstream once to cancel the batch. Can be repeated. Requests that already ran are still billed."""
        path = f"/batches/{path_segment(batch_id)}/cancel"
        return batch_answered("POST /batches/{id}/cancel", await self._http.call(account, "POST", path))

    async def delete_file(self, account: Account, file_id: str) -> None:
        """Delete a file. It is not an error if the file is already gone."""
        try:
            await self._http.call_with_retries(account, "DELETE", f"/files/{path_segment(file_id)}")
        except UpstreamError as error:
            if error.status_code not in (404, 410):
                raise

    async def delete_files_named(self, account: Account, name: str) -> None:
        """Delete all files of that name: uploads whose responses, and so whose ids, were lost."""
        params = {"purpose": account.provider.file_purpose, "limit": "100", "order": "desc"}
        for _ in range(LOOKUP_PAGES):
            page = decoded("GET /files", await self._http.call_with_retries(account, "GET", "/files", params=params))
            files = files_listed(page)
            for file_id in [file_id for file_id, filename in files if filename == name]:
                await self.delete_file(account, file_id)
            last = files[-1][0] if files and page.get("has_more") else None
            if last in (None, params.get("after")):
                return
            params["after"] = last

    async def read_lines(
        self,
        account: Account,
        file_id: str,
        on_block: Callable[[bytes], int | None],
        on_line: Callable[[bytes | Overlong], Awaitable[None]],
        *,
        skip: int = 0,
        large: LargeTurn,
        max_line_bytes: int = sys.maxsize,
        drain: Callable[[], Awaitable[None]] | None = None,
    ) -> int:
        """Stream an output or error file, pass on its lines, and return the next `skip`.

        Whole lines without a secret of ours are passed to `on_block`, many at a time. It returns how many they are, or
        None if it does not take them: then each is passed to `on_line`, as are all others.

        If the connection is cut, `UpstreamError` is raised after the complete lines were passed on. Read again with the
        same `skip`, and expect those lines twice.

        Args:
            skip: how many lines to leave out, for providers with `partial_output`. Others always send the whole file.
            large: the turn that is taken for large lines.
            max_line_bytes: of longer lines only the beginning is passed on.
            drain: awaited after each chunk, for back-pressure.

        Cancelled: the lines read so far were passed on.
        """
        path = f"/files/{path_segment(file_id)}/content"
        return await read_lines(
            self._http,
            account,
            path,
            on_block,
            on_line,
            skip=skip,
            max_line_bytes=max_line_bytes,
            large=large,
            drain=drain,
        )


def _file_is_not_ready(error: UpstreamError, input_file_id: str) -> bool:
    """Whether the upstream does not find, or still processes, the file that it has just accepted."""
    if error.status_code == 404:
        return True
    return error.status_code == 400 and (input_file_id.encode() in error.body or b"input_file" in error.body)
