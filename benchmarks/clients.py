"""How each library is opened, with the same batch size, window and poll interval: one async context for each.

Each gives a client that is called in the same way (`client.chat.completions.create`). They import when they are
opened, since each contender's environment has only its own package.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from types import SimpleNamespace
from typing import Any

BATCH_SIZE = 1000
WINDOW_SECONDS = 0.2
POLL_SECONDS = 0.05


@asynccontextmanager
async def ours(base_url: str, **settings: Any) -> AsyncIterator[Any]:
    async with _batch_openai(base_url, **settings) as client:
        yield client


def sync(base_url: str, **settings: Any) -> Any:
    return _batch_openai(base_url, kind="BatchOpenAISync", **settings)


@asynccontextmanager
async def older(base_url: str, **settings: Any) -> AsyncIterator[Any]:
    """autobatcher 0.6.0: the same parameters."""
    import_module("loguru").logger.disable("autobatcher")  # it would write to stderr; the others are quiet as well
    client = _batch_openai(base_url, **settings)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def old(base_url: str) -> AsyncIterator[Any]:
    """autobatcher 0.12.0: batches chat completions only if told to; otherwise it polls background responses."""
    import_module("loguru").logger.disable("autobatcher")
    client = _batch_openai(base_url, completion_window="24h")
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def batchling(base_url: str) -> AsyncIterator[Any]:
    """A plain `AsyncOpenAI`, whose httpx is patched for as long as the context is open."""
    _lead_batchling_to(base_url)
    batchify = import_module("batchling").batchify
    timing = {"batch_window_seconds": WINDOW_SECONDS, "batch_poll_interval_seconds": POLL_SECONDS}
    async with (
        batchify(batch_size=BATCH_SIZE, **timing, cache=False, live_display=False),
        import_module("openai").AsyncOpenAI(api_key="any", base_url=base_url) as client,
    ):
        yield client


@asynccontextmanager
async def pydantic_ai(base_url: str) -> AsyncIterator[Any]:
    """An agent without tools, whose model requests travel in batches. It is asked as a client is."""
    models, timedelta = import_module("pydantic_ai.models.openai"), import_module("datetime").timedelta
    batching = import_module("pydantic_ai.capabilities").BatchModelRequests(
        max_requests=BATCH_SIZE,
        max_wait=timedelta(seconds=WINDOW_SECONDS),
        poll_interval=timedelta(seconds=POLL_SECONDS),
        max_poll_interval=timedelta(seconds=POLL_SECONDS),
    )
    provider = import_module("pydantic_ai.providers.openai").OpenAIProvider(base_url=base_url, api_key="any")
    agent = import_module("pydantic_ai").Agent(
        models.OpenAIResponsesModel("m", provider=provider), capabilities=[batching]
    )

    async def create(*, model: str, messages: list[dict[str, str]]) -> Any:
        result = await agent.run(messages[0]["content"])
        return SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content=result.output))])

    async with batching:
        yield SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)))


@asynccontextmanager
async def one_by_one(base_url: str) -> AsyncIterator[Any]:
    """The official SDK alone: a request for each call, at once, at the full price."""
    async with import_module("openai").AsyncOpenAI(api_key="any", base_url=base_url) as client:
        yield client


def _batch_openai(base_url: str, kind: str = "BatchOpenAI", **more: Any) -> Any:
    timing = {"batch_window_seconds": WINDOW_SECONDS, "poll_interval_seconds": POLL_SECONDS, "batch_size": BATCH_SIZE}
    return getattr(import_module("autobatcher"), kind)(api_key="any", base_url=base_url, **timing | more)


def _lead_batchling_to(base_url: str) -> None:
    """Its hosts are constants, looked up in an index that is made on import, and always https: nothing is to be set."""
    root = base_url.removesuffix("/v1")
    host = root.removeprefix("http://").partition(":")[0]
    providers = import_module("batchling.providers")
    openai = next(provider for provider in providers.PROVIDERS if provider.name == "openai")
    openai.hostname = host
    openai._normalize_base_url = lambda *, url: root
    providers._HOSTNAME_INDEX[host] = [openai]
    # It asks `"completed" in <an enum class>`, which is a TypeError before Python 3.12, so that each batch would fail.
    openai.batch_terminal_states = frozenset(openai.batch_terminal_states)
