"""autobatcher 0.6 and 0.12, told to cancel what runs when they are closed. 0.12 batches if it is told "24h"."""

from __future__ import annotations

from importlib import import_module

from callers import WINDOW_SECONDS, Job, Told, ask_each, main


async def ask_all(job: Job, told: Told) -> None:
    import_module("loguru").logger.disable("autobatcher")
    client = import_module("autobatcher").BatchOpenAI(
        api_key="any",
        base_url=job.base_url,
        batch_window_seconds=WINDOW_SECONDS,
        poll_interval_seconds=job.poll_seconds,
        completion_window="24h",
        cancel_active_batches_on_close=True,
    )

    async def ask(model: str, text: str) -> str:
        answer = await client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])
        return str(answer.choices[0].message.content)

    try:
        await ask_each(job, told, ask)
    finally:
        await client.close()


main("autobatcher", ask_all)
