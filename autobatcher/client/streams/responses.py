"""/v1/responses: the created response, the events of each output item, and the final response."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from .answer import Fields, Items, fields_of, list_in, text_in
from .items import Event, item_events

_BEFORE: dict[str, Any] = {
    "status": "in_progress",
    "completed_at": None,
    "error": None,
    "incomplete_details": None,
    "output": [],
    "output_text": "",
    "usage": None,
}
"""The initial values of fields that a response gets at its end."""

_ENDS = {
    "incomplete": "response.incomplete",
    "failed": "response.failed",
    "cancelled": "response.failed",  # cancelled responses have no event of their own
    "queued": "response.queued",
    "in_progress": "response.in_progress",
}
"""The last event by status; `response.completed` for all others. A background response may not have ended."""


def response_events(body: bytes) -> Iterator[Event]:
    """The numbered events of a response; the last one contains all of it."""
    for number, event in enumerate(_events(fields_of(body), body)):
        yield {"type": event.pop("type"), "sequence_number": number, **event}


class WithOutput(msgspec.Struct):
    """A response with a list of items, or none."""

    output: Items | None


def _events(response: Fields, body: bytes) -> Iterator[Event]:
    begun = {**response, **{name: value for name, value in _BEFORE.items() if name in response}}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(list_in(response, "output")):
        yield from item_events(index, item)
    end = _ENDS.get(text_in(response, "status"), "response.completed")
    yield {"type": end, "response": msgspec.Raw(body)}
