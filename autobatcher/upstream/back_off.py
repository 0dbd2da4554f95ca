"""How long to wait before the next try. Pure except for the jitter."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from .failures import UpstreamError

FIRST_DELAY_SECONDS = 0.5
MAX_DELAY_SECONDS = 60.0
MAX_RETRY_AFTER_SECONDS = 300.0
"""The longest `Retry-After` that is honoured. If a server asks for more, it is tried again after this time."""

JITTER = 0.2
"""The random fraction of a delay. It keeps many clients from retrying at the same moment."""


def back_off() -> Iterator[float]:
    """Yield the delays between the tries of one call, in seconds: exponential, with jitter."""
    for n in itertools.count():
        yield jittered(min(FIRST_DELAY_SECONDS * 2 ** min(n, 10), MAX_DELAY_SECONDS))


def jittered(seconds: float) -> float:
    """Vary a delay by `JITTER` in both directions."""
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  (no secret)


def jittered_down(seconds: float) -> float:
    """Shorten a delay by up to `JITTER`."""
    return seconds * random.uniform(1 - JITTER, 1)  # noqa: S311  (no secret)


def retry_delay(error: UpstreamError, delay: float) -> float:
    """How long to wait after `error`: `delay` or the server's `Retry-After`, whichever is longer."""
    return max(delay, min(error.retry_after or 0.0, MAX_RETRY_AFTER_SECONDS))
