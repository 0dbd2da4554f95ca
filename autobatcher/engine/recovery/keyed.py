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
from ..request import Request
from .claims import Claims
from .recovery import answer_of

if TYPE_CHECKING:
    from ..journal.shared_journal import SharedJournal


class JournalKey:
    """A key that a request has in the journal."""

    def __init__(self, journal: SharedJournal, key: bytes) -> None:
        self.key: bytes = key
        self._journal = journal

    def let_go(self) -> None:
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
        request.held_key = JournalKey(self._journal, key)
        if isinstance(outcome, Claimed):
            self._take_up(request, outcome)
        else:
            self._place(request)

    def _leave(self, key: bytes, outcome: KeyOutcome) -> None:
        """The caller left while its request was looked up."""
        if isinstance(outcome, Claimed):
            self._journal.free(outcome.line)
        elif outcome is None:
            self._journal.release_key(key)
