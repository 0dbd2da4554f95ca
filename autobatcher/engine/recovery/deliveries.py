"""Answers that are safe elsewhere, so that the journal need not keep them. Synchronous."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..journal import UnclaimedLine
from ..journal.records import line_of
from ..request import Request
from .unclaimed import UnclaimedLines

if TYPE_CHECKING:
    from ..journal.journal import Journal  # imported at run time only if used: some Pythons lack sqlite3


class Deliveries:
    """Forgets what was delivered, in this process or in one that died before it could say so."""

    def __init__(
        self, journal: Journal, unclaimed_lines: UnclaimedLines, lines_by_batch: dict[str, list[UnclaimedLine]]
    ) -> None:
        self._journal = journal
        self._unclaimed_lines = unclaimed_lines
        self._lines_by_batch = lines_by_batch

    def delivered(self, requests: Iterable[Request]) -> None:
        """Forget the answers to these requests."""
        kept = [request for request in requests if request.on_undelivered is not None]
        for request in kept:
            request.on_undelivered = None
        self._journal.delivered([line_of(request.custom_id) for request in kept])

    def unclaimed(self) -> dict[str, UnclaimedLine]:
        """The lines of earlier batches that nobody has claimed, by custom_id."""
        return {line.custom_id: line for line in self._unclaimed_lines}

    def forget(self, lines: Iterable[UnclaimedLine]) -> None:
        """Forget unclaimed lines. Before any request claims one."""
        gone = list(lines)
        for line in gone:
            line.is_gone = True
        for key in {line.idempotency_key for line in gone} & self._lines_by_batch.keys():
            self._lines_by_batch[key] = [line for line in self._lines_by_batch[key] if not line.is_gone]
        self._journal.delivered([(line.idempotency_key, line.number) for line in gone])
