"""autobatcher, this one: with a journal, and the rules of OpenAI, which it knows by itself at OpenAI's own URL."""

from __future__ import annotations

from callers import WINDOW_SECONDS, Job, Told, ask_each, main

from autobatcher import BatchOpenAI


async def ask_all(job: Job, told: Told) -> None:
    async with BatchOpenAI(
        api_key="any",
        base_url=job.base_url,
        provider="openai",
        batch_window_seconds=WINDOW_SECONDS,
        poll_interval_seconds=job.poll_seconds,
        journal=str(job.file("journal.sqlite3")),
    ) as client:

        async def ask(model: str, text: str) -> str:
            answer = await client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])
            return answer.choices[0].message.content or ""

        await ask_each(job, told, ask)


main("autobatcher", ask_all)
