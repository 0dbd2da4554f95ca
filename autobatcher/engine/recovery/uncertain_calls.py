"""Requests that equal a call on another lane that may have been billed, and has no answer: its process died, or its
caller left, while it ran."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from ... import events
from .. import outcomes
from ..emitter import Emit
from ..journal import UnclaimedLine
from ..lanes.lane import Lane, Overrun
from ..request import Request
from ..settings import Settings
from ..spending import Spending
from .call_log import KeepLine

if TYPE_CHECKING:
    from ..journal.journal import Journal  # imported at run time only if used: some Pythons lack sqlite3

logger: logging.Logger = logging.getLogger("autobatcher")


class UncertainCalls:
    """Tells each such call once: to the next caller who asks the same, who gets an error or pays again, as agreed.

    Args:
        spending: books those that nobody has booked, because their process died.
        place: sends a request on its way, and returns its first lane.
        give_back: makes a line claimable again, because the error did not reach the caller.
    """

    def __init__(
        self,
        journal: Journal,
        settings: Settings,
        spending: Spending,
        *,
        place: Callable[[Request], Lane],
        give_back: KeepLine,
        emit: Emit,
    ) -> None:
        self._journal = journal
        self._spending = spending
        self._settings = settings
        self._place = place
        self._give_back = give_back
        self._emit = emit

    def meet(self, found: list[tuple[Request, UnclaimedLine]]) -> None:
        """Settle these requests, or send those again whose callers would rather pay twice."""
        told: Counter[str] = Counter()
        for request, line in found:
            self._book(request, line)
            if request.terms.overrun is Overrun.PAY_TWICE:
                self._pay_twice(request, line)
            else:
                told[line.lane] += 1
                self._tell(request, line)
        for lane, count in told.items():
            logger.warning(
                "autobatcher: calls on the %s lane that may have been billed, and have no answer: %d. Their process "
                "ended, or their callers left, while they ran. Those who ask the same now got an error that says so.",
                lane,
                count,
            )

    def _book(self, request: Request, line: UnclaimedLine) -> None:
        if not line.is_paid:
            charge = self._spending.book_earlier_call(request, line.lane, line.idempotency_key)
            self._journal.charge(line.idempotency_key, charge)
            self._journal.booked_call(line.idempotency_key)
            line.is_paid = True

    def _tell(self, request: Request, line: UnclaimedLine) -> None:
        self._journal.told_uncertain(line)
        request.custom_id, request.on_undelivered = line.custom_id, lambda request: self._give_back(request, line)
        request.settle(outcomes.earlier_call_error(line.lane, line.custom_id))

    def _pay_twice(self, request: Request, line: UnclaimedLine) -> None:
        self._journal.forget(line.idempotency_key)
        request.was_repeated = True
        lane = self._place(request)
        self._emit(
            events.RequestsEscalated,
            batch_id=None,
            endpoint=request.endpoint,
            request_count=1,
            models=[request.model],
            metadata=dict(self._settings.batch_metadata),
            from_lane=line.lane,
            to_lane=lane.value,
            reason="an equal call was cut off, and nobody knows whether it was executed",
            paid_twice=True,
        )
