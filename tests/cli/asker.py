"""A program that asks questions through a journal, until it is killed or all are answered.

Arguments: base URL, journal, how many questions, and words: "hash" for journal_hash_only, "fails" for exit code 3.
"""

from __future__ import annotations

import sys
from functools import partial

import anyio

from autobatcher import BatchOpenAI

KEY = "sk-secret-of-the-asker"


async def main(base_url: str, journal: str, count: str, *words: str) -> None:
    async with BatchOpenAI(
        base_url=base_url,
        api_key=KEY,
        journal=journal,
        journal_hash_only="hash" in words,
        batch_size=1,
        poll_interval_seconds=0.1 if "fails" in words else 1000.0,
    ) as client:
        async with anyio.create_task_group() as nursery:
            for number in range(int(count)):
                nursery.start_soon(ask, client, f"question {number}")
        if "fails" in words:
            raise SystemExit(3)


async def ask(client: BatchOpenAI, text: str) -> None:
    await client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}])


if __name__ == "__main__":
    anyio.run(partial(main, *sys.argv[1:]))
