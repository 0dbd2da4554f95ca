"""Deadlines of single calls: those of a block, and those of a header."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import anyio

from ..engine.lanes.deadline import seconds_until
from ..errors import UnbatchableRequestError

DEADLINE_HEADER = "x-autobatcher-deadline"

_OF_BLOCK: ContextVar[float | None] = ContextVar("_OF_BLOCK", default=None)


@contextmanager
def deadline_block(value: float | str) -> Iterator[None]:
    """Within this block each call has this deadline, or that of a block around it if that comes earlier.

    Args:
        value: seconds from now, a duration such as "15m", or an ISO 8601 instant.

    Raises:
        TypeError, ValueError: for anything else, and for a deadline that is not in the future.
    """
    try:
        moment = _now() + seconds_until(value, wall_now=time.time())
    except (TypeError, ValueError) as error:
        raise type(error)(f"deadline {error}") from None
    token = _OF_BLOCK.set(earliest(moment, _OF_BLOCK.get()))
    try:
        yield
    finally:
        _OF_BLOCK.reset(token)


def deadline_of_call(headers: Mapping[str, str] | None = None) -> float | None:
    """The deadline of a call that is made now, on the event loop's clock; None if it has none of its own.

    Args:
        headers: its own headers, if it has any.

    Raises:
        UnbatchableRequestError: the header is no deadline, or not in the future.
    """
    value = headers.get(DEADLINE_HEADER) if headers else None
    if value is None:
        return _OF_BLOCK.get()
    try:
        moment = _now() + seconds_until(_number_or_text(value), wall_now=time.time())
    except ValueError as error:
        raise UnbatchableRequestError(f"The header {DEADLINE_HEADER} {error}.", param="extra_headers") from None
    return earliest(moment, _OF_BLOCK.get())


def earliest(one: float | None, other: float | None) -> float | None:
    """The earlier of two moments, each of which may be missing."""
    moments = [moment for moment in (one, other) if moment is not None]
    return min(moments, default=None)


def _number_or_text(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value


def _now() -> float:
    """The event loop's clock. Without a loop, in the program of a sync client, that of its engine's thread."""
    try:
        return anyio.current_time()
    except anyio.NoEventLoopError:
        return time.monotonic()
