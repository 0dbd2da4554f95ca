"""What answers were booked as, remembered for those who ask later what one of them cost."""

from __future__ import annotations

from collections import OrderedDict

from ..money.ledger import Ledger, Sort, bracket_of
from ..money.price_list import BATCH
from ..money.usage import Usage, name_in, usage_of
from .request import Answer

MAX_REMEMBERED = 20_000
"""How many answers are remembered that did not come from a batch of the usual completion window."""


class BookedSorts:
    """The sorts of answers.

    Args:
        usual_window: the completion window of most batches, whose answers need not be remembered.
    """

    def __init__(self, usual_window: str) -> None:
        self._usual_window = usual_window
        self._unusual: OrderedDict[str, Sort] = OrderedDict()  # by ids of answers and of requests

    def remember(self, sort: Sort, answer: Answer) -> None:
        """Remember what an answer was booked as, unless it is the usual."""
        if sort.lane == BATCH and sort.completion_window == self._usual_window:
            return
        for key in (answer.request_id, name_in(answer.body).id):
            if key:
                self._unusual[key] = sort
        while len(self._unusual) > MAX_REMEMBERED:
            self._unusual.popitem(last=False)

    def of_request(self, request_id: str | None) -> Sort | None:
        """What the answer with this id of its request was booked as; None if it is the usual."""
        return self._unusual.get(request_id or "")

    def of_body(self, body: bytes, request_id: str | None, ledger: Ledger) -> tuple[Sort, Usage] | None:
        """What an answer was most likely booked as, with its tokens; None if nothing like it was booked.

        Args:
            body: of the answer.
            ledger: what was booked.
        """
        name, usage = name_in(body), usage_of(body)
        sort = self.of_request(request_id) or self._unusual.get(name.id) or self._usual(name.model, ledger)
        return None if sort is None or usage is None else (sort._replace(bracket=bracket_of(usage)), usage)

    def _usual(self, named: str, ledger: Ledger) -> Sort | None:
        sorts = [sort for sort in ledger.sorts_of(named) if sort.lane == BATCH]
        window = self._usual_window
        return max(sorts, key=lambda sort: (len(sort.model), sort.completion_window == window), default=None)
