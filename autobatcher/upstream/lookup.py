"""A search for one batch in the upstream's list, page by page. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .batch_state import BatchState
from .failures import UpstreamError

IDEMPOTENCY_METADATA_KEY = "autobatcher_stamp"
"""The metadata key under which a batch carries its idempotency key. (Named when that was called a stamp.)"""

LOOKUP_PAGES = 50
"""So many pages are searched. Servers list the newest batch first; if ours is not among these, nobody can tell whether
it exists."""

FIRST_PAGE_SIZE, LARGEST_PAGE_SIZE = 20, 100
"""How many batches are on the first page, and on the fourth and later ones. Most are found on the first, and
connections may die; more than 100 no server lists at once."""

CLOCK_SECONDS = 86_400.0
"""Batches that are older than ours by a day are not ours, whatever our clock has done since we asked for it."""


def page_size(number: int) -> int:
    """How many batches to ask for on that page, from 0."""
    return min(FIRST_PAGE_SIZE << min(number, 3), LARGEST_PAGE_SIZE)


@dataclass
class Lookup:
    """The search, which can go on after a failure.

    Attributes:
        age_seconds: how long ago its creation was first asked for.
        page, after: the page that comes next, and its cursor.
        newest: when the newest batch of all was created, by the server's clock.
    """

    idempotency_key: str
    input_file_id: str
    age_seconds: float = 0.0
    page: int = 0
    after: str | None = None
    newest: float | None = None

    def find_in(self, states: Sequence[BatchState]) -> BatchState | None:
        """The batch, if it is among these."""
        return next((state for state in states if self._matches(state)), None)

    def _matches(self, state: BatchState) -> bool:
        key = state.metadata.get(IDEMPOTENCY_METADATA_KEY)
        return key == self.idempotency_key or state.input_file_id == self.input_file_id

    def goes_on(self, states: Sequence[BatchState], after: str | None) -> bool:
        """Go to the next page. False if there is none, or if what follows was created before the batch can have been.

        Raises:
            UpstreamError: if there are too many pages, or the same one comes again. The search begins again then.
        """
        if after is None or self._are_too_old(states):
            return False
        if after == self.after or self.page + 1 >= LOOKUP_PAGES:
            self.restart()
            reason = f"has more than {LOOKUP_PAGES} pages, or the same page again and again"
            raise UpstreamError(f"GET /batches {reason}", is_permanent=True)
        self.page, self.after = self.page + 1, after
        return True

    def _are_too_old(self, states: Sequence[BatchState]) -> bool:
        """Both times are the server's: the newest batch is no newer than now."""
        times = [state.created_at for state in states if state.created_at is not None]
        if not times or len(times) < len(states):
            return False
        if self.newest is None:
            self.newest = max(times)
        return max(times) < self.newest - self.age_seconds - CLOCK_SECONDS

    def restart(self) -> None:
        """Begin again at the first page."""
        self.page, self.after, self.newest = 0, None, None
