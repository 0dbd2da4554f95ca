"""What one call through the SDK's own surface costs: N calls at once, from the first one's start to the last answer.

Each caller is a task of one native group, sends 1 KB, checks that the answer is its own, and drops it; so does
everybody's, so that memory is what a library needs and not what its users keep. The upstream is a process of its own
at loopback, so that its work is in nobody's CPU. Ten calls beforehand make imports and connections.

For each contender: `cpu_us`, CPU microseconds of the process for each request; `wall_s`, for 50,000 calls in 50
batches; `peak_kb`, the peak of resident memory during the calls, beyond what was resident before them, for each
request, less the 1 KB of its body; and `longest_gc_ms`, the longest garbage collection.

- "facade": ours and others; `floor`, the bytes alone (see `floors.py`); `tasks-asyncio` and `tasks-trio`, N waiting
  tasks alone. From the floors' `peak_kb` nothing is taken off: `floor` keeps its completions, but no bodies; tasks have
  none.
- "growth": ours with 1,000 to 100,000 callers; the small ones several times in a row, so that they can be timed.

    python benchmarks/facade.py [--rounds N] [--environment NAME=PYTHON ...] [--count N] [--growth N ...]
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import clients
from rounds import OURS, Contender, argument_parser, run_rounds, upstream_process
from spent import Spent, spending, versions

WARM_UP = 10
BODY_KB = 1.0
GROWTH_CALLS = 20_000
"""How many calls a growth run makes at least, as several bursts if one is smaller."""


@dataclass(frozen=True)
class Facade:
    """A client to call, the environment that it is in, and the backend it runs on."""

    open: Callable[[str], AbstractAsyncContextManager[Any]]
    environment: str = OURS
    backend: str = "asyncio"
    most: int | None = None
    """How many calls are enough for one that takes a minute for fifty thousand (its cost for each does not change)."""


FACADES = {
    "ours-asyncio": Facade(clients.ours),
    "ours-trio": Facade(clients.ours, backend="trio"),
    "ours-openai2-asyncio": Facade(clients.ours, "ours-openai2"),
    "ours-openai2-trio": Facade(clients.ours, "ours-openai2", "trio"),
    "autobatcher-0.6.0": Facade(clients.older, "autobatcher-0.6.0"),
    "autobatcher-0.12.0": Facade(clients.old, "autobatcher-0.12.0"),
    "batchling-0.1.0a3": Facade(clients.batchling, "batchling-0.1.0a3", most=5_000),
    "pydantic-ai": Facade(clients.pydantic_ai, "pydantic-ai", most=5_000),
    "openai-one-by-one": Facade(clients.one_by_one, most=5_000),
}
FLOORS = ("floor", "tasks-asyncio", "tasks-trio")
GROWING = ("ours-asyncio", "ours-trio")


def main() -> None:
    options = _options()
    if options.one is None:
        run_rounds(__file__, "facade", facade_contenders(options.count), options)
        run_rounds(__file__, "growth", growth_contenders(options.growth), options)
    else:
        name = options.one.removesuffix(f"-{options.count}")
        print(json.dumps(one(name, options.count, options.times) | {"versions": versions()}))


def _options() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--count", type=int, default=50_000, help="calls at once")
    parser.add_argument("--growth", type=int, nargs="*", default=[1_000, 10_000, 100_000], help="calls at once, each")
    parser.add_argument("--one", metavar="CONTENDER", help="measure this one once, here")
    parser.add_argument("--times", type=int, default=1, help="bursts of `--count` calls, with --one")
    return parser.parse_args()


def facade_contenders(count: int) -> Iterator[Contender]:
    for name, facade in FACADES.items():
        yield Contender(name, facade.environment, ["--count", str(min(count, facade.most or count))])
    for name in FLOORS:
        yield Contender(name, arguments=["--count", str(count)])


def growth_contenders(counts: list[int]) -> Iterator[Contender]:
    for name in GROWING:
        for count in counts:
            times = max(1, GROWTH_CALLS // count)
            yield Contender(f"{name}-{count}", arguments=["--count", str(count), "--times", str(times)])


def one(name: str, count: int, times: int) -> dict[str, Any]:
    if name in FACADES:
        return measure_facade(FACADES[name], count, times)
    return measure_bytes(count) if name == "floor" else measure_tasks(name.removeprefix("tasks-"), count)


def measure_facade(facade: Facade, count: int, times: int) -> dict[str, Any]:
    burst = BURSTS[facade.backend]

    async def run(base_url: str) -> dict[str, Any]:
        async with facade.open(base_url) as client:
            await burst(client, WARM_UP)
            with spending() as spent:
                for _ in range(times):
                    await burst(client, count)
        return _result(spent, count, times)

    with upstream_process() as base_url:
        return RUNS[facade.backend](run, base_url)


def measure_bytes(count: int) -> dict[str, Any]:
    import floors  # wants what our own environment has

    size = clients.BATCH_SIZE
    batches = [range(first, min(first + size, count)) for first in range(0, count, size)]
    outputs = [floors.prepared_output([body(number) for number in batch]) for batch in batches]
    list(floors.completions(floors.prepared_output([body(number) for number in range(WARM_UP)])))
    with spending() as spent:
        for batch, output in zip(batches, outputs, strict=True):
            floors.input_file([body(number) for number in batch])
            for number, completion in zip(batch, floors.completions(output), strict=True):
                check(completion, number)
    return _result(spent, count, body_kb=0)


def measure_tasks(backend: str, count: int) -> dict[str, Any]:
    import floors

    tasks = {"asyncio": floors.asyncio_tasks, "trio": floors.trio_tasks}[backend]

    async def run() -> dict[str, Any]:
        await tasks(WARM_UP)
        with spending() as spent:
            await tasks(count)
        return _result(spent, count, body_kb=0)

    return RUNS[backend](run)


def _result(spent: Spent, count: int, times: int = 1, *, body_kb: float = BODY_KB) -> dict[str, Any]:
    return {
        "count": count,
        "cpu_us": round(spent.cpu_seconds * 1e6 / count / times, 2),
        "wall_s": round(spent.wall_seconds / times, 3),
        "peak_kb": round(spent.peak_kb / count - body_kb, 3),
        "longest_gc_ms": round(spent.longest_collection * 1e3, 1),
    }


async def call(client: Any, number: int) -> None:
    check(await client.chat.completions.create(**body(number)), number)


def body(number: int) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": f"caller-{number}. " + "x" * 1000}]}


def check(completion: Any, number: int) -> None:
    content = completion.choices[0].message.content
    if not content.startswith(f"caller-{number}."):
        raise AssertionError(f"caller {number} got another's answer: {content[:30]}")


async def asyncio_burst(client: Any, count: int) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(call(client, number))


async def trio_burst(client: Any, count: int) -> None:
    import trio

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(call, client, number)


def asyncio_run(function: Callable[..., Coroutine[Any, Any, dict[str, Any]]], *arguments: Any) -> dict[str, Any]:
    return asyncio.run(function(*arguments))


def trio_run(function: Callable[..., Coroutine[Any, Any, dict[str, Any]]], *arguments: Any) -> dict[str, Any]:
    import trio

    return trio.run(function, *arguments)


BURSTS = {"asyncio": asyncio_burst, "trio": trio_burst}
RUNS = {"asyncio": asyncio_run, "trio": trio_run}


if __name__ == "__main__":
    main()
