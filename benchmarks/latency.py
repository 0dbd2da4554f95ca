"""How soon does a caller have its answer once the upstream is done, and what of the event loop's time does it take?

    python benchmarks/latency.py [--rounds N] [--calls N]
    python benchmarks/latency.py --one ours-asyncio [--calls N]

Three bursts through one client, all calls of 1 KB, batches of 1,000, polled every second: one batch through the SDK,
all `--calls` through the SDK, and as many through the engine alone (`client.answer`). In each, the upstream holds the
batches until all were created, and releases them at one moment; a caller's time runs from there. (A batch that was
held for longer is polled less often: see `autobatcher/engine/batch/poll_schedule.py`. These have not come so far.)

`excess_ms` is the last caller's time less one poll interval; `excess_one_batch_ms` and `engine_excess_ms` are the
same for the other bursts. Polls are a fifth earlier or later by chance; so each has a `..._after_poll_ms`, from the
last time that the upstream told of a completed batch to the last caller's answer, which is the library's own and the
SDK's.

`longest_block_ms` is how late a task that sleeps for 1 ms was woken at most, in the burst of all calls through the
SDK, from when all calls were waiting to the last answer; `engine_longest_block_ms` the same for the engine. Calls are
started in slices of 100 with a checkpoint after each, since whoever starts 10,000 tasks in one go blocks the loop
himself; what the slices block it for (100 requests built by the SDK) is `starting_block_ms`. `longest_gc_ms` is the
longest garbage collection in that burst, its start included, in CPU time.

`first_byte_ms` is from the call that fills a window to the first byte of the upload at the upstream.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx
from rounds import Contender, argument_parser, run_rounds, upstream_process
from spent import collections_watched

from autobatcher import BatchOpenAI

CALLS = 10_000
BATCH_SIZE = 1_000
SLICE = 100
POLL_SECONDS = 1.0
BEAT_SECONDS = 0.001
BACKENDS = {"ours-asyncio": "asyncio", "ours-trio": "trio"}

Call = Callable[[BatchOpenAI, int], Awaitable[None]]


async def through_the_sdk(client: BatchOpenAI, number: int) -> None:
    completion = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": text(number)}])
    check(str(completion.choices[0].message.content), number)


async def through_the_engine(client: BatchOpenAI, number: int) -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"%b"}]}' % text(number).encode()
    check((await client.answer("/v1/chat/completions", body)).body.decode(), number)


def text(number: int) -> str:
    return f"caller-{number}. " + "x" * 1000


def check(answer: str, number: int) -> None:
    if f"caller-{number}." not in answer:
        raise AssertionError(f"caller {number} got another's answer")


@dataclass
class Burst:
    """What one burst saw; times are `time.monotonic()`."""

    filled_at: float = 0.0
    starting_block: float = 0.0
    longest_block: float = 0.0
    longest_collection: float = 0.0
    answered: list[float] = field(default_factory=list)
    notes: dict[str, list[float]] = field(default_factory=dict)

    @property
    def excess_ms(self) -> float:
        return (max(self.answered) - self.notes["released"][-1] - POLL_SECONDS) * 1e3

    @property
    def after_poll_ms(self) -> float:
        return (max(self.answered) - self.notes["completed"][-1]) * 1e3


async def measure(base_url: str, calls: int) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=base_url, trust_env=False) as upstream, make_client(base_url) as client:
        await warm_up(upstream, client)
        first = await run_burst(upstream, client, through_the_sdk, BATCH_SIZE)
        full = await run_burst(upstream, client, through_the_sdk, calls)
        engine = await run_burst(upstream, client, through_the_engine, calls)
    return {
        "excess_ms": full.excess_ms,
        "after_poll_ms": full.after_poll_ms,
        "excess_one_batch_ms": first.excess_ms,
        "one_batch_after_poll_ms": first.after_poll_ms,
        "engine_excess_ms": engine.excess_ms,
        "engine_after_poll_ms": engine.after_poll_ms,
        "longest_block_ms": full.longest_block * 1e3,
        "starting_block_ms": full.starting_block * 1e3,
        "engine_longest_block_ms": engine.longest_block * 1e3,
        "longest_gc_ms": full.longest_collection * 1e3,
        "first_byte_ms": (first.notes["first_byte"][-1] - first.filled_at) * 1e3,
        "calls": calls,
    }


def make_client(base_url: str) -> BatchOpenAI:
    return BatchOpenAI(
        api_key="any",
        base_url=base_url,
        batch_size=BATCH_SIZE,
        batch_window_seconds=600.0,
        poll_interval_seconds=POLL_SECONDS,
    )


async def warm_up(upstream: httpx.AsyncClient, client: BatchOpenAI) -> None:
    """Imports, first connections, and the SDK's models."""
    await upstream.post("release", timeout=60)
    async with anyio.create_task_group() as callers:
        await start_in_slices(callers.start_soon, client, through_the_sdk, range(BATCH_SIZE), Burst())


