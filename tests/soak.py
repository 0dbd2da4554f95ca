"""`python tests/soak.py`: 20,000 requests over real sockets, while 5 % of all HTTP calls to the upstream go wrong.

Asserts that no answer is wrong, lost or doubled, that nothing is paid twice, and that memory is flat; prints what it
measured. `nox -s soak` runs it on both backends. The upstream is an emulator in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio

from autobatcher import BatchOpenAI
from autobatcher.emulator import FaultPlan, HttpFault

SHARE = 0.05
KINDS: tuple[dict[str, Any], ...] = (
    {"status": 500},
    {"status": 502, "after_processing": True},
    {"status": 429, "headers": {"retry-after": "1"}},
    {"disconnect": True},
    {"lose_answer": True},
    {"cut_after_bytes": 300},
)
PLAN = FaultPlan(tuple(HttpFault(probability=SHARE / len(KINDS), **kind) for kind in KINDS), seed=7)
MEMORY_SLACK_BYTES = 30_000_000

UPSTREAM = """
import json, signal, sys, trio
from autobatcher.emulator import Emulator, FaultPlan
from autobatcher.emulator.app import serve_emulator

async def main():
    emulator = Emulator(batch_seconds=0.5, faults=FaultPlan.from_json(sys.argv[1]))
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            print(await nursery.start(serve_emulator, emulator), flush=True)
            async for _ in signals:
                nursery.cancel_scope.cancel()
    seen = emulator.statistics()
    print(json.dumps({
        "lines": [line.body["messages"][0]["content"] for line in seen.lines if line.billed],
        "billed": max(seen.billed.values()), "batches": seen.batches_created, "running": len(seen.running_batch_ids),
        "files": len(seen.input_file_ids), "realtime": sum(seen.realtime_calls.values()),
        "calls": sum(seen.http_calls.values()), "lost": seen.lost_connections,
        "failed": sum(n for status, n in seen.http_statuses.items() if status >= 400),
    }))

trio.run(main)
"""


@contextmanager
def upstream(told: dict[str, Any]) -> Iterator[str]:
    """The URL of an emulator that misbehaves; what it saw is in `told` afterwards."""
    command = [sys.executable, "-c", UPSTREAM, PLAN.to_json().decode()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()
        told.update(json.loads(process.stdout.read()))


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096


async def wave(client: BatchOpenAI, first: int, count: int) -> int:
    """So many calls at once; how many had a wrong answer, or none."""
    wrong = 0

    async def call(number: int) -> None:
        nonlocal wrong
        text = f"request {number}."
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
        answer = await client.answer("/v1/chat/completions", body)
        wrong += json.loads(answer.body)["choices"][0]["message"]["content"] != text

    async with anyio.create_task_group() as callers:
        for number in range(first, first + count):
            callers.start_soon(call, number)
    return wrong


async def soak(url: str, requests: int, waves: int) -> tuple[int, list[int]]:
    wrong, memory = 0, []
    async with BatchOpenAI(
        api_key="any",
        base_url=f"{url}/v1",
        provider="openai",
        batch_size=50,
        batch_window_seconds=0.2,
        poll_interval_seconds=0.2,
        max_retries=5,
    ) as client:
        for number in range(waves):
            wrong += await wave(client, number * requests // waves, requests // waves)
            memory.append(resident_bytes())
    return wrong, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--waves", type=int, default=20)
    parser.add_argument("--backend", default="asyncio", choices=["asyncio", "trio"])
    options = parser.parse_args()
    told: dict[str, Any] = {}
    begun = time.monotonic()
    with upstream(told) as url:
        wrong, memory = anyio.run(soak, url, options.requests, options.waves, backend=options.backend)
    lines = Counter(told.pop("lines"))
    growth = memory[-1] - memory[len(memory) // 4]
    went_wrong = told["failed"] + told["lost"]
    print(f"{options.backend}: {options.requests} requests, {time.monotonic() - begun:.0f} s, {told}")
    print(f"{went_wrong} of {told['calls']} calls went wrong; memory {growth / 1e6:+.1f} MB after the first quarter")
    assert wrong == 0
    assert set(lines) == {f"request {number}." for number in range(options.requests)}
    assert max(lines.values()) == 1, "no line failed with a retryable error, so none may run twice"
    assert told["billed"] == 1
    assert (told["running"], told["files"], told["realtime"]) == (0, 0, 0)
    assert went_wrong / told["calls"] > SHARE * 0.5
    assert growth < MEMORY_SLACK_BYTES


if __name__ == "__main__":
    main()
