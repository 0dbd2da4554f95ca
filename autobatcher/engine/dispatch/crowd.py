"""Who is in front of requests on the flex and real-time lanes, and how much work that makes of them. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence, Sized
from math import inf
from typing import NamedTuple
from weakref import WeakSet

from ...upstream.account import Account
from ..lanes.work import Work
from ..queue.windows import HurriedGroup
from ..request import Request
from ..settings import Settings
from .begun_batch import BegunBatch
from .headcount import Headcount

TOGETHER_SECONDS = 900.0
"""How far deadlines lie apart for which batches are cut off together: a cancellation, the harvest, and some calls."""


class Crowd:
    """The crowd on these lanes.

    Args:
        calls: how many calls of each account are there, whether they run or wait.
    """

    def __init__(self, settings: Settings, calls: Headcount) -> None:
        self._settings = settings
        self._calls = calls
        self._batches: WeakSet[BegunBatch] = WeakSet()

    def begun(
        self,
        requests: Sequence[Request],
        window: str,
        *,
        started_at: float,
        most_seconds: float,
        open_lines: Sized,
    ) -> BegunBatch | None:
        """Count with a batch of these requests as long as anybody refers to it. None if there are none.

        Args:
            window: its completion window.
            started_at: when it began, on the event loop's clock.
            most_seconds: after how long it is given up.
            open_lines: its length is how many lines have no answer yet.
        """
        if not requests:
            return None
        batch = BegunBatch(
            kind=self.work(requests).batch_kind(window),
            account=requests[0].account,
            started_at=started_at,
            most_seconds=most_seconds,
            deadline=min(request.terms.deadline or inf for request in requests),
            open_lines=open_lines,
        )
        self._batches.add(batch)
        return batch

    def before_each(
        self, requests: Iterable[Request], waiting: Iterable[HurriedGroup]
    ) -> Iterator[tuple[Request, Headcount]]:
        """Yield requests of the queue, the most urgent first, each with those that go to the next lane before it: those
        that are there, and those in the queue whose deadline comes no later. Who leaves it meanwhile counts no more.

        Args:
            waiting: what is in the queue.
        """
        crowd, later = self._calls.copy(), deque(sorted(waiting, key=lambda group: group.deadline))
        for request in sorted(requests, key=_deadline_of):
            while later and later[0].deadline <= _deadline_of(request):
                group = later.popleft()
                crowd.add(group.account, group.size)
            crowd.add(request.account, -1)  # the request itself
            yield request, crowd
            if request.holder is not None:
                crowd.add(request.account)

    def after_cutoffs(
        self, deadline: float, *, but: BegunBatch | None = None, waiting: Iterable[HurriedGroup] = ()
    ) -> Headcount:
        """How many of each account may come to the next lane when batches are cut off for this deadline: all that are
        under way, since batches that are slow are often slow together.

        Args:
            but: the batch that is asked about.
            waiting: what is in the queue.
        """
        crowd, until = self._calls.copy(), deadline + TOGETHER_SECONDS
        for batch in self._batches:
            if batch is not but and batch.deadline <= until:
                crowd.add(batch.account, len(batch.open_lines))
        for group in waiting:
            if group.deadline <= until:
                crowd.add(group.account, group.size)
        return crowd

    def work(self, requests: Sequence[Request], crowd: Headcount | None = None) -> Work:
        """What these requests of one account, at least one, are to the planner.

        Args:
            crowd: how many of each account are in front; None for the calls that are there.
        """
        first, settings = requests[0], self._settings
        place = place_behind(
            self._calls if crowd is None else crowd,
            first.account,
            len(requests),
            running=self._calls,
            concurrency=settings.lane_concurrency,
            isolates=settings.isolate_accounts,
        )
        return Work(
            profile=first.account.provider,
            endpoint=first.endpoint,
            model=first.model,
            lines=len(requests),
            lane_concurrency=place.concurrency,
            ahead=place.ahead,
        )


class Place(NamedTuple):
    """A place in the crowd.

    Attributes:
        ahead: how many others begin before.
        concurrency: how many calls are made at once in that turn.
    """

    ahead: int
    concurrency: int


def place_behind(
    crowd: Headcount,
    account: Account,
    lines: int,
    *,
    running: Headcount,
    concurrency: int,
    isolates: bool,
) -> Place:
    """The place of so many lines of an account.

    Accounts take turns (`FairLimiter`). If they belong to strangers, each of n gets no more than one part in n + 1 of
    the room (`Shares`), and does not wait for the others.

    Args:
        crowd: how many requests of each account are in front.
        running: how many calls of each are there. As many as there is room for run already.
        concurrency: how many calls are made at once.
        isolates: whether the accounts belong to strangers.
    """
    own = crowd.of(account)
    if isolates:
        share = max(1, concurrency // (crowd.others(account) + 2))
        return Place(max(0, own - min(running.of(account), share)), share)
    before = crowd.in_turn(account, own + lines)
    return Place(max(0, before - min(running.total, concurrency)), concurrency)


def _deadline_of(request: Request) -> float:
    return inf if request.terms.deadline is None else request.terms.deadline
