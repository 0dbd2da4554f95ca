"""Delivers the answers that other engines have read."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ...errors import JournalError
from ..journal import UnclaimedLine
from ..journal.postgres.shared import Failed, RemoteOutcome, Unread, Waiting
from ..journal.records import StoredAnswer
from ..request import Request
from . import line_failures
from .recovery import READ_AT_ONCE, answer_of
from .remote_lines import RemoteLines

if TYPE_CHECKING:
    from ..journal.shared_journal import SharedJournal

logger: logging.Logger = logging.getLogger("autobatcher")

NEWS_SECONDS = 10.0
"""How often answers of other engines are looked for without news of them."""


class RemoteAnswers:
    """Settles the requests that wait in `waiting`.

    Args:
        look_up: a request whose line is gone is looked up again, like a new one.
        give_back: receives a request whose caller did not get the answer, with its line.
        read_again: runs batches that have ended, by idempotency key, whose answers are only upstream.
    """

    def __init__(
        self,
        journal: SharedJournal,
        waiting: RemoteLines,
        *,
        look_up: Callable[[Request], None],
        give_back: Callable[[Request, UnclaimedLine], None],
        read_again: Callable[[set[str]], Awaitable[None]],
    ) -> None:
        self._journal = journal
        self._waiting = waiting
        self._look_up = look_up
        self._give_back = give_back
        self._read_again = read_again

    async def run(self) -> None:
        """Deliver answers, until cancelled."""
        while True:
            waiting = await self._waiting.with_news(NEWS_SECONDS)
            for first in range(0, len(waiting), READ_AT_ONCE):
                await self._look_at(waiting[first : first + READ_AT_ONCE])

    async def _look_at(self, waiting: list[tuple[Request, UnclaimedLine]]) -> None:
        try:
            # Each time anew: lines are ours after it, and those of callers who left meanwhile must stay free.
            found = await self._journal.outcomes(
                lambda: [line for request, line in waiting if request in self._waiting]
            )
            await self._read_again({key for (key, _), each in found.items() if isinstance(each, Unread)})
        except JournalError as error:
            logger.warning("autobatcher: %s Answers that other engines have read wait for it.", error.message)
            return
        for request, line in waiting:
            outcome = found.get((line.idempotency_key, line.number), Waiting())
            if not isinstance(outcome, Waiting | Unread) and self._waiting.remove(request):
                self._settle(request, line, outcome)

    def _settle(self, request: Request, line: UnclaimedLine, outcome: RemoteOutcome) -> None:
        match outcome:
            case StoredAnswer():
                request.custom_id = line.custom_id
                request.on_undelivered = lambda request: self._give_back(request, line)
                request.settle(answer_of(outcome))
            case Failed():
                request.custom_id = line.custom_id
                request.settle(line_failures.decoded(outcome.ending).error(line.custom_id))
            case _:  # the line is gone, or was claimed while our session was lost
                self._look_up(request)
