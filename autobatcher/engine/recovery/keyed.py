"""Requests with idempotency keys, in a journal that other engines use at the same time.

Two requests of one caller with one key are one request, whichever engines they reach. The first takes the key, and is
sent. The others wait until it is answered, and get copies; or they take its place, if its caller left or its engine
died.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...errors import IdempotencyKeyReusedError, JournalError
from .. import outcomes
from ..digest import digest_of_parts
from ..journal.postgres.shared import Claimed, Held, KeyOutcome, Reused, WantedKey
from ..journal.records import StoredAnswer
from ..queue.windows import ThrottledRequests, Window
from ..request import Request
from .claims import Claims
from .recovery import answer_of

if TYPE_CHECKING:
    from ..journal.shared_journal import SharedJournal


class JournalKey:
    """A key that a request has in the journal."""

    def __init__(self, journal: SharedJournal, key: bytes, on_let_go: Callable[[bytes], None]) -> None:
        self.key: bytes = key
        self._journal = journal
        self._on_let_go = on_let_go

    def let_go(self, *, is_used_up: bool) -> None:
        self._on_let_go(self.key)
        if is_used_up:
            self._journal.use_key_up(self.key)
        else:
            self._journal.release_key(self.key)


class KeyedRequests:
    """Looks such requests up.

    Args:
        claims: where they wait meanwhile.
        account_of: tells apart who pays.
        place: sends a request on its way.
        take_up: lets a request wait for a line that was claimed for it.
    """

    def __init__(
        self,
        journal: SharedJournal,
        claims: Claims,
        *,
        digest_of: Callable[[Request], bytes],
        account_of: Callable[[Request], bytes],
        place: Callable[[Request], object],
        take_up: Callable[[Request, Claimed], None],
    ) -> None:
        self._journal = journal
        self._claims = claims
        self._digest_of = digest_of
        self._account_of = account_of
        self._place = place
        self._take_up = take_up
        self._held: dict[bytes, Request] = {}

    async def look_up(self, requests: list[Request]) -> list[Request]:
        """See to those that have keys, and return the others."""
        keyed: dict[bytes, Request] = {}
        for request in requests:
            if request.key is not None:
                key = digest_of_parts(self._account_of(request), request.key)
                if keyed.setdefault(key, request) is not request:
                    self._claims.again(request, math.inf)
        if keyed:
            await self._look_up(keyed)
        return [request for request in requests if request.key is None]

    async def _look_up(self, keyed: dict[bytes, Request]) -> None:
        wanted = [WantedKey(key, self._digest_of(each), each.held_key is not None) for key, each in keyed.items()]
        try:
            found = await self._journal.claim_keys(wanted)
        except JournalError as error:
            error_for = outcomes.journal_error_for(error)
            for key, request in keyed.items():
                if key not in self._held:
                    self._journal.release_key(key)  # it may have been taken, and nobody heard of it
                if self._claims.remove(request):
                    request.settle(error_for(request, None))
            return
        for (key, request), outcome in zip(keyed.items(), found, strict=True):
            if isinstance(outcome, Held):
                self._claims.again(request, math.inf)
            elif self._claims.remove(request):
                self._meet(request, key, outcome)
            else:
                self._leave(key, outcome)

    def _meet(self, request: Request, key: bytes, outcome: KeyOutcome) -> None:
        if isinstance(outcome, Reused):
            request.settle(IdempotencyKeyReusedError())
            return
        if isinstance(outcome, StoredAnswer):
            answer = answer_of(outcome)
            request.custom_id = answer.custom_id
            request.settle(answer)
            return
        request.held_key = JournalKey(self._journal, key, self._forget)
        self._held[key] = request
        if isinstance(outcome, Claimed):
            self._take_up(request, outcome)
        else:
            self._place(request)

    def _forget(self, key: bytes) -> None:
        self._held.pop(key, None)

    def _leave(self, key: bytes, outcome: KeyOutcome) -> None:
        """The caller left while its request was looked up."""
        if isinstance(outcome, Claimed):
            self._journal.free(outcome.line)
        elif outcome is None:
            self._journal.release_key(key)

    async def make_sure(self) -> None:
        """After the session was lost: queued requests wait for the engines that have taken their keys meanwhile.

        Raises:
            JournalError: if the journal cannot be asked.
        """
        for key in await self._journal.lost_keys(list(self._held)) if self._held else ():
            request = self._held.get(key)
            if request is not None and isinstance(holder := request.holder, Window | ThrottledRequests):
                holder.withdraw(request)
                self._forget(key)
                request.held_key = None
                if (reservation := request.pop_reservation()) is not None:
                    reservation.release()
                self._claims.add(request)
