"""`Dispatcher`: decides on which lane each request goes, and takes it to the next one in time."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace

import anyio
from anyio.abc import TaskGroup

from ...upstream.realtime_api import RealtimeAPI
from .. import outcomes
from ..answer_room import AnswerRoom
from ..emitter import Emit
from ..failures import Failures
from ..fair_limiter import FairLimiter
from ..lanes.cutoff import BARGAIN_CHANCE, LEAST_CHANCE, cutoff, seconds_to_leave
from ..lanes.deadline import deadline_class
from ..lanes.durations import Durations
from ..lanes.kinds import Kind
from ..lanes.lane import Lane, Overrun, lanes_of, usable_lanes
from ..lanes.planner import Plan, least_seconds, plan
from ..lanes.terms import ORDINARY, Placement, Terms
from ..queue.queue import RequestQueue
from ..recovery.call_log import CallLog
from ..request import ErrorFor, Request
from ..settings import Settings
from ..spending import Spending
from .begun_batch import BegunBatch
from .crowd import Crowd
from .deadlines import Deadlines
from .escalations import Escalations
from .headcount import Headcount
from .lane_call import LaneCall
from .lane_calls import LaneCalls
from .lane_try import LaneTry
from .recent_crowds import RecentCrowds

PLACE_SECONDS = 1.0
"""How long after its window a batch may get its place."""


class Dispatcher:
    """All lanes of one engine.

    Args:
        queue: the way into batches.
        wake: called when a lane call is to be started, or a moment comes earlier.
        spending: books lane calls.
        log_for: makes the log of one.
    """

    def __init__(
        self,
        settings: Settings,
        api: RealtimeAPI,
        queue: RequestQueue,
        spending: Spending,
        emit: Emit,
        wake: Callable[[], None],
        log_for: Callable[[Request, Lane], CallLog],
    ) -> None:
        self.durations: Durations = Durations()
        self.answer_room: AnswerRoom = AnswerRoom(settings.max_answer_bytes, isolates=settings.isolate_accounts)
        self.failures: Failures = Failures(emit, settings.batch_metadata, on_first=wake)
        self._settings = settings
        self._queue = queue
        self._escalations = Escalations(settings, emit)
        self._wake = wake
        self._deadlines = Deadlines()
        limiter = FairLimiter(settings.lane_concurrency, isolates=settings.isolate_accounts)
        tries = LaneTry(api, self.durations, self.answer_room, spending)
        call = LaneCall(tries, limiter, leave=self._leave, on_moved=self._moved, log_for=log_for)
        self._calls = LaneCalls(call.run, wake, tries.left)
        self.crowd: Crowd = Crowd(settings, self._calls.counts)
        self._recent_crowds = RecentCrowds(
            lambda deadline: self.crowd.after_cutoffs(deadline, waiting=self._queue.hurried())
        )

    def __len__(self) -> int:
        """How many requests wait on the flex and real-time lanes."""
        return len(self._calls)

    # ---- admission ----

    def check(self, request: Request) -> None:
        """Set the terms of a request, and refuse it if no lane can answer it in time.

        Raises:
            DeadlineMissedError: its deadline is in the past, or sooner than the lanes need at best.
            UnbatchableRequestError: the provider has none of its lanes.
        """
        terms = request.terms = self._terms(request.terms.deadline)
        if terms.deadline is None:
            return
        least = least_seconds(terms.lanes, self.crowd.work([request]), self.durations, completion_window=self._window)
        if terms.deadline - anyio.current_time() < least:
            raise outcomes.hopeless_deadline_error(request, least)

    def place(self, request: Request) -> Lane:
        """Send a new request on its way, and return its first lane."""
        terms = request.terms
        if terms.deadline is None and terms.lanes[0] is Lane.BATCH:
            self._queue.add(request)
            return Lane.BATCH
        now, planned = anyio.current_time(), self._plan(request, terms.lanes)
        if planned.lane is Lane.REALTIME and terms.lanes[0] is Lane.BATCH:
            planned = self._bargain(request) or planned
        leave_by = now + planned.latest_start_seconds
        left = None if terms.deadline is None else terms.deadline - now
        request.placement = Placement(planned.completion_window, deadline_class(left), leave_by)
        self.watch(request)
        if left is not None:
            self._recent_crowds.came(request)
        if planned.lane is not Lane.BATCH:
            self._calls.add(request, planned.lane)
            return planned.lane
        self._queue.add(request)
        return Lane.BATCH

    def watch(self, request: Request) -> None:
        """See to the deadline of a request, wherever it waits."""
        if request.terms.deadline is None:
            return
        # If there is no place for its batch, all may have to go to the next lane. `look` counts how many really do.
        window_closes = anyio.current_time() + self._settings.batch_window_seconds
        crowd = Headcount({request.account: len(self._deadlines)})
        leaves_crowd = max(window_closes, self._leaves_queue(request, crowd))
        moments = (min(leaves_crowd, self._leaves_queue(request)), request.terms.given_up_at)
        news = [self._deadlines.add(moment, request) for moment in moments if moment < math.inf]
        if any(news):
            self._wake()

    def watch_all(self, requests: Iterable[Request]) -> None:
        """See to the deadlines of requests that came back: the moment to leave the queue may have passed meanwhile."""
        for request in requests:
            if not request.is_settled:
                self.watch(request)

    # ---- on the way ----

    def cutoff_of(self, requests: Sequence[Request], batch: BegunBatch) -> float:
        """When a batch in which these requests wait must be cancelled; infinite if it need not.

        One that would be given up is cancelled before that, since the next lane can answer its requests.
        """
        if not self._hurried(requests):
            return math.inf
        leaving = min(seconds_to_leave(batch.kind, self.crowd.work(requests), self.durations), batch.most_seconds / 2)
        given_up = batch.started_at + batch.most_seconds - leaving
        moment = self._moment(requests, kind=batch.kind, started_at=batch.started_at)
        if self.durations.chance(batch.kind, moment - batch.started_at) < LEAST_CHANCE:  # a bargain, and others may be
            crowd = self.crowd.after_cutoffs(batch.deadline, but=batch)
            moment = min(moment, self._moment(requests, kind=batch.kind, started_at=batch.started_at, crowd=crowd))
        return min(given_up, moment)

    def latest_start(self, requests: Sequence[Request], crowd: Headcount | None = None) -> float:
        """When these requests must be on the next lane at the latest; infinite if there is none.

        Args:
            crowd: how many of each account come there before; None for those that are there.
        """
        return self._moment(requests, kind=None, started_at=-math.inf, crowd=crowd)

    def ended(self, batch: BegunBatch, *, is_done: bool) -> None:
        """Learn how long a batch took; if it is not done, how long it had taken when it was cut off."""
        self.durations.record(batch.kind, anyio.current_time() - batch.started_at, is_done=is_done)

    def cancelled(self, batch: BegunBatch, seconds: float) -> None:
        """Learn how long a batch took to end after it was cancelled."""
        self.durations.cancellations.record(batch.kind.provider, seconds)

    def _moment(
        self,
        requests: Sequence[Request],
        *,
        kind: Kind | None,
        started_at: float,
        crowd: Headcount | None = None,
    ) -> float:
        hurried = self._hurried(requests)
        if not hurried:
            return math.inf
        first = min(hurried, key=_deadline_of)
        next_lanes, work = self._lanes_after(first, Lane.BATCH), self.crowd.work(hurried, crowd)
        kind = work.call_kind(next_lanes[0]) if kind is None else kind
        moment = cutoff(_deadline_of(first), next_lanes, work, self.durations, kind=kind, started_at=started_at)
        return math.inf if moment is None else moment

    def has_next_lane(self, request: Request) -> bool:
        """Whether a request in a batch has a deadline, and another lane for it."""
        return bool(self._lanes_after(request, Lane.BATCH))

    def may_still_go_on(self, request: Request) -> bool:
        """Whether that lane may answer it in time, once it is known that its line was not executed."""
        return self.has_next_lane(request) and _deadline_of(request) > anyio.current_time()

    def send_on(
        self,
        requests: Sequence[Request],
        key: Hashable,
        *,
        reason: str,
        batch_id: str | None = None,
        paid_twice: bool = False,
    ) -> int:
        """Send requests that a batch did not answer to the next lane, and those that have none into a new batch.

        Returns how many went into a new batch.
        """
        patient = [request for request in requests if not self.has_next_lane(request)]
        if patient:
            self._queue.put_back(patient, key)
        groups: defaultdict[Lane, list[Request]] = defaultdict(list)
        hurried = len(requests) - len(patient)
        for request in requests:
            request.may_have_been_billed |= paid_twice
            request.was_repeated |= paid_twice
            if lanes := self._lanes_after(request, Lane.BATCH):
                lane = self._plan(request, lanes, lines=hurried).lane
                groups[lane].append(request)
                self._calls.add(request, lane)
        for lane, group in groups.items():
            self._escalations.tell(group, Lane.BATCH, lane, reason, batch_id=batch_id, paid_twice=paid_twice)
        return len(patient)

    def look(self) -> None:
        """Give up what is past its deadline, take out of the queue what cannot wait there, and tell of failures."""
        self.failures.look()
        now = anyio.current_time()
        due = self._deadlines.due(now)
        for request in due:
            if request.terms.given_up_at <= now:
                request.give_up(outcomes.missed_deadline_error)
        late: defaultdict[Hashable, list[Request]] = defaultdict(list)
        waiting = self._queue.hurried() if due else []
        for request, crowd in self.crowd.before_each(filter(self._queue.holds, due), waiting):
            if (moment := self._leaves_queue(request, crowd)) > now:
                self._deadlines.add(moment, request)  # others have left
                continue
            assert request.holder is not None
            request.holder.withdraw(request)
            request.holder = None
            late[request.account, request.endpoint].append(request)
        for requests in late.values():
            self.send_on(requests, None, reason="their batch could not start in time")

    def next_moment(self) -> float:
        """When to `look` next."""
        return min(self._deadlines.next(), self.failures.due)

    def start(self, nursery: TaskGroup) -> None:
        """Start the tasks of new lane calls."""
        self._calls.start(nursery)

    def fail_all(self, error_for: ErrorFor) -> None:
        """Settle each request on the flex and real-time lanes with its own error."""
        self._calls.fail_all(error_for)
        self.failures.tell()

    # ---- inside ----

    def _terms(self, deadline: float | None) -> Terms:
        settings = self._settings
        if settings.deadline is not None:
            of_settings = anyio.current_time() + float(settings.deadline)
            deadline = of_settings if deadline is None else min(deadline, of_settings)
        if deadline is None and settings.lanes is None:
            return ORDINARY
        return Terms(
            lanes_of(settings.lanes, has_deadline=deadline is not None),
            deadline,
            Overrun(settings.on_overrun),
            waits_on=settings.on_missed == "wait",
        )

    @property
    def _window(self) -> str | None:
        return self._settings.explicit_completion_window

    def _plan(self, request: Request, lanes: Sequence[Lane], *, lines: int = 1) -> Plan:
        """How a request starts that may take these lanes, together with so many others."""
        deadline = request.terms.deadline
        left = None if deadline is None else max(0.0, deadline - anyio.current_time())
        work = replace(self.crowd.work([request]), lines=lines)
        return plan(left, lanes, work, self.durations, completion_window=self._window)

    def _bargain(self, request: Request) -> Plan | None:
        """A batch that may well be too slow, if a dearer lane can keep the deadline even after that; else None."""
        deadline = _deadline_of(request)
        crowd = self._recent_crowds.of(deadline, anyio.current_time())
        planned = plan(
            deadline - anyio.current_time(),
            request.terms.lanes,
            self.crowd.work([request], crowd),
            self.durations,
            completion_window=self._window,
            least_chance=BARGAIN_CHANCE,
        )
        return planned if planned.lane is Lane.BATCH and planned.is_safe else None

    def _hurried(self, requests: Sequence[Request]) -> list[Request]:
        """Those of the requests in a batch that have a next lane."""
        return [request for request in requests if self.has_next_lane(request)]

    def _lanes_after(self, request: Request, lane: Lane) -> tuple[Lane, ...]:
        """The lanes that a hurried request may take after that one."""
        return () if request.terms.deadline is None else _later_lanes(request, lane)

    def _leaves_queue(self, request: Request, crowd: Headcount | None = None) -> float:
        """When it goes to the next lane if no batch took it: it would be too late; infinite: never."""
        latest = self.latest_start([request], crowd)
        return min(latest, request.placement.leave_by + PLACE_SECONDS) if latest < math.inf else latest

    def _leave(self, request: Request, lane: Lane) -> tuple[Lane, float] | None:
        """The next lane after that one, and when the request goes there (infinite: never); None if there is none."""
        next_lanes = _later_lanes(request, lane)
        if not next_lanes:
            return None
        if request.terms.deadline is None:
            return next_lanes[0], math.inf
        work = self.crowd.work([request])
        moment = cutoff(
            request.terms.deadline,
            next_lanes,
            work,
            self.durations,
            kind=work.call_kind(lane),
            started_at=-math.inf,
        )
        return next_lanes[0], math.inf if moment is None else moment

    def _moved(
        self, request: Request, from_lane: Lane, to_lane: Lane, reason: str, *, paid_twice: bool = False
    ) -> None:
        self._escalations.tell([request], from_lane, to_lane, reason, paid_twice=paid_twice)


def _later_lanes(request: Request, lane: Lane) -> tuple[Lane, ...]:
    """The lanes that a request may take after that one."""
    lanes = request.terms.lanes
    later = lanes[lanes.index(lane) + 1 :] if lane in lanes else ()
    return usable_lanes(later, request.account.provider, request.endpoint)


def _deadline_of(request: Request) -> float:
    return math.inf if request.terms.deadline is None else request.terms.deadline
