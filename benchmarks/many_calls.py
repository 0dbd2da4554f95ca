"""How long, and how much memory, do N calls at once cost: through the SDK, and through the engine alone?

The upstream is the emulator in the same process, in memory, so its own work is part of every number; a third row
measures that work alone, by handing the emulator one input file of N lines and reading the answers back.

    python benchmarks/many_calls.py [N] [ROUNDS]
"""

from __future__ import annotations

import gc
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from typing import Any

import anyio
import msgspec
import openai

from autobatcher import BatchOpenAI
from autobatcher.emulator import Emulator
from autobatcher.engine.request import Request
from autobatcher.upstream.failures import http_library

MODEL = "m"
BATCH_SIZE = 1000


def messages(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"caller-{number}. " + "x" * 1000}]


def make_client(emulator: Emulator) -> BatchOpenAI:
    library = http_library(openai.DefaultAsyncHttpxClient).__name__
    return BatchOpenAI(
        api_key="any",
        base_url="http://emulator.test/v1",
        http_client=emulator.http_client(library=library),
        batch_size=BATCH_SIZE,
        batch_window_seconds=0.2,
        poll_interval_seconds=0.05,
    )


async def all_at_once(call: Callable[[int], Coroutine[Any, Any, None]], count: int) -> None:
    async with anyio.create_task_group() as callers:
        for number in range(count):
            callers.start_soon(call, number)


async def through_the_sdk(client: BatchOpenAI, count: int) -> None:
    async def call(number: int) -> None:
        completion: Any = await client.chat.completions.create(
            model=MODEL,
            messages=messages(number),  # type: ignore[arg-type]  # a plain dict is one
        )
        check(completion.choices[0].message.content, number)

    await all_at_once(call, count)


async def through_the_engine(client: BatchOpenAI, count: int) -> None:
    account = client._call().account

    async def call(number: int) -> None:
        body = msgspec.json.encode({"model": MODEL, "messages": messages(number)})
        request = Request(account=account, endpoint="/v1/chat/completions", body=body, model=MODEL)
        answer = await client._engine.host.submit(request)
        check(msgspec.json.decode(answer.body)["choices"][0]["message"]["content"], number)

    await all_at_once(call, count)


async def by_hand(client: BatchOpenAI, count: int) -> None:
    """The emulator's own work: files made and read without any engine."""
    for start in range(0, count, BATCH_SIZE):
        lines = [
            {"custom_id": str(n), "method": "POST", "url": "/v1/chat/completions"}
            | {"body": {"model": MODEL, "messages": messages(n)}}
            for n in range(start, min(start + BATCH_SIZE, count))
        ]
        file = await client.files.create(file=("in.jsonl", msgspec.json.Encoder().encode_lines(lines)), purpose="batch")
        batch = await client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        while batch.status != "completed":
            batch = await client.batches.retrieve(batch.id)
        await client.files.content(str(batch.output_file_id))


def check(text: str | None, number: int) -> None:
    if not text or f"caller-{number}." not in text:
        raise AssertionError(f"caller {number} got another's answer")


WAYS = {"sdk": through_the_sdk, "engine": through_the_engine, "emulator": by_hand}


async def measure(way: str, count: int) -> None:
    emulator = Emulator()
    async with make_client(emulator) as client:
        await WAYS[way](client, 10)  # imports, first connections
        gc.collect()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wall, cpu = time.perf_counter(), time.process_time()
        await WAYS[way](client, count)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    emulator.close()
    print(f"{wall} {cpu} {peak}")


def one_run(way: str, backend: str, count: int) -> tuple[float, float, float]:
    """In a process of its own, so that peak memory is its own."""
    command = [sys.executable, __file__, "--one", way, backend, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    wall, cpu, peak = done.stdout.split()
    return float(wall), float(cpu), float(peak)


def main(count: int, rounds: int) -> None:
    packages = ", ".join(f"{name} {version(name)}" for name in ("openai", "anyio", "trio", "msgspec", "pydantic"))
    print(f"{count:,} calls of 1 KB at once, batches of {BATCH_SIZE:,}, median of {rounds} runs (least-most)")
    print(f"Python {platform.python_version()}, {packages}; {platform.machine()}, {platform.system()}")
    print("| way | backend | wall s | CPU µs a call | peak memory KB a call |\n|---|---|---|---|---|")
    for backend in ("asyncio", "trio"):
        for way in WAYS:
            runs = [one_run(way, backend, count) for _ in range(rounds)]
            walls, cpus, peaks = zip(*runs, strict=True)
            row = (spread(walls, 1, 2), spread(cpus, 1e6 / count, 0), spread(peaks, 1 / count, 1))
            print(f"| {way} | {backend} | {' | '.join(row)} |", flush=True)


def spread(values: tuple[float, ...], scale: float, digits: int) -> str:
    scaled = [value * scale for value in values]
    return f"{statistics.median(scaled):.{digits}f} ({min(scaled):.{digits}f}-{max(scaled):.{digits}f})"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        anyio.run(measure, sys.argv[2], int(sys.argv[4]), backend=sys.argv[3])
    else:
        numbers = [int(argument) for argument in sys.argv[1:]]
        main(*(numbers + [10_000, 3][len(numbers) :]))
