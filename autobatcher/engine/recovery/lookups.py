"""Looks new requests up in a shared journal, before they are sent."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio

from ...errors import JournalError
from .. import outcomes
from ..request import Request
from .claims import Claims
from .keyed import KeyedRequests
from .recovery import READ_AT_ONCE

if TYPE_CHECKING:
    from ..journal.postgres.shared import Claimed
    from ..journal.shared_journal import LookUp, SharedJournal

FLUSH_SECONDS = 2.0
"""How often windows may be closed for the sake of retries, which come in crowds when an engine dies."""

RETRY_SECONDS = 20.0
"""How long a request that says it is a retry waits for its place, while another engine seems to hold that for somebody
else. An engine that is paused loses its session within ten seconds."""


class Lookups:
    """Requests from their arrival until they have a line, or are on their way.

    Args:
        digest_of: what tells apart what was asked, and by which account.
        account_of: tells apart who pays.
        place: sends a request on its way that matches no line.
        take_up: lets a request wait for a line that was claimed for it.
        flush: closes the open windows.
    """

    def __init__(
        self,
        journal: SharedJournal,
        *,
        digest_of: Callable[[Request], bytes],
        account_of: Callable[[Request], bytes],
        place: Callable[[Request], Any],
        take_up: Callable[[Request, Claimed], None],
        flush: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._claims = Claims()
        self._digest_of = digest_of
        self._place = place
        self._take_up = take_up
        self._flush = flush
        self._flushed_at = -math.inf
        self.keyed: KeyedRequests = KeyedRequests(
            journal,
            self._claims,
            digest_of=digest_of,
            account_of=account_of,
            place=self._place_and_hurry,
            take_up=take_up,
        )

    def __len__(self) -> int:
        return len(self._claims)

    def add(self, request: Request) -> None:
        """Look the request up, and place it if it matches nothing."""
        self._claims.add(request)

    def flush(self) -> None:
        """Those that are being looked up now, and find nothing, leave at once."""
        self._claims.are_flushed = self._claims.are_flushed or len(self._claims) > 0

    def pop_all(self) -> list[Request]:
        """Remove and return all requests."""
        return self._claims.pop_all()

    async def run(self) -> None:
        """Look requests up, until cancelled."""
        while True:
            await self._claims.wait()
            await self._look_up(self._claims.next(READ_AT_ONCE))
            if self._claims.are_flushed and not self._claims:
                self._claims.are_flushed = False
                self._flush()

    async def _look_up(self, some: list[Request]) -> None:
        try:
            some = await self.keyed.look_up(some)
            retries = [self._digest_of(request) for request in some if request.is_retry]
            found = await self._journal.look_up([self._digest_of(request) for request in some], retries)
        except JournalError as error:
            error_for = outcomes.journal_error_for(error)
            for request in filter(self._claims.remove, some):
                request.settle(error_for(request, None))
        else:
            self._sort(some, found)

    def _sort(self, some: list[Request], found: LookUp) -> None:
        for request, claimed in zip(some, found.claimed, strict=True):
            digest = self._digest_of(request)
            if claimed is None and digest in found.elsewhere and self._claims.again(request, RETRY_SECONDS):
                continue  # its place may be free in a moment: its engine has not seen the client leave
            if claimed is None and request.is_retry:
                claimed = found.given_before.pop(digest, None)
            if not self._claims.remove(request):
                if claimed is not None:
                    self._journal.free(claimed.line)
            elif claimed is None:
                self._place_and_hurry(request)
            else:
                self._take_up(request, claimed)

    def _place_and_hurry(self, request: Request) -> None:
        """A retry has waited for a window before, in an engine that its client has left. It does not wait for another
        one: its client may be less patient than a window is long."""
        self._place(request)
        now = anyio.current_time()
        if request.is_retry and now - self._flushed_at >= FLUSH_SECONDS:
            self._flushed_at = now
            self._flush()
