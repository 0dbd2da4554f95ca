"""A small harness for a test: an emulated upstream, clients that use it, and the events they told."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import openai
import pytest

from autobatcher import BatchOpenAI
from autobatcher.emulator import Emulator
from autobatcher.upstream.failures import http_library

SDK_LIBRARY: str = http_library(openai.DefaultAsyncHttpxClient).__name__
"""What this version of the SDK speaks HTTP with: "httpx" (2.x) or "httpx2" (3.x)."""

MODEL = "m"


class Harness:
    """One emulator and everything that a test wants to know about it.

    Args:
        like: the provider that is emulated, and that the clients are told it is.
    """

    def __init__(self, like: str = "openai", **emulator: Any) -> None:
        self.like = like
        self.emulator = Emulator(like=like, **emulator)  # type: ignore[arg-type]
        durations = [emulator.get(name) for name in ("batch_seconds", "cancelling_seconds")]
        longest = max((seconds for seconds in durations if isinstance(seconds, int | float)), default=0.0)
        self._poll_interval_seconds = max(2.0, longest / 1_000)  # polls cost time, although they wait for none
        self.events: list[dict[str, Any]] = []
        self.news: anyio.Event | None = None

    def client(self, **settings: Any) -> BatchOpenAI:
        """A client of the emulator that batches quickly and tells its events here."""
        defaults: dict[str, Any] = {
            "api_key": "test-key",
            "base_url": "http://upstream.test/v1",
            "provider": self.like,
            "batch_window_seconds": 1.0,
            "poll_interval_seconds": self._poll_interval_seconds,
            "batch_event_handler": self._take_event,
        }
        if "http_client" not in settings:
            defaults["http_client"] = self.emulator.http_client(library=SDK_LIBRARY)
        return BatchOpenAI(**{**defaults, **settings})

    def _take_event(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        if self.news is not None:
            self.news.set()

    def events_named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]

    def bodies_sent(self) -> list[dict[str, Any]]:
        """The body of every line in any batch, in the order they came."""
        return [line.body for line in self.emulator.statistics().lines]

    @property
    def realtime_calls(self) -> int:
        """How many batchable calls went upstream at full price. Must stay 0."""
        return sum(self.emulator.statistics().realtime_calls.values())


@asynccontextmanager
async def open_harness(like: str = "openai", *, has_lanes: bool = False, **emulator: Any) -> AsyncGenerator[Harness]:
    """A harness whose emulator is closed at the end, and in which nothing batchable was paid in full.

    Args:
        has_lanes: whether the test means to pay in full.
    """
    harness = Harness(like, **emulator)
    try:
        yield harness
        assert has_lanes or harness.realtime_calls == 0
    finally:
        harness.emulator.close()


async def ask(client: BatchOpenAI, text: str, model: str = MODEL) -> str:
    """One chat call; the emulator's echo of `text`."""
    completion = await client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])
    return completion.choices[0].message.content or ""


async def wait_for_event(harness: Harness, name: str, count: int = 1) -> None:
    """Wait until the event was told `count` times."""
    with anyio.fail_after(10_000):
        while len(harness.events_named(name)) < count:
            harness.news = anyio.Event()
            await harness.news.wait()


async def outcome_of(call: Awaitable[Any]) -> Any:
    """What the call gave, or the exception it raised."""
    try:
        return await call
    except Exception as error:
        return error


def pause_process(seconds: float) -> None:
    """What SIGSTOP, a sleeping laptop or a paused virtual machine does: time goes on, and nothing of ours runs.

    On virtual time only.
    """
    lowlevel = sys.modules.get("trio.lowlevel")
    if lowlevel is not None and lowlevel.in_trio_task():
        lowlevel.current_clock().jump(seconds)
    else:
        loop: Any = asyncio.get_running_loop()
        loop.jump(seconds)


httpx_leaves_generators = pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning")
"""For tests in which a body is not read or sent to its end, on trio: httpx (openai 2.x) leaves its generators to the
garbage collector then."""

HTTP: Any = http_library(openai.DefaultAsyncHttpxClient)
"""The HTTP library itself, for tests that make its requests and responses."""

Send = Callable[[Any], Awaitable[Any]]


class Between(HTTP.AsyncBaseTransport):  # type: ignore[misc]  # the library is known at run time only
    """Stands between the engine and the emulator: `answer(request, send)` gives the response to each request."""

    def __init__(self, harness: Harness, answer: Callable[[Any, Send], Awaitable[Any]]) -> None:
        self._send: Send = harness.emulator.transport(SDK_LIBRARY).handle_async_request
        self._answer = answer

    async def handle_async_request(self, request: Any) -> Any:
        return await self._answer(request, self._send)


def between(harness: Harness, answer: Callable[[Any, Send], Awaitable[Any]], **options: Any) -> Any:
    """An HTTP client, for a client's `http_client`, that goes through a `Between`."""
    return HTTP.AsyncClient(transport=Between(harness, answer), **options)
