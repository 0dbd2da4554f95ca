"""batchling, around a plain `AsyncOpenAI`, with its cache, by which a later run finds its batches."""

from __future__ import annotations

import os
from importlib import import_module

from callers import WINDOW_SECONDS, Job, Told, ask_each, main


async def ask_all(job: Job, told: Told) -> None:
    os.environ["BATCHLING_CACHE_PATH"] = str(job.file("cache.sqlite3"))
    lead_to(job.base_url)
    batchify = import_module("batchling").batchify
    timing = {"batch_window_seconds": WINDOW_SECONDS, "batch_poll_interval_seconds": job.poll_seconds}
    async with (
        batchify(batch_size=1000, **timing, cache=True, live_display=False),
        import_module("openai").AsyncOpenAI(api_key="any", base_url=job.base_url) as client,
    ):

        async def ask(model: str, text: str) -> str:
            answer = await client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])
            return str(answer.choices[0].message.content)

        await ask_each(job, told, ask)


def lead_to(base_url: str) -> None:
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


main("batchling", ask_all)
