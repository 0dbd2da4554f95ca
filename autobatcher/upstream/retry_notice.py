"""Says in the log that a call is tried again, so that nobody waits for minutes without a word."""

from __future__ import annotations

import logging

import anyio

from ..redaction import without_url_secrets
from .failures import UpstreamError

logger: logging.Logger = logging.getLogger("autobatcher")

QUIET_SECONDS = 600.0
"""After so many seconds, a failure at the same base URL is told again."""


class RetryNotice:
    """Tells the first failure at each base URL."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def tell(self, base_url: str, error: UpstreamError, seconds: float) -> None:
        """A call failed, and is tried again for so many seconds."""
        now = anyio.current_time()
        if now - self._told.get(base_url, float("-inf")) < QUIET_SECONDS:
            return
        self._told[base_url] = now
        span = f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} s"
        url = without_url_secrets(base_url)
        logger.warning("autobatcher: %s. It is tried again for %s at %s", error.failed_operation, span, url)