async def run_burst(upstream: httpx.AsyncClient, client: BatchOpenAI, call: Call, calls: int) -> Burst:
    """All calls, held, released and answered."""
    burst = Burst()
    await upstream.post("hold")
    created = len((await notes_of(upstream))["created"]) + calls // BATCH_SIZE
    gc.collect()
    async with anyio.create_task_group() as callers, watched(burst):
        await start_in_slices(callers.start_soon, client, call, range(calls - 1), burst)
        await wait_until_waiting(client, calls - 1)
        callers.start_soon(answer, client, call, calls - 1, burst)
        while len((await notes_of(upstream))["created"]) < created:
            await anyio.sleep(0.02)
        burst.starting_block, burst.longest_block = burst.longest_block, 0.0
        await upstream.post("release")
        while len(burst.answered) < calls:
            await anyio.sleep(0.02)
    burst.notes = await notes_of(upstream)
    return burst


async def start_in_slices(
    start: Callable[..., Any], client: BatchOpenAI, call: Call, numbers: range, to: Burst
) -> None:
    for first in range(0, len(numbers), SLICE):
        for number in numbers[first : first + SLICE]:
            start(answer, client, call, number, to)
        await anyio.lowlevel.checkpoint()


async def answer(client: BatchOpenAI, call: Call, number: int, burst: Burst) -> None:
    burst.filled_at = time.monotonic()  # the last call's start is what stays
    await call(client, number)
    burst.answered.append(time.monotonic())


async def wait_until_waiting(client: BatchOpenAI, calls: int) -> None:
    while (statistics := client.batch_statistics()) is None or statistics.waiting_requests < calls:
        await anyio.sleep(0.02)


async def notes_of(upstream: httpx.AsyncClient) -> dict[str, list[float]]:
    notes: dict[str, list[float]] = (await upstream.get("notes")).json()
    return notes


@asynccontextmanager
async def watched(burst: Burst) -> AsyncIterator[None]:
    """Note how late the loop wakes a task that sleeps for a millisecond."""

    async def beat() -> None:
        while True:
            begun = time.monotonic()
            await anyio.sleep(BEAT_SECONDS)
            burst.longest_block = max(burst.longest_block, time.monotonic() - begun - BEAT_SECONDS)

    with collections_watched(burst):
        async with anyio.create_task_group() as beating:
            beating.start_soon(beat)
            yield
            beating.cancel_scope.cancel()


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--one", choices=BACKENDS)
    parser.add_argument("--calls", type=whole_batches, default=CALLS)
    options = parser.parse_args()
    if options.one is not None:
        with upstream_process("--hold") as base_url:
            print(json.dumps(anyio.run(measure, base_url, options.calls, backend=BACKENDS[options.one])))
        return
    contenders = [Contender(name, arguments=("--calls", str(options.calls))) for name in BACKENDS]
    run_rounds(__file__, "latency", contenders, options)


def whole_batches(given: str) -> int:
    calls = int(given)
    if calls < BATCH_SIZE or calls % BATCH_SIZE:
        raise argparse.ArgumentTypeError(f"must be a multiple of {BATCH_SIZE}: only full windows are sent")
    return calls


if __name__ == "__main__":
    main()
