"""What the program's own span processors raise does not reach the engine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

logger: logging.Logger = logging.getLogger("autobatcher")

P = ParamSpec("P")


def contained(method: Callable[P, None]) -> Callable[P, None]:
    """Decorator: log what the function raises, the first time as a warning."""
    has_failed = False

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        nonlocal has_failed
        try:
            method(*args, **kwargs)
        except Exception:
            level, has_failed = logging.DEBUG if has_failed else logging.WARNING, True
            logger.log(level, "autobatcher: OpenTelemetry raised an exception; calls go on", exc_info=True)

    return call
