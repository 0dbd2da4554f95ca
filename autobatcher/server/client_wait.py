"""What a client is sent while it waits for the outcome of its call, and at the end.

The first heartbeat starts the response as a 200, so a later failure can no longer be reported as a status. A plain
response is then cut off; the client retries and gets the stored error at once. A stream ends with an error event.

Heartbeats and answers are sent by the tasks that know of them, while the client's own task listens to its client: to
wake that costs as much as all the rest. It is woken for what may take longer.
"""

from __future__ import annotations

import enum
import logging
from typing import Any, Protocol

import msgspec
import trio

from ..client.http_parts import HttpParts, answer_parts, streamed_parts
from ..client.streams import CONTENT_TYPE, StreamRequest, UnstreamableAnswerError, streaming
from ..errors import BatchError
from ..turns import in_turns
from ..upstream import bounded_json
from .exchange import ClientGoneError, Exchange, RefusedError
from .heartbeat import next_wait
from .heartbeats import Heartbeats
from .pending_call import PendingCall
from .refusals import refusal_parts

logger: logging.Logger = logging.getLogger("autobatcher")

COMMENT, WHITE_SPACE = b": ping\n\n", b"\n"
"""Heartbeats: a comment, which readers of events skip, and white space, which may precede any JSON."""

MOST_KEPT_BYTES = 16_000
"""Of a call and its answer together. The task of a client that another task has answered keeps both until the client
sends something else, and that may be as long as a connection may be idle. No limit counts them then. Larger calls are
rare, and to wake the task costs little beside the rest of their costs."""


class ErrorParts(Protocol):
    """The response for an error of ours."""

    def __call__(self, error: BatchError, *, was_sent: bool = False) -> HttpParts: ...


class Sent(enum.Enum):
    """What the client's own task has sent of the outcome."""

    NOTHING = enum.auto()
    OUTCOME = enum.auto()
    CUT_OFF = enum.auto()
    """The response had begun, and could not tell of a failure."""


