"""How long to wait before the next try. Pure, but for the dice."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from .failures import UpstreamError

FIRST_DELAY_SECONDS = 0.5
MAX_DELAY_SECONDS = 60.0
MAX_RETRY_AFTER_SECONDS = 300.0
"""`Retry-After` is honoured up to this; a server that wants more is asked again after it."""

JITTER = 0.2
"""The part of a delay that is left to chance, so that many clients do not come back at once."""


def back_off() -> Iterator[float]:
    """The seconds to wait between the tries of one call: growing, and no two clients' alike."""
    for n in itertools.count():
        yield jittered(min(FIRST_DELAY_SECONDS * 2 ** min(n, 10), MAX_DELAY_SECONDS))


def jittered(seconds: float) -> float:
    """About so many seconds."""
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  (no secret)


def jittered_down(seconds: float) -> float:
    """So many seconds, or somewhat less."""
    return seconds * random.uniform(1 - JITTER, 1)  # noqa: S311  (no secret)


def retry_delay(error: UpstreamError, delay: float) -> float:
    """How long to wait after `error`: `delay`, or longer if the server asks for it, within reason."""
    return max(delay, min(error.retry_after or 0.0, MAX_RETRY_AFTER_SECONDS))
