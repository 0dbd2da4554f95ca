"""Real-time calls, on the flex lane too: answered as a whole or as a stream of events, and billed."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import msgspec

from .answers import ANSWERABLE, Answer, answer
from .answers.sse import STREAMABLE, events
from .bill import Charges
from .clock import Clock
from .durations import seconds_of
from .ledger import Billed, RealtimeLedger
from .lines import parse_head
from .settings import Settings
from .tiers import Lane, lane_of
from .usage import Usage, usage_of
from .wire import RefusedError, Reply, Request

if TYPE_CHECKING:
    from .forward import Forwarder

_JSON = {"content-type": "application/json"}
_EVENTS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store"}


@dataclass(frozen=True, slots=True)
class TieredRequest:
    """A request, and the service tier that it gets."""

    request: Request
    tier: str


class RealtimeCalls:
    """Answers calls, and remembers which were answered and billed, and how many ran at once."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.forwarder: Forwarder | None = None
        self.answered: dict[Lane, Counter[str]] = {"flex": Counter(), "realtime": Counter()}
        self.ledger: RealtimeLedger = RealtimeLedger()
        self.charges: Charges = Charges(settings.prices)
        self.most_at_once: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._settings = settings
        self._clock = clock

    async def answer(self, endpoint: str, call: TieredRequest) -> Reply:
        """Raises `RefusedError` (404) for an endpoint that the emulator has no answers for.

        A cancellation during the call's time leaves it billed: it was being worked on.
        """
        lane = lane_of(call.tier)
        if self.forwarder is not None:
            reply = await self.forwarder.call("POST", endpoint, call.request)
            self.answered[lane][endpoint] += 1
            if reply.status < 400:
                self._bill(lane, endpoint, call.request.body, None)
            return reply
        given = self._answer(endpoint, call)
        self.answered[lane][endpoint] += 1
        if given.status < 400:
            self._bill(lane, endpoint, call.request.body, usage_of(given.body))
        await self._take_time(lane)
        return as_reply(endpoint, call.request.body, given)

    def _answer(self, endpoint: str, call: TieredRequest) -> Answer:
        if endpoint not in ANSWERABLE:
            raise RefusedError(404, f"Invalid URL (POST {endpoint})", code="unknown_url")
        created = int(self._clock.wall(self._clock.now()))
        return answer(endpoint, call.request.body, created, call.tier, self._settings.metering)

    def _bill(self, lane: Lane, endpoint: str, body: bytes, usage: Usage | None) -> None:
        head = parse_head(msgspec.Raw(body))
        model = head.model if head is not None and isinstance(head.model, str) else ""
        self.charges.add(lane, endpoint, model, usage)
        self.ledger.add(Billed(lane=lane, endpoint=endpoint, model=model, raw_body=body, at=self._clock.now()))

    async def _take_time(self, lane: Lane) -> None:
        duration = self._settings.flex_seconds if lane == "flex" else self._settings.realtime_seconds
        seconds = seconds_of(duration, self.answered[lane].total(), self._settings.seed)
        if not seconds:
            return
        self._running[lane] += 1
        self.most_at_once[lane] = max(self.most_at_once[lane], self._running[lane])
        try:
            await anyio.sleep(seconds)
        finally:
            self._running[lane] -= 1


def as_reply(endpoint: str, body: bytes, given: Answer) -> Reply:
    """The reply to the request `body`: a stream if it asks for one, and there is an answer to tell."""
    if given.status == 200 and endpoint in STREAMABLE:
        request = msgspec.json.decode(body)
        if request.get("stream"):
            return Reply(200, _EVENTS, _stream(events(endpoint, request, msgspec.json.decode(given.body))))
    return Reply(given.status, _JSON, given.body)


async def _stream(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
