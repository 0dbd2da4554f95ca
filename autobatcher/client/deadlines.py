"""Deadlines of single calls: those of a block, and those of a header."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import anyio

from ..engine.event_loop import running_loop
from ..engine.lanes.deadline import seconds_until
from ..engine.lanes.lane import lack_of_flex
from ..engine.settings import Settings
from ..errors import UnbatchableRequestError
from ..upstream.providers import ProviderProfile

logger: logging.Logger = logging.getLogger("autobatcher")

DEADLINE_HEADER = "x-autobatcher-deadline"


@contextmanager
def deadline_block(value: float | str) -> Iterator[None]:
    """Within this block each call has this deadline, or that of a block around it if that comes earlier.

    Args:
        value: seconds from now, a duration such as "15m", or an ISO 8601 instant.

    Raises:
        TypeError, ValueError: for anything else, and for a deadline that is not in the future.
    """
    try:
        seconds = seconds_until(value, wall_now=time.time())
    except (TypeError, ValueError) as error:
        raise type(error)(f"deadline {error}") from None
    token = _OF_BLOCKS.set((*_OF_BLOCKS.get(), _Moment.after(seconds)))
    try:
        yield
    finally:
        _OF_BLOCKS.reset(token)


def deadline_of_call(header: str | None = None, *, clock: Callable[[], float] = anyio.current_time) -> float | None:
    """The deadline of a call that is made now: the earliest of its header and its blocks; None without any.

    Args:
        header: the value of its `DEADLINE_HEADER`, if it has one.
        clock: the clock of the event loop that runs the engine. For a sync client's, that is another loop.

    Raises:
        UnbatchableRequestError: the header is no deadline, or not in the future.
    """
    left = [block.seconds_left() for block in _OF_BLOCKS.get()]
    if header is not None:
        left.append(_seconds_of_header(header))
    return clock() + min(left) if left else None


def warn_without_flex(settings: Settings, profile: ProviderProfile) -> None:
    """Say so in the log, if the settings allow the flex lane and the provider has none."""
    if lack := lack_of_flex(settings.lanes, profile, has_deadline=settings.deadline is not None):
        logger.warning("autobatcher: %s", lack)


def deadline_header_of(headers: Mapping[str, Any]) -> str | None:
    """The value of `DEADLINE_HEADER` among headers whose names are in any case; None if it is not there."""
    given = (value for name, value in headers.items() if name.lower() == DEADLINE_HEADER)
    return next((value for value in given if isinstance(value, str)), None)


def without_deadline(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers that are not for autobatcher alone. The upstream gets no deadline."""
    return {name: value for name, value in headers.items() if name.lower() != DEADLINE_HEADER}


class _Moment(NamedTuple):
    """When a block's deadline is. A block may begin before the event loop does, or in another one than its calls.

    Attributes:
        loop: the event loop in which the block began; None outside of one.
        on_loop: the moment on that loop's clock.
        monotonic: the moment on the machine's clock.
    """

    loop: object
    on_loop: float
    monotonic: float

    @classmethod
    def after(cls, seconds: float) -> _Moment:
        loop = _loop()
        now = 0.0 if loop is None else anyio.current_time()
        return cls(loop, now + seconds, time.monotonic() + seconds)

    def seconds_left(self) -> float:
        if self.loop is not None and self.loop is _loop():
            return self.on_loop - anyio.current_time()
        return self.monotonic - time.monotonic()


_OF_BLOCKS: ContextVar[tuple[_Moment, ...]] = ContextVar("_OF_BLOCKS", default=())


def _loop() -> object:
    try:
        return running_loop()
    except RuntimeError:
        return None


def _seconds_of_header(value: str) -> float:
    try:
        return seconds_until(value, wall_now=time.time())
    except ValueError as error:
        raise UnbatchableRequestError(f"The header {DEADLINE_HEADER} {error}.", param=DEADLINE_HEADER) from None
