"""What a call costs a thread: 2,000 threads with `BatchOpenAISync`, beside the official `OpenAI` calling one by one.

Each thread makes its calls one after the other, of 1 KB each. Threads are started before, so that no contender is
charged for them. `cpu_us` is CPU microseconds of the process for each call; the upstream is a process of its own, and
answers single calls as fast as it answers batches.

    python benchmarks/threads.py [--rounds N] [--threads N] [--calls N ...]
"""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import clients
import openai
from facade import WARM_UP, body, check
from rounds import Contender, argument_parser, run_rounds, upstream_process
from spent import spending, versions

STACK_BYTES = 256 << 10
"""Of each thread: 2,000 of the usual 8 MB are too many for small machines."""


def official(base_url: str) -> AbstractContextManager[Any]:
    return openai.OpenAI(api_key="any", base_url=base_url)


CLIENTS: dict[str, Callable[[str], AbstractContextManager[Any]]] = {"ours": clients.sync, "openai": official}


def main() -> None:
    options = _options()
    if options.one is None:
        run_rounds(__file__, "threads", contenders(options.threads, options.calls), options)
    else:
        calls = int(options.one.rpartition("-")[2])
        print(json.dumps(one(options.one.partition("-")[0], options.threads, calls) | {"versions": versions()}))


def _options() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--threads", type=int, default=2_000)
    parser.add_argument("--calls", type=int, nargs="*", default=[1, 5], help="of each thread")
    parser.add_argument("--one", metavar="CONTENDER-CALLS", help="measure this one once, here")
    return parser.parse_args()


def contenders(threads: int, calls: list[int]) -> Iterator[Contender]:
    for each in calls:
        for name in CLIENTS:
            yield Contender(f"{name}-{each}", arguments=["--threads", str(threads)])


def one(name: str, threads: int, calls: int) -> dict[str, Any]:
    with upstream_process() as base_url, CLIENTS[name](base_url) as client:
        for number in range(WARM_UP):
            call(client, number)
        errors: list[BaseException] = []
        begin = threading.Barrier(threads + 1)
        each = [
            threading.Thread(target=run, args=(client, n, calls, begin, errors), daemon=True) for n in range(threads)
        ]
        for thread in each:
            thread.start()
        with spending() as spent:
            begin.wait()
            for thread in each:
                thread.join()
        if errors:
            raise errors[0]
    count = threads * calls
    return {
        "count": count,
        "cpu_us": round(spent.cpu_seconds * 1e6 / count, 2),
        "wall_s": round(spent.wall_seconds, 3),
        "peak_kb": round(spent.peak_kb / threads, 3),
    }


def run(client: Any, number: int, calls: int, begin: threading.Barrier, errors: list[BaseException]) -> None:
    begin.wait()
    try:
        for index in range(calls):
            call(client, number * calls + index)
    except BaseException as error:
        errors.append(error)


def call(client: Any, number: int) -> None:
    check(client.chat.completions.create(**body(number)), number)


if __name__ == "__main__":
    threading.stack_size(STACK_BYTES)
    main()
