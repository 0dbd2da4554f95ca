"""One request on the flex or the real-time lane: a call, with retries of our own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import anyio

from ...errors import BatchError, BudgetExceededError, JournalError
from ...upstream.back_off import back_off, retry_delay
from ...upstream.failures import UpstreamError
from ...upstream.http import PATIENCE_SECONDS
from ...upstream.patience import Patience
from ...upstream.realtime_api import refuses_tier, was_executed
from .. import outcomes
from ..fair_limiter import FairLimiter
from ..lanes.lane import Lane
from ..recovery.call_log import CallLog
from ..request import Answer, Request
from .lane_try import LaneTry


class OnMoved(Protocol):
    """Is told of a request that goes from one lane to another, or whose call is repeated and may be billed twice."""

    def __call__(
        self, request: Request, from_lane: Lane, to_lane: Lane, reason: str, *, paid_twice: bool = False
    ) -> None: ...


class LaneCall:
    """Makes the calls of one engine.

    A call that certainly was not executed is repeated, with back-off: until its lane must be left, or the upstream has
    failed for too long. One that may have been executed is repeated once, and only for a caller who would rather pay
    twice.

    Args:
        limiter: how many calls are made at a time.
        leave: gives the next lane of a request, and when it goes there (infinite: never); None if there is none.
        log_for: makes the log of one try.
    """

    def __init__(
        self,
        tries: LaneTry,
        limiter: FairLimiter,
        *,
        leave: Callable[[Request, Lane], tuple[Lane, float] | None],
        on_moved: OnMoved,
        log_for: Callable[[Request, Lane], CallLog],
    ) -> None:
        self.tries = tries
        self.limiter = limiter
        self.leave = leave
        self.on_moved = on_moved
        self.log_for = log_for

    async def run(self, request: Request, lane: Lane) -> Answer | BatchError:
        """Call until there is an outcome. Cancelled: the call may have been executed and billed."""
        return await _Call(self, request, lane).run()


class _Call:
    """The call of one request."""

    def __init__(self, maker: LaneCall, request: Request, lane: Lane) -> None:
        self._maker = maker
        self._request = request
        self._lane = lane
        self._delays = back_off()
        self._patience = Patience(PATIENCE_SECONDS)

    async def run(self) -> Answer | BatchError:
        while True:
            try:
                return await self._try()
            except JournalError as error:
                return outcomes.journal_error_for(error)(self._request, None)
            except BudgetExceededError as error:
                return error.with_traceback(None)
            except UpstreamError as error:
                failure = error.with_traceback(None)  # it has this frame, which has the error
            if self._has_no_such_tier(failure):
                continue
            outcome = self._outcome(failure)
            if outcome is not None:
                return outcome
            await self._wait(retry_delay(failure, next(self._delays)))

    async def _try(self) -> Answer:
        maker, request = self._maker, self._request
        async with maker.limiter.turn(request.account):
            request.dequeue()
            self._move_if_late()
            asked, log = self._lane, maker.log_for(request, self._lane)
            cut_at = self._leaving()[1] if request.may_pay_twice else math.inf
            answer = await maker.tries.run(request, asked, log, cut_at=cut_at, repeats=request.may_pay_twice)
        if answer.lane != asked.value:
            maker.on_moved(request, asked, Lane(answer.lane), "the upstream answered at another tier")
        return answer

    def _outcome(self, failure: UpstreamError) -> Answer | BatchError | None:
        """The outcome after a failed try; None if the call is repeated."""
        executed = was_executed(failure)
        if executed is None and self._request.may_pay_twice:
            self._request.was_repeated = True
            reason = "nobody knows whether the first call was executed"
            self._maker.on_moved(self._request, self._lane, self._lane, reason, paid_twice=True)
            return None
        if executed is not False:
            return outcomes.uncertain_call_error_for(self._lane.value, failure)(self._request, None)
        if failure.is_retryable and (not self._runs_out(failure) or self._has_another_lane()):
            return None
        if failure.status_code is None or failure.is_retryable:
            return outcomes.unavailable_error_for(self._lane.value, failure)(self._request, None)
        return Answer(failure.status_code, failure.body, None, "", self._request.custom_id, self._lane.value)

    def _runs_out(self, failure: UpstreamError) -> bool:
        """Whether the upstream has failed for too long. Want of room is waited out: the deadline ends that."""
        waits = failure.is_throttled and self._request.terms.deadline is not None
        return not waits and self._patience.runs_out(anyio.current_time())

    async def _wait(self, seconds: float) -> None:
        """Wait before the next try, at most until the lane must be left."""
        now = anyio.current_time()
        await anyio.sleep_until(min(now + seconds, max(self._leaving()[1], now)))

    def _move_if_late(self) -> None:
        next_lane, moment = self._leaving()
        if anyio.current_time() >= moment:
            self._move(next_lane, "the lane has no capacity in time")

    def _has_no_such_tier(self, failure: UpstreamError) -> bool:
        """Go on to the next lane at once if this one does not exist for the model; False if there is none."""
        next_lane, _ = self._leaving()
        if self._lane is not Lane.FLEX or next_lane is self._lane or not refuses_tier(failure):
            return False
        self._move(next_lane, "the upstream has no flex tier for the model")
        return True

    def _has_another_lane(self) -> bool:
        """Go on to the next lane at once, since this one has failed for too long; False if there is none."""
        next_lane, _ = self._leaving()
        if next_lane is self._lane:
            return False
        self._move(next_lane, "the lane has failed for too long")
        self._patience.reset()
        return True

    def _move(self, lane: Lane, reason: str) -> None:
        self._maker.on_moved(self._request, self._lane, lane, reason)
        self._lane = lane

    def _leaving(self) -> tuple[Lane, float]:
        """The next lane, and when the request goes there; this one, and never, if there is none."""
        return self._maker.leave(self._request, self._lane) or (self._lane, math.inf)
