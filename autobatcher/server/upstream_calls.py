"""Calls of the upstream: how many were sent and answered, with which status, and after how long."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from ..upstream.providers import BATCHABLE_ENDPOINTS
from .histogram import CALL_BOUNDS, Histogram

_BEGUN = "autobatcher_begun"

_ENDINGS = (
    ("/files", "files"),
    ("/batches", "batches"),
    ("/cancel", "cancel"),
    ("/content", "content"),
    ("/models", "models"),
    *((endpoint.removeprefix("/v1"), "realtime") for endpoint in sorted(BATCHABLE_ENDPOINTS)),
)
_PARTS = (("/files/", "file"), ("/batches/", "batch"), ("/models/", "model"))

METHODS = frozenset({"GET", "POST", "DELETE", "PUT"})


class UpstreamCalls:
    """Counts of one client's calls.

    Attributes:
        sent: by call. What is in no response was not answered, or not yet.
        responses: by call, such as "POST files", and HTTP status.
        seconds: by call, from the request to the beginning of its response. An upload is part of that.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.sent: Counter[str] = Counter()
        self.responses: Counter[tuple[str, int]] = Counter()
        self.seconds: defaultdict[str, Histogram] = defaultdict(partial(Histogram, CALL_BOUNDS))
        self._clock = clock

    def watch(self, event_hooks: dict[str, list[Any]]) -> None:
        """Count what the client with these hooks sends and is answered from now on."""
        event_hooks["request"].append(self._take_request)
        event_hooks["response"].append(self._take_response)

    async def _take_request(self, request: Any) -> None:
        self.sent[call_name(request.method, request.url.path)] += 1
        request.extensions[_BEGUN] = self._clock()

    async def _take_response(self, response: Any) -> None:
        request = response.request
        call = call_name(request.method, request.url.path)
        self.responses[call, response.status_code] += 1
        begun = request.extensions.get(_BEGUN)
        if begun is not None:
            self.seconds[call].add(self._clock() - begun)


def call_name(method: str, path: str) -> str:
    """The name of a call: its method, and what it asks for, without any id."""
    named = next((name for ending, name in _ENDINGS if path.endswith(ending)), None)
    named = named or next((name for part, name in _PARTS if part in path), "other")
    return f"{method if method in METHODS else 'other'} {named}"
