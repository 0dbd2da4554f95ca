"""Deadlines as users write them, and which of them travel together. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left
from datetime import datetime

from ..units import format_duration, parse_duration

LONGEST_SECONDS = 30 * 86_400.0
"""How far away a deadline may be, in seconds. Providers delete results after thirty days (OpenAI), so nothing can be
promised beyond. It also tells durations from Unix times."""

CLASS_SECONDS = (300.0, 900.0, 2_700.0, 7_200.0, 21_600.0, 86_400.0)
"""The longest deadline of each class, in seconds: 5, 15 and 45 minutes, 2, 6 and 24 hours. Beyond is one more class.
A batch is cut off for its earliest deadline, so within a class nobody loses much more than two thirds of their time."""

_EXAMPLES = 'seconds, a duration such as "45m", or an instant such as "2026-11-26T18:00:00Z"'


def seconds_until(value: object, *, wall_now: float) -> float:
    """The seconds from now to a deadline.

    Args:
        value: seconds, a duration such as "45m" or "1.5h", or an ISO 8601 instant with its zone.
        wall_now: the time now, in seconds since 1970.

    Raises:
        TypeError, ValueError: with the end of a sentence that begins with where the deadline was given; for a deadline
            that is not in the future, too.
    """
    seconds = _seconds(value, wall_now)
    if not seconds > 0:
        raise ValueError(f"must be in the future, unlike {value!r:.80}")
    if seconds > LONGEST_SECONDS:
        most = format_duration(LONGEST_SECONDS)
        raise ValueError(f"must be within {most}, unlike {value!r:.80}: write {_EXAMPLES}")
    return seconds


def checked_deadline(value: object) -> float | None:
    """A deadline that is counted from each call, in seconds; None for none."""
    if isinstance(value, str):
        try:
            value = parse_duration(value)
        except ValueError:
            raise ValueError(f'must be seconds or a duration such as "45m", not {value!r:.80}') from None
    return None if value is None else seconds_until(value, wall_now=0.0)


def deadline_class(seconds_left: float | None) -> int | None:
    """The class of a deadline. Requests of different classes do not share a batch, so that one hurried caller does not
    cancel the batch of patient ones.

    Args:
        seconds_left: from now to the deadline, in seconds; None if there is no deadline, which is a class of its own.
    """
    return None if seconds_left is None else bisect_left(CLASS_SECONDS, seconds_left)


def _seconds(value: object, wall_now: float) -> float:
    if isinstance(value, str):
        return _read(value.strip(), wall_now)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"must be {_EXAMPLES}, not {value!r:.80}")
    if isinstance(value, float) and math.isnan(value):
        raise ValueError(f"must be {_EXAMPLES}, not {value!r}")
    return value


def _read(text: str, wall_now: float) -> float:
    try:
        return parse_duration(text)
    except ValueError:
        return _instant(text) - wall_now


def _instant(text: str) -> float:
    """The seconds since 1970 that an ISO 8601 text means."""
    try:
        instant = datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError(f"must be {_EXAMPLES}, not {text!r:.80}") from None
    if instant.tzinfo is None:
        raise ValueError(f'must say its zone, unlike {text!r:.80}: add "Z" for UTC, or one such as "+01:00"')
    return instant.timestamp()
