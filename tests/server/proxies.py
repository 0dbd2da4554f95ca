"""A proxy on a real socket, in front of an emulated upstream."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import openai
import pytest
import trio

from autobatcher import BatchOpenAI
from autobatcher.server import Drain, Report, create_app, serve, served_hosts
from autobatcher.server.hypercorn.worker import listen
from tests.harness import Harness, open_harness

START_SECONDS = 40

HOSTS = served_hosts("127.0.0.1", is_loopback=True, allowed_hosts=["x", "proxy"])
"""With the names that tests call the proxy by."""

on_real_trio = [pytest.mark.real_time, pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)]
"""The proxy is trio's, and sockets keep real time."""


@dataclass
class Proxy:
    harness: Harness
    client: BatchOpenAI
    port: int
    stop: trio.Event
    drain: Drain

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def http(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=20, **options)

    def openai(self, **options: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="dummy", max_retries=0, **options)


@asynccontextmanager
async def open_proxy(
    like: str = "openai",
    *,
    emulator: dict[str, Any] | None = None,
    app: dict[str, Any] | None = None,
    has_lanes: bool = False,
    drain_seconds: float = 0.0,
    **settings: Any,
) -> AsyncGenerator[Proxy]:
    """A proxy that batches within a blink; on the way out it is stopped as a signal would stop it."""
    async with (
        open_harness(like, has_lanes=has_lanes, **(emulator or {})) as harness,
        open_replica(harness, app=app, drain_seconds=drain_seconds, **settings) as proxy,
    ):
        yield proxy


@asynccontextmanager
async def open_replica(
    harness: Harness,
    *,
    app: dict[str, Any] | None = None,
    drain_seconds: float = 0.0,
    sockets: list[socket.socket] | None = None,
    **settings: Any,
) -> AsyncGenerator[Proxy]:
    """One of several such proxies in front of one upstream. `sockets`: where it listens; None for a free port."""
    quick = {"batch_window_seconds": 0.05, "poll_interval_seconds": 0.05, "cancel_active_batches_on_close": True}
    client = harness.client(**{**quick, **settings})
    sockets = sockets or listen("127.0.0.1", 0)
    app = {"hosts": HOSTS, "report": Report(), **(app or {})}
    proxy = Proxy(harness, client, sockets[0].getsockname()[1], trio.Event(), Drain(app["report"], drain_seconds))
    async with trio.open_nursery() as nursery:
        with trio.fail_after(START_SECONDS):
            served = create_app(client, **app)
            await nursery.start(partial(serve, client, served, sockets, stop=proxy.stop, drain=proxy.drain))
        try:
            yield proxy
        finally:
            proxy.stop.set()
