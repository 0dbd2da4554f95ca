"""What a `BatchOpenAI` and its copies share."""

from __future__ import annotations

from typing import Any

import openai

from ..engine.hosting import Host
from ..engine.settings import Settings
from .transport import TransportToBatches, close_host, make_host


class AsyncEngine:
    """The host of the batcher, and the HTTP client behind the SDK."""

    def __init__(self, settings: Settings, upstream: Any, *, ignore_timeouts: bool) -> None:
        self.upstream: Any = upstream
        self.ignores_timeouts: bool = ignore_timeouts
        self.host: Host = make_host(settings, upstream)
        self.transport: Any = TransportToBatches(self.host, upstream, ignore_timeouts=ignore_timeouts)
        self.http_client: Any = _sdk_client(self.transport)

    def through(self, upstream: Any) -> Any:
        """Another HTTP client for the SDK: what is not batchable goes through `upstream`, the rest to this engine."""
        transport: Any = TransportToBatches(self.host, upstream, ignore_timeouts=self.ignores_timeouts)
        transport.default_call = self.transport.default_call
        return _sdk_client(transport)

    async def close(self) -> None:
        """See `close_host`. The SDK's HTTP client has no connections, and has yet to tell callers their outcomes."""
        await close_host(self.host, self.upstream)


def _sdk_client(transport: Any) -> Any:
    return openai.DefaultAsyncHttpxClient(transport=transport)
