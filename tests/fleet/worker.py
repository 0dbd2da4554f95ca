"""`python -m tests.fleet.worker BASE_URL JOURNAL OUT NUMBER COUNT`: a program as Ray, Dask or Airflow run many of.

It asks its own texts and writes the answers once it has all of them. Run again, it asks all of them again.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from pathlib import Path
from typing import Any

import anyio

from autobatcher import BatchOpenAI
from tests.journal.program import shorten_lookups


def texts(number: int, count: int) -> list[str]:
    """What this worker asks."""
    return [f"task {task} of worker {number}." for task in range(count)]


async def main(*arguments: str) -> None:
    base_url, journal, out, number, count = arguments
    answers: dict[str, str] = {}
    async with BatchOpenAI(
        api_key="test-key",
        base_url=base_url,
        provider="openai",
        journal=journal or None,
        batch_size=20,
        batch_window_seconds=0.2,
        poll_interval_seconds=0.2,
    ) as client:

        async def ask(text: str) -> None:
            messages: Any = [{"role": "user", "content": text}]
            completion = await client.chat.completions.create(model="m", messages=messages)
            answers[text] = completion.choices[0].message.content or ""

        async with anyio.create_task_group() as nursery:
            for text in texts(int(number), int(count)):
                nursery.start_soon(ask, text)
        _write(Path(out), answers)


def ended(answers: Path) -> Path:
    """What is there once a worker has ended well, as docs/journal.md has it: then its answers are forgotten. On a busy
    machine the process may be there for a while more, and is killed."""
    return answers.with_suffix(".ended")


def _write(path: Path, answers: dict[str, str]) -> None:
    """As a whole, or not at all."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(answers))
    os.replace(unfinished, path)


if __name__ == "__main__":
    shorten_lookups()
    atexit.register(ended(Path(sys.argv[3])).touch)  # the first to be registered is called last
    anyio.run(main, *sys.argv[1:])
