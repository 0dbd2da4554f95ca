"""One try of a call: written down, sent, and its answer written down."""

from __future__ import annotations

import anyio

from ...money.ledger import Charge
from ...upstream.failures import UpstreamError
from ...upstream.realtime_api import FLEX_TIER, RealtimeAnswer, RealtimeAPI, was_executed
from ..answer_room import AnswerRoom
from ..journal.cap_check import NoRoomError
from ..lanes.durations import Durations
from ..lanes.kinds import CallKind
from ..lanes.lane import Lane
from ..recovery.call_log import CallLog
from ..request import Answer, Request
from ..spending import Spending


class LaneTry:
    """Makes tries of the calls of one engine.

    Args:
        durations: learns from each.
        room: for the answers.
        spending: books each.
    """

    def __init__(self, api: RealtimeAPI, durations: Durations, room: AnswerRoom, spending: Spending) -> None:
        self._api = api
        self._spending = spending
        self._durations = durations
        self._room = room
        self._running: dict[Request, tuple[CallLog, Lane]] = {}

    def left(self, request: Request) -> None:
        """The caller left: if a call runs, it may have been billed. Synchronous, so that who asks again at once finds
        that."""
        log, lane = self._running.pop(request, (None, Lane.REALTIME))
        if log is not None:
            log.left(request, self._book_unknown(request, lane))

    async def run(self, request: Request, lane: Lane, log: CallLog, *, cut_at: float, repeats: bool) -> Answer:
        """Make one call.

        Args:
            cut_at: when to cut it off, on the event loop's clock. It may have been executed then.
            repeats: whether the call is made again even if it may have been executed.

        Raises:
            UpstreamError: for any answer but 2xx, and without one.
            JournalError, BudgetExceededError: if the call could not be recorded, or the caps have no room for it beside
                what other engines spend. Nothing was sent.

        Cancelled: the call may have been executed and billed, unless it was not recorded yet.
        """
        await self._intend(request, log)
        request.sent(lane)
        self._running[request] = log, lane
        was_billed, request.may_have_been_billed = request.may_have_been_billed, True
        try:
            answer = self._answer(request, await self._timed(request, lane, cut_at))
        except UpstreamError as error:
            executed = was_executed(error)
            if executed is False:
                request.may_have_been_billed = was_billed
            if request in self._running:  # else its caller left at the same moment, and it is booked
                self._note_failure(request, lane, log, executed, repeats=repeats)
            raise
        except BaseException:
            self.left(request)
            raise
        finally:
            was_left = self._running.pop(request, None) is None
        log.answered(request, answer, None if was_left else self._spending.book_call(request, answer))
        return answer

    async def _intend(self, request: Request, log: CallLog) -> None:
        while True:
            try:
                await log.intend(request)
                return
            except NoRoomError:
                refusal = self._spending.refuse_excess(request)
            if refusal is not None:
                raise refusal

    def _note_failure(
        self, request: Request, lane: Lane, log: CallLog, executed: bool | None, *, repeats: bool
    ) -> None:
        if executed is False:
            log.forget()
        elif repeats:
            log.repeated(self._spending.book_repeated_call(request, lane.value))
        else:
            log.told_uncertain(request, self._book_unknown(request, lane))

    def _book_unknown(self, request: Request, lane: Lane) -> Charge:
        return self._spending.book_unknown_call(request, lane.value)

    async def _timed(self, request: Request, lane: Lane, cut_at: float) -> RealtimeAnswer:
        kind, begun = CallKind(request.account.provider.name, request.model, lane), anyio.current_time()
        answer: RealtimeAnswer | None = None
        with anyio.CancelScope(deadline=cut_at):
            answer = await self._api.post(
                request.account,
                request.endpoint,
                request.body,
                tier=FLEX_TIER if lane is Lane.FLEX else None,
                most_bytes=self._room.most_bytes,
                large=self._room.turn(request.account),
            )
        self._durations.record(kind, anyio.current_time() - begun, is_done=answer is not None)
        if answer is None:
            raise UpstreamError(f"the call on the {lane.value} lane was not answered in time", was_sent=True)
        return answer

    def _answer(self, request: Request, answer: RealtimeAnswer) -> Answer:
        """The tier that the answer names was billed, not the one that was asked for."""
        lane = Lane.FLEX if answer.service_tier == FLEX_TIER else Lane.REALTIME
        return Answer(200, answer.body, answer.request_id, "", request.custom_id, lane.value)
