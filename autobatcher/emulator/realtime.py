"""Real-time calls, answered at once: as a whole or as a stream of events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import msgspec

from .answers import ANSWERABLE, Answer, answer
from .answers.sse import STREAMABLE, events
from .wire import RefusedError, Reply

_JSON = {"content-type": "application/json"}
_EVENTS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store"}


def answer_now(endpoint: str, body: bytes, created: int) -> Reply:
    """Raises `RefusedError` (404) for an endpoint that the emulator has no answers for."""
    if endpoint not in ANSWERABLE:
        raise RefusedError(404, f"Invalid URL (POST {endpoint})", code="unknown_url")
    given = answer(endpoint, body, created)
    if given.status == 200 and endpoint in STREAMABLE:
        request = msgspec.json.decode(body)
        if request.get("stream"):
            return Reply(200, _EVENTS, _stream(events(endpoint, request, msgspec.json.decode(given.body))))
    return as_reply(given)


def as_reply(given: Answer) -> Reply:
    return Reply(given.status, _JSON, given.body)


async def _stream(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
