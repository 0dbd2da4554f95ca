"""hypercorn's task group, for apps that end before they have received all of their requests.

hypercorn 0.18 puts ten messages into a channel and then waits for the app to receive one: forever if it has ended, or
sends the end of its response.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import hypercorn.trio.tcp_server
import trio
from hypercorn.trio.task_group import TaskGroup

from .sends import let_broken_sends_raise


class HardenedTaskGroup(TaskGroup):
    """Never waits for an app that receives nothing any more."""

    async def spawn_app(self, app: Any, config: Any, scope: Any, send: Any) -> Callable[[Any], Awaitable[None]]:
        inbox = _Inbox(config.max_app_queue_size)

        async def run(scope: Any, receive: Any, *rest: Any) -> None:
            let_broken_sends_raise()
            with inbox.received:
                await app(scope, inbox.receive, *rest)

        runs: Any = run
        await super().spawn_app(runs, config, scope, send)
        return inbox.put


class _Inbox:
    """Messages to an app: all until its client is gone, or it has ended."""

    def __init__(self, most: int) -> None:
        channels: tuple[Any, Any] = trio.open_memory_channel(most)
        self._put, self.received = channels

    async def put(self, message: Any) -> None:
        if message["type"] == "http.disconnect":
            self._put.close()
            await trio.lowlevel.checkpoint()  # hypercorn's reader may have to refuse what follows, before the close
            return
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._put.send(message)

    async def receive(self) -> Any:
        try:
            return await self.received.receive()
        except trio.EndOfChannel:
            return {"type": "http.disconnect"}


# `TCPServer` looks the class up by this name.
setattr(hypercorn.trio.tcp_server, "TaskGroup", HardenedTaskGroup)  # noqa: B010  (not in hypercorn's type stubs)
