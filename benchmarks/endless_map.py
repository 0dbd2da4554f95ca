"""`client.map` over an endless generator: its memory does not grow with the number of results.

    python benchmarks/endless_map.py [--count N] [--backend asyncio]

Takes N results and fails if the last tenth of them needed more memory than `GROWTH_KB` beyond the first tenth.
"""

from __future__ import annotations

import argparse
import itertools
from typing import Any

import anyio
from rounds import upstream_process
from spent import resident_kb

from autobatcher import BatchOpenAI

GROWTH_KB = 30_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--backend", default="asyncio")
    options = parser.parse_args()
    with upstream_process() as base_url:
        sizes = anyio.run(take, base_url, options.count, backend=options.backend)
    print(f"{options.backend}: {options.count:,} results; resident after each tenth: {sizes} kB")
    if sizes[-1] - sizes[0] > GROWTH_KB:
        raise SystemExit(f"the memory grew by more than {GROWTH_KB:,} kB")


async def take(base_url: str, count: int) -> list[int]:
    """What is resident after each tenth of the results."""
    sizes = []
    calls = (call(number) for number in itertools.count())
    settings: dict[str, Any] = {"batch_window_seconds": 0.2, "poll_interval_seconds": 0.05}
    async with BatchOpenAI(api_key="any", base_url=base_url, **settings) as client:
        taken = 0
        async for result in client.map(calls):
            assert result.exception is None, result.exception
            taken += 1
            if taken % (count // 10) == 0:
                sizes.append(resident_kb())
            if taken == count:
                break
    return sizes


def call(number: int) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": f"caller-{number}."}]}


if __name__ == "__main__":
    main()