class ClientWait:
    """One client's wait.

    Attributes:
        sent: what its own task has sent.
    """

    __slots__ = (
        *("_asked", "_call", "_error_parts", "_exchange", "_heartbeats", "_interval", "_is_due", "_slot"),
        "sent",
    )

    def __init__(
        self,
        call: PendingCall,
        asked: StreamRequest,
        exchange: Exchange,
        error_parts: ErrorParts,
        heartbeats: Heartbeats,
    ) -> None:
        self.sent: Sent = Sent.NOTHING
        self._call = call
        self._asked = asked
        self._exchange = exchange
        self._error_parts = error_parts
        self._heartbeats = heartbeats
        self._interval: float | None = None
        self._slot = 0
        self._is_due = False

    async def run(self, interval: float | None) -> None:
        """Wait until the client has the outcome, or is gone, with heartbeats every so many seconds.

        If another task sends the outcome, see `answer`, this lasts until the client sends something else.
        """
        self._interval = interval
        self._set_next()
        try:
            while not self._call.request.is_settled:
                await self._exchange.listen()
                if self._is_due and not self._call.request.is_settled:
                    self._is_due = False
                    await self._send_heartbeat()
            if self._exchange.has_rest:
                await self._exchange.send_rest()
                self.sent = Sent.OUTCOME
                return
            if self._exchange.peer.is_gone():
                return  # its retry may be here already
            self.sent = Sent.OUTCOME if await self._send(await self._outcome_parts()) else Sent.CUT_OFF
        except ClientGoneError:
            return
        finally:
            self._end_heartbeats()

    async def answer(self) -> bool:
        """Send the outcome for the client's own task. If that must be woken to send it: False. Never waits."""
        is_sent = await self._answer_at_once()
        if is_sent:
            self._end_heartbeats()
        else:
            self._exchange.wake()
        return is_sent

    async def _answer_at_once(self) -> bool:
        exchange = self._exchange
        if self._asked.wants_stream or not exchange.is_listening or exchange.peer.is_gone():
            return False
        exchange.set_sends_now(True)
        try:
            parts = await self._outcome_parts()
            if len(self._asked.body) + len(parts["content"]) > MOST_KEPT_BYTES:
                return False
            return await self._send(parts)
        except (ClientGoneError, trio.WouldBlock):
            return False
        except Exception as error:
            self._tell_defect(error)
            return False
        finally:
            exchange.set_sends_now(False)

    async def _outcome_parts(self) -> HttpParts:
        request, asked = self._call.request, self._asked
        try:
            answer = request.result()
            if not asked.wants_stream or not 200 <= answer.status_code < 300:
                return answer_parts(answer)
            stream = await in_turns(streaming(request.endpoint, answer.body, include_usage=asked.include_usage))
            return streamed_parts(answer, stream)
        except BatchError as error:
            return self._error_parts(error, was_sent=bool(error.custom_id) or request.may_have_been_billed)
        except UnstreamableAnswerError as error:
            return refusal_parts(RefusedError(502, str(error)), kind="server_error")

    async def _send(self, parts: HttpParts) -> bool:
        """Send the outcome. False if it is an error that a response already begun cannot report."""
        exchange, is_good = self._exchange, 200 <= parts["status_code"] < 300
        if not exchange.has_begun:
            await exchange.respond(parts)
        elif is_good:
            await exchange.end(parts["content"])
        elif self._asked.wants_stream:
            await exchange.end(_error_event(parts["content"], exchange.path))
        else:
            return False  # the server cuts off a response that does not end
        return True

    # ---- heartbeats ----

    async def beat(self) -> None:
        """Send a heartbeat, or wake the client's own task to send it. Never waits, never raises.

        None is sent once there is an outcome, which may wait for its turn: it would make it too late for a status.
        """
        if self._call.request.is_settled:
            return
        self._set_next()
        exchange = self._exchange
        if not exchange.is_listening:
            self._is_due = True
            exchange.wake()
            return
        exchange.set_sends_now(True)
        try:
            await self._send_heartbeat()
        except (ClientGoneError, trio.WouldBlock):
            return  # what cannot be sent now is sent with the next piece
        except Exception as error:
            self._tell_defect(error)
        finally:
            exchange.set_sends_now(False)

    def _tell_defect(self, error: Exception) -> None:
        logger.error("autobatcher: a defect in the proxy at %r", self._exchange.path, exc_info=error)

    async def _send_heartbeat(self) -> None:
        exchange, wants_stream = self._exchange, self._asked.wants_stream
        if not exchange.has_begun:
            await exchange.begin(200, _BEGUN_STREAM if wants_stream else _BEGUN_JSON)
        await exchange.write(COMMENT if wants_stream else WHITE_SPACE)

    def _set_next(self) -> None:
        if self._interval is not None:
            self._slot = self._heartbeats.add(self, next_wait(self._interval))

    def _end_heartbeats(self) -> None:
        self._heartbeats.discard(self, self._slot)
        self._interval = None


# nginx must not buffer: it would hold heartbeats back.
_BEGUN_JSON = {"content-type": "application/json", "cache-control": "no-store", "x-accel-buffering": "no"}
_BEGUN_STREAM = {**_BEGUN_JSON, "content-type": CONTENT_TYPE}


def _error_event(content: bytes, endpoint: str) -> bytes:
    """An error event that the Python and Node SDKs raise."""
    try:
        error: Any = bounded_json.decode(content)["error"]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
        error = {"message": content.decode(errors="replace")[:1000], "type": "server_error"}
    if endpoint == "/v1/responses":
        fields = error if isinstance(error, dict) else {"message": str(error)}
        event = {**fields, "type": "error", "sequence_number": 0}
        return b"event: error\ndata: %b\n\n" % msgspec.json.encode({**event, "error": error})
    return b"data: %b\n\n" % msgspec.json.encode({"error": error})
