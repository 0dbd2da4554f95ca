"""One request on the flex or the real-time lane: a call, with retries of our own."""

from __future__ import annotations

import math
from collections.abc import Callable

import anyio

from ...errors import BatchError, JournalError
from ...upstream.back_off import back_off, retry_delay
from ...upstream.failures import UpstreamError
from ...upstream.http import PATIENCE_SECONDS
from ...upstream.patience import Patience
from ...upstream.realtime_api import RealtimeAnswer, RealtimeAPI, was_executed
from .. import outcomes
from ..fair_limiter import FairLimiter
from ..lanes.durations import Durations
from ..lanes.kinds import CallKind
from ..lanes.lane import Lane, Overrun
from ..recovery.batch_log import BatchLog
from ..request import Answer, Request

FLEX_TIER = "flex"


class LaneCall:
    """Makes the calls of one engine.

    A call that certainly was not executed is repeated, with back-off: until its lane must be left, or the upstream has
    failed for too long. One that may have been executed is repeated only for a caller who would rather pay twice.

    Args:
        limiter: how many calls are made at a time.
        durations: learns from each call.
        most_bytes: the largest answer.
        leave: gives the next lane of a request, and when it goes there; None if it stays.
        on_moved: told of each request that goes from one lane to another.
        log_for: makes the log of a call.
    """

    def __init__(
        self,
        api: RealtimeAPI,
        limiter: FairLimiter,
        durations: Durations,
        most_bytes: int,
        *,
        leave: Callable[[Request, Lane], tuple[Lane, float] | None],
        on_moved: Callable[[Request, Lane, Lane, str], None],
        log_for: Callable[[Request, Lane], BatchLog],
    ) -> None:
        self._api = api
        self._limiter = limiter
        self._most_bytes = most_bytes
        self._durations = durations
        self._leave = leave
        self._on_moved = on_moved
        self._log_for = log_for

    async def run(self, request: Request, lane: Lane) -> Answer | BatchError:
        """Call until there is an outcome. Cancelled: the call may have been executed and billed."""
        log = self._log_for(request, lane)
        try:
            await log.intend([(request.custom_id, request)])
        except JournalError as error:
            return outcomes.journal_error_for(error)(request, None)
        outcome = await self._repeatedly(request, lane)
        log.settled(request, outcome)
        log.end()
        return outcome

    async def _repeatedly(self, request: Request, lane: Lane) -> Answer | BatchError:
        delays, patience = back_off(), Patience(PATIENCE_SECONDS)
        while True:
            try:
                return self._answer(request, lane, await self._once(request, lane))
            except UpstreamError as error:
                outcome = _final(request, lane, error)
                if outcome is None and patience.runs_out(anyio.current_time()):
                    outcome = outcomes.unavailable_error_for(lane.value, error)(request, None)
                if outcome is not None:
                    return outcome
                wait = retry_delay(error, next(delays))
            lane = await self._wait(request, lane, wait)

    async def _once(self, request: Request, lane: Lane) -> RealtimeAnswer:
        async with self._limiter.turn(request.account):
            request.dequeue()
            begun, tier = anyio.current_time(), FLEX_TIER if lane is Lane.FLEX else None
            answer = await self._api.post(
                request.account, request.endpoint, request.body, tier=tier, most_bytes=self._most_bytes
            )
        kind = CallKind(request.account.provider.name, request.model, lane)
        self._durations.record(kind, anyio.current_time() - begun, is_done=True)
        return answer

    async def _wait(self, request: Request, lane: Lane, seconds: float) -> Lane:
        """Wait before the next try; return the lane on which it is made."""
        leaving = self._leave(request, lane)
        next_lane, moment = leaving if leaving is not None else (lane, math.inf)
        until = anyio.current_time() + seconds
        await anyio.sleep_until(min(until, max(moment, anyio.current_time())))
        if anyio.current_time() < moment:
            return lane
        self._on_moved(request, lane, next_lane, "the lane has no capacity in time")
        return next_lane

    def _answer(self, request: Request, lane: Lane, answer: RealtimeAnswer) -> Answer:
        """The tier that the answer names was billed, not the one that was asked for."""
        if lane is Lane.FLEX and answer.service_tier != FLEX_TIER:
            lane = Lane.REALTIME
            self._on_moved(request, Lane.FLEX, lane, "the upstream answered at another tier")
        return Answer(200, answer.body, answer.request_id, "", request.custom_id, lane.value)


def _final(request: Request, lane: Lane, error: UpstreamError) -> Answer | BatchError | None:
    """The outcome after a failed call; None if it is repeated."""
    executed = was_executed(error)
    if executed is None:
        is_repeated = request.terms.overrun is Overrun.PAY_TWICE
        return None if is_repeated else outcomes.uncertain_call_error_for(lane.value, error)(request, None)
    if error.is_retryable:
        return None
    if error.status_code is None:
        return outcomes.unavailable_error_for(lane.value, error)(request, None)
    return Answer(error.status_code, error.body, None, "", request.custom_id, lane.value)
