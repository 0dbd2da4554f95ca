"""One look at many batches: those of an account that are polled at about the same time share a list of its newest.

A list saves polls, and is believed no further. Only a batch itself says that it has ended, and a list that fails, lags,
or shows less than a batch itself does is not asked for a while.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from weakref import WeakValueDictionary

import anyio

from ...upstream.account import Account
from ...upstream.batch_api import BatchAPI
from ...upstream.batch_state import BatchState
from ...upstream.failures import UpstreamError
from ..fair_limiter import FairLimiter
from .upstream import UpstreamBatch

LISTED_FROM = 3
"""So many batches of an account share a list. Fewer polls than that are less work for everybody."""

LEAST_FOUND = 2
"""A page that shows fewer of ours saves nothing, and those after it show older batches."""

LIST_SECONDS = 5.0
"""How long a page of the list may take."""

MAX_USELESS, PAUSE_SECONDS = 3, 1_800.0
"""After so many useless lists in a row, none is asked for during this time."""

FIRST_CHECK_INTERVALS, MAX_CHECK_SECONDS = 6.0, 300.0
"""When a batch itself is asked although the list shows that it runs: first after so many poll intervals, then after
twice as long each time, up to so many seconds. Where a list has shown ends in time, after these at once."""

MAX_ENDED = 100
"""So many batches that have ended are looked for in the next list, which must not say that they run."""


class Listings:
    """The lists of all accounts of one engine.

    Args:
        polls: a list takes one turn, as a poll does.
        on_ended: called once with the id of each batch that a list shows to have ended, so that it is polled.
    """

    def __init__(self, api: BatchAPI, polls: FairLimiter, on_ended: Callable[[str], object]) -> None:
        self._api = api
        self._polls = polls
        self._on_ended = on_ended
        self._listings: WeakValueDictionary[Account, Listing] = WeakValueDictionary()  # while they have batches

    @contextmanager
    def watching(self, account: Account, batch: UpstreamBatch, interval: float) -> Iterator[ListedBatch]:
        """A block in which a batch that exists is polled: it counts among those that share a list.

        Args:
            interval: the poll interval, in seconds.
        """
        listing = self._listings.get(account)
        if listing is None:
            listing = self._listings[account] = Listing(self._api, self._polls, account, self._on_ended)
        with listing.watching(batch):
            yield ListedBatch(listing, batch, interval)


class Listing:
    """The list of one account, as last seen. Of what it shows, only batches that are watched are kept.

    Attributes:
        is_proven: whether it was the first to show the end of a batch, and was right, also since then.
    """

    def __init__(self, api: BatchAPI, polls: FairLimiter, account: Account, on_ended: Callable[[str], object]) -> None:
        self.is_proven: bool = False
        self._api = api
        self._polls = polls
        self._account = account
        self._on_ended = on_ended
        self._began = anyio.current_time()
        self._watched: dict[str, UpstreamBatch] = {}
        self._ended: dict[str, None] = {}
        self._states: dict[str, BatchState] = {}
        self._shown_ended: set[str] = set()
        self._is_contradicted = False
        self._asked_at = -math.inf
        self._answered: anyio.Event | None = None  # set when the list that is under way is there
        self._useless = 0
        self._paused_until = -math.inf

    @property
    def is_shared(self) -> bool:
        """Whether polls should be made when others are, by a list."""
        return (
            self._account.provider.lists_full_states
            and len(self._watched) >= LISTED_FROM
            and anyio.current_time() >= self._paused_until
        )

    @property
    def age_seconds(self) -> float:
        """The clock by which batches are polled at the same time."""
        return anyio.current_time() - self._began

    @contextmanager
    def watching(self, batch: UpstreamBatch) -> Iterator[None]:
        """See `Listings.watching`."""
        assert batch.state is not None
        batch_id = batch.state.id
        self._watched[batch_id] = batch
        try:
            yield
        finally:
            if self._watched.get(batch_id) is batch:
                del self._watched[batch_id]
            self._states.pop(batch_id, None)
            if batch.state.is_terminal and self._watched:
                self._ended[batch_id] = None
            if len(self._ended) > MAX_ENDED:
                del self._ended[next(iter(self._ended))]

    async def running_state(self, batch_id: str, most_age: float) -> BatchState | None:
        """The state of a batch that runs; None if the batch itself must be asked.

        Args:
            most_age: how long ago the list may have been asked for, in seconds.

        Cancelled: a list that others wait for is asked for by one of them.
        """
        not_before = anyio.current_time() - most_age
        while self.is_shared and self._asked_at < not_before:
            if self._answered is not None:
                await self._answered.wait()
            else:
                await self._ask()
        return self._states.get(batch_id) if self._asked_at >= not_before else None

    def compare(self, state: BatchState) -> None:
        """Hear what a batch itself says, which the list may have shown to have ended."""
        if state.id in self._shown_ended:
            self.is_proven = state.is_terminal
            self._is_contradicted |= not state.is_terminal

    async def _ask(self) -> None:
        asked_at, self._answered = anyio.current_time(), anyio.Event()
        try:
            self._take(await self._newest(), asked_at)
        finally:
            self._answered.set()
            self._answered = None

    async def _newest(self) -> dict[str, BatchState]:
        """What the list shows of our batches, page by page while that takes fewer calls than polls would."""
        listed: dict[str, BatchState] = {}
        missing, after = set(self._watched), None
        async with self._polls.turn(self._account):
            while True:
                states, after = await self._page(after)
                found = missing.intersection(state.id for state in states)
                missing -= found
                listed |= {state.id: state for state in states if state.id in found or state.id in self._ended}
                if after is None or min(len(found), len(missing)) < LEAST_FOUND:
                    return listed

    async def _page(self, after: str | None) -> tuple[list[BatchState], str | None]:
        """One page, and what the next one begins after; nothing if it fails or takes long."""
        with anyio.move_on_after(LIST_SECONDS), suppress(UpstreamError):
            return await self._api.newest_batches(self._account, after)
        return [], None

    def _take(self, listed: dict[str, BatchState], asked_at: float) -> None:
        self._asked_at = asked_at
        ended = {batch_id for batch_id in self._watched if batch_id in listed and listed[batch_id].is_terminal}
        self._states = {
            batch_id: listed[batch_id]
            for batch_id, batch in self._watched.items()
            if batch_id in listed and tells_as_much(listed[batch_id], batch.state)
        }
        late = [batch_id for batch_id in self._ended if batch_id in listed and not listed[batch_id].is_terminal]
        self._count(is_useful=len(ended) + len(self._states) >= LEAST_FOUND and not late and not self._is_contradicted)
        news = ended - self._shown_ended
        self._ended, self._shown_ended, self._is_contradicted = dict.fromkeys(late), ended, False
        for batch_id in news:
            self._on_ended(batch_id)

    def _count(self, *, is_useful: bool) -> None:
        self._useless = 0 if is_useful else self._useless + 1
        self.is_proven = self.is_proven and is_useful
        if self._useless >= MAX_USELESS:
            self._useless, self._paused_until = 0, anyio.current_time() + PAUSE_SECONDS


class ListedBatch:
    """One batch that is watched, and what the list of its account shows of it."""

    def __init__(self, listing: Listing, batch: UpstreamBatch, interval: float) -> None:
        self._listing = listing
        self._batch = batch
        self._most_age = interval / 2
        self._check_seconds = interval * FIRST_CHECK_INTERVALS
        self._checked_at = anyio.current_time()

    @property
    def clock(self) -> float | None:
        """The time by which batches are polled together; None if each is polled for itself."""
        return self._listing.age_seconds if self._listing.is_shared else None

    async def running_state(self) -> BatchState | None:
        """What a list says of the batch, at most half a poll interval ago. None if the batch itself must be asked: it
        may have ended, or the list is of no use, or was believed for long enough.

        Cancelled: a list that others wait for is asked for by one of them.
        """
        trust = max(self._check_seconds, MAX_CHECK_SECONDS if self._listing.is_proven else 0.0)
        if anyio.current_time() >= self._checked_at + trust or self._batch.state is None:
            return None
        return await self._listing.running_state(self._batch.state.id, self._most_age)

    def checked(self, state: BatchState) -> None:
        """The batch itself was asked, and this is its state."""
        self._listing.compare(state)
        self._checked_at = anyio.current_time()
        self._check_seconds = max(self._check_seconds, min(2 * self._check_seconds, MAX_CHECK_SECONDS))


def tells_as_much(listed: BatchState, known: BatchState | None) -> bool:
    """Whether a list shows a batch that runs, and as much of it as was known before."""
    if listed.is_terminal or listed.status == "unknown":
        return False
    if known is None:
        return True
    files = (listed.output_file_id or not known.output_file_id) and (listed.error_file_id or not known.error_file_id)
    return bool(files) and _done(listed) >= _done(known)


def _done(state: BatchState) -> int:
    """How many lines are done; less than none if the state does not say."""
    return -1 if state.counts is None else state.counts.completed + state.counts.failed
