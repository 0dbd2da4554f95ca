"""`python -m tests.journal.program BASE_URL JOURNAL OUT COUNT`: the program that is killed, and run again.

Prints what it is about to do. Lookups of lost creations take 0.3 s instead of 45: the emulator lists a batch at once,
or never.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import anyio

from autobatcher import BatchOpenAI
from autobatcher.engine.batch import upstream as upstream_batch
from autobatcher.upstream import batch_api

SHORT_LOOKUPS = (0.1, 0.2)


def prompts(count: int) -> list[str]:
    """Return prompts, each of them three times: identical requests are not merged."""
    return [f"question {number // 3}" for number in range(count)]


def shorten_lookups() -> None:
    for module in (batch_api, upstream_batch):
        module.LOOKUP_DELAYS = SHORT_LOOKUPS  # type: ignore[attr-defined]


async def main(base_url: str, journal: str, out: str, count: str) -> None:
    answers: dict[int, str] = {}

    def on_event(fields: dict[str, Any]) -> None:
        print(fields["event"], flush=True)

    print("queueing", flush=True)
    async with BatchOpenAI(
        api_key="test-key",
        base_url=base_url,
        provider="openai",
        journal=journal,
        batch_size=20,
        batch_window_seconds=0.05,
        poll_interval_seconds=0.05,
        batch_event_handler=on_event,
    ) as client:

        async def ask(number: int, text: str) -> None:
            messages: Any = [{"role": "user", "content": text}]
            completion = await client.chat.completions.create(model="m", messages=messages)
            answers[number] = completion.choices[0].message.content or ""

        async with anyio.create_task_group() as nursery:
            for number, text in enumerate(prompts(int(count))):
                nursery.start_soon(ask, number, text)
        print("closing", flush=True)
    await anyio.Path(out).write_text(json.dumps([answers[number] for number in sorted(answers)]))


if __name__ == "__main__":
    shorten_lookups()
    anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4])
