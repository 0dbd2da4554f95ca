"""Telling the user's handler of events."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

import anyio

from .. import events

logger: logging.Logger = logging.getLogger("autobatcher")


class Emit(Protocol):
    """Hands an event of this kind, with the time added, to whoever listens. Never raises."""

    def __call__(self, kind: type[events.BatchEvent], /, **fields: Any) -> None: ...


class Emitter:
    """Calls a handler with each event, as a dict.

    Args:
        handler: the user's function; None if nobody listens.
        wall_clock: the time of events, in Unix seconds.
    """

    def __init__(self, handler: events.BatchEventHandler | None, wall_clock: Callable[[], float]) -> None:
        self._handler = handler
        self._wall_clock = wall_clock

    def __call__(self, kind: type[events.BatchEvent], /, **fields: Any) -> None:
        """See `Emit`. What the handler raises is logged and goes no further."""
        if self._handler is None:
            return
        event = kind(ts=self._wall_clock(), **fields)
        try:
            self._handler(event.to_dict())
        except (Exception, SystemExit, anyio.get_cancelled_exc_class()):  # noqa: ASYNC103  (the handler's own: nothing here waits)
            logger.warning("autobatcher: batch_event_handler raised at an event", exc_info=True)
