"""Calls the user's event handler."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import anyio

from .. import events

logger: logging.Logger = logging.getLogger("autobatcher")


Observer = Callable[[events.BatchEvent], None]


class Emit(Protocol):
    """Sends an event of this kind, with the time added. Never raises."""

    def __call__(self, kind: type[events.BatchEvent], /, **fields: Any) -> None: ...


class Emitter:
    """Calls a handler with each event, as a dict.

    Args:
        handler: the user's function; None for no events.
        wall_clock: returns the time of events, in Unix seconds.
        observers: ours, who see each event first. They never raise.
    """

    def __init__(
        self,
        handler: events.BatchEventHandler | None,
        wall_clock: Callable[[], float],
        observers: Sequence[Observer] = (),
    ) -> None:
        self._handler = handler
        self._observers = observers
        self._wall_clock = wall_clock

    def __call__(self, kind: type[events.BatchEvent], /, **fields: Any) -> None:
        """See `Emit`. Exceptions of the handler are logged and suppressed."""
        if self._handler is None and not self._observers:
            return
        event = kind(ts=self._wall_clock(), **fields)
        for observe in self._observers:
            observe(event)
        if self._handler is None:
            return
        try:
            self._handler(event.to_dict())
        except (Exception, SystemExit, anyio.get_cancelled_exc_class()):  # noqa: ASYNC103  (the handler's own: there is no await here)
            logger.warning("autobatcher: batch_event_handler raised an exception", exc_info=True)
