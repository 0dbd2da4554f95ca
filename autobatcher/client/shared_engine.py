"""Shared by a `BatchOpenAI` and its copies."""

from __future__ import annotations

from typing import Any

import openai

from ..engine.hosting import Host
from ..engine.settings import Settings
from ..engine.spending import Spending
from .connections import Connections, GivenConnections
from .header_kinds import HeaderKinds
from .transport import TransportToBatches, close_host, make_host


class AsyncEngine:
    """The host of the engine and the SDK's HTTP client."""

    def __init__(self, settings: Settings, connections: Connections, *, ignore_timeouts: bool) -> None:
        self.upstream: Any = connections.client
        self.settings: Settings = settings
        self._connections = connections
        self.ignores_timeouts: bool = ignore_timeouts
        self.spending: Spending = Spending(settings)
        self.host: Host = make_host(settings, connections, self.spending)
        self.kinds: HeaderKinds = HeaderKinds()
        self.transport: Any = TransportToBatches(self.host, connections, self.kinds, ignore_timeouts=ignore_timeouts)
        self.http_client: Any = _sdk_client(self.transport)

    def through(self, upstream: Any) -> Any:
        """Make another HTTP client for the SDK, which sends what is not batchable through `upstream`."""
        transport: Any = TransportToBatches(
            self.host, GivenConnections(upstream), self.kinds, ignore_timeouts=self.ignores_timeouts
        )
        transport.default_call = self.transport.default_call
        return _sdk_client(transport)

    async def close(self) -> None:
        """See `close_host`. The SDK's HTTP client stays open: it has no connections, and callers still get outcomes."""
        await close_host(self.host, self._connections)


def _sdk_client(transport: Any) -> Any:
    return openai.DefaultAsyncHttpxClient(transport=transport)
