"""What each of the newest batches was billed. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from .ledger import Charge, Entry, Ledger, Sort

MOST_BATCHES = 1_000
"""How many batches are told apart, more than run at once. The first ones are forgotten first. A kilobyte each."""

MOST_SORTS_OF_ONE = 50
"""How many sorts of one batch are told apart: callers choose the names of models."""


class BatchLedgers:
    """A ledger for each batch."""

    def __init__(self) -> None:
        self._by_id: OrderedDict[str, Ledger] = OrderedDict()

    def add(self, charge: Charge) -> None:
        """Add executions of a batch; those on other lanes are ignored."""
        if not charge.batch_id:
            return
        ledger = self._by_id.get(charge.batch_id)
        if ledger is None:
            ledger = self._by_id[charge.batch_id] = Ledger(most_sorts=MOST_SORTS_OF_ONE)
            if len(self._by_id) > MOST_BATCHES:
                self._by_id.popitem(last=False)
        ledger.add(charge.sort, charge.usage, requests=charge.requests)

    def snapshot(self, batch_ids: Iterable[str]) -> dict[str, tuple[tuple[Sort, Entry], ...]]:
        """What these batches were billed by now, those that were billed. Later executions do not change it."""
        return {each: self._by_id[each].snapshot() for each in batch_ids if each in self._by_id}
