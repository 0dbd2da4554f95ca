"""hypercorn's HTTP/2, hardened against its client."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import h2.errors
import h2.exceptions
import hypercorn.protocol
import trio
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import Body, EndBody, Response, StreamClosed
from hypercorn.protocol.h2 import H2Protocol
from hyperframe.frame import GoAwayFrame

from .frame_budget import FrameBudget
from .http1 import CLOSE, keeps_alive
from .sends import do_broken_sends_raise, send_seconds

logger: logging.Logger = logging.getLogger("autobatcher")

SLICE_BYTES = 2**11
"""How much is handled at a time: 200 frames without content take 10 ms."""

ANSWER_FRAMES, BYTES_PER_FRAME = 10, 1_000
"""What an answer, and what is sent, brings back of the budget: a client may acknowledge each frame twice."""


class HardenedH2(H2Protocol):
    """Closes a connection that floods us, or that a response closes, and streams that stall or end too early."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._budget = FrameBudget(trio.current_time())
        self._closing: set[int] = set()  # streams whose responses close the connection
        self._is_leaving = False  # no new stream is taken, and those that are open go on

    async def handle(self, event: Event) -> None:
        if not isinstance(event, RawData):
            await super().handle(event)
            if isinstance(event, Closed):
                await self._release_senders()
            return
        for begin in range(0, len(event.data), SLICE_BYTES):
            some = event.data[begin : begin + SLICE_BYTES]
            if begin:
                await trio.lowlevel.checkpoint()
            if self.closed:
                return
            if not self._budget.spend(some, trio.current_time()):
                await self._refuse_flood()
                return
            await super().handle(RawData(some))

    async def _priority_updated(self, event: Any) -> None:
        """Do nothing: RFC 9113 deprecates priorities.

        hypercorn's tree of them takes a millisecond for each frame once it has a thousand streams, which cost a client
        no request.
        """

    async def _release_senders(self) -> None:
        """Let those go on who wait for the client's window; hypercorn 0.18 lets them wait for ever."""
        for buffer in list(self.stream_buffers.values()):
            await buffer.close()

    async def _refuse_flood(self) -> None:
        logger.warning("autobatcher: an HTTP/2 connection sent a flood of frames without a request, and was closed")
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self.connection.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
        await self._flush()
        await self.send(Closed())

    async def _flush(self) -> None:
        content = self.connection.data_to_send()
        if content:
            self._budget.earn(len(content) / BYTES_PER_FRAME)
            await self.send(RawData(content))

    async def stream_send(self, event: Any) -> None:
        """Like hypercorn's, but with a time limit for a client that reads nothing.

        A stream whose response was started and not finished is reset; hypercorn 0.18 leaves it open.
        """
        size = len(event.data) if isinstance(event, Body) else 0
        if isinstance(event, Response) and CLOSE in event.headers:
            event.headers.remove(CLOSE)
            self._closing.add(event.stream_id)
        with trio.move_on_after(send_seconds(size)) as limit:
            await super().stream_send(event)
        is_cut = self.closed or limit.cancelled_caught
        if limit.cancelled_caught:
            await self._reset(event.stream_id)
        if is_cut:
            if isinstance(event, Body | EndBody) and do_broken_sends_raise():
                raise trio.BrokenResourceError
        elif isinstance(event, EndBody):
            self._budget.earn(ANSWER_FRAMES)
        elif isinstance(event, StreamClosed) and not self._has_ended(event.stream_id):
            await self._reset(event.stream_id)
        if isinstance(event, StreamClosed):
            await self._leave_if_told(event.stream_id)

    async def _create_stream(self, request: Any) -> None:
        if not self._is_leaving:
            await super()._create_stream(request)
            return
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self.connection.reset_stream(request.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)

    async def _leave_if_told(self, stream_id: int) -> None:
        """Close the connection after the streams that are open: they may be those of others, behind one front end.

        While the worker is about to stop, say so after the last of them: some clients give up all they have open then.
        """
        if stream_id in self.stream_buffers:
            return  # until the task that sends has sent its end
        is_told = stream_id in self._closing or not (keeps_alive(self.context) or self.streams or self.stream_buffers)
        if is_told and not self._is_leaving and not self.closed:
            self._is_leaving = True
            frame = GoAwayFrame(0, last_stream_id=self.connection.highest_inbound_stream_id)
            await self.send(RawData(frame.serialize()))  # h2's own way would end the open streams
        if self._is_leaving and not (self.streams or self.stream_buffers or self.closed):
            await self.send(Closed())

    async def _send_data(self, stream_id: int) -> None:
        await super()._send_data(stream_id)
        await self._leave_if_told(stream_id)

    async def _reset(self, stream_id: int) -> None:
        with contextlib.suppress(h2.exceptions.ProtocolError):  # the client has reset it already
            self.connection.reset_stream(stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
            await self._flush()
        if stream_id in self.stream_buffers:
            await self.stream_buffers.pop(stream_id).close()
            self.priority.remove_stream(stream_id)

    def _has_ended(self, stream_id: int) -> bool:
        buffer = self.stream_buffers.get(stream_id)
        return buffer is None or buffer._complete


# `ProtocolWrapper` looks the class up by this name.
setattr(hypercorn.protocol, "H2Protocol", HardenedH2)  # noqa: B010  (not in hypercorn's type stubs)
