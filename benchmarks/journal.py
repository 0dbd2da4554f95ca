"""What a journal costs: the calls of `facade.py`, with a journal on disk and without one.

Counted until the client is closed, so that everything is written. `per_s` is requests a second.

    python benchmarks/journal.py [--rounds N] [--count N]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import clients
from facade import BURSTS, RUNS, WARM_UP
from rounds import Contender, argument_parser, run_rounds, upstream_process
from spent import spending, versions

KINDS: dict[str, dict[str, Any]] = {
    "off": {},
    "journal": {"journal": True},
    "hash-only": {"journal": True, "journal_hash_only": True},
}


def main() -> None:
    options = _options()
    if options.one is None:
        run_rounds(__file__, "journal", contenders(options.count), options)
    else:
        kind, _, backend = options.one.rpartition("-")
        print(json.dumps(one(kind, backend, options.count) | {"versions": versions()}))


def _options() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--count", type=int, default=50_000, help="calls at once")
    parser.add_argument("--one", metavar="KIND-BACKEND", help="measure this one once, here")
    return parser.parse_args()


def contenders(count: int) -> Iterator[Contender]:
    for backend in BURSTS:
        for kind in KINDS:
            yield Contender(f"{kind}-{backend}", arguments=["--count", str(count)])


def one(kind: str, backend: str, count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory, upstream_process() as base_url:
        path = Path(directory) / "journal.sqlite3"
        settings = {**KINDS[kind], **({"journal": path} if "journal" in KINDS[kind] else {})}

        async def run(base_url: str) -> dict[str, Any]:
            await _burst(clients.ours(base_url), backend, WARM_UP)
            with spending() as spent:
                await _burst(clients.ours(base_url, **settings), backend, count)
            return {
                "count": count,
                "per_s": round(count / spent.wall_seconds),
                "wall_s": round(spent.wall_seconds, 3),
                "cpu_us": round(spent.cpu_seconds * 1e6 / count, 2),
                "journal_mb": round(sum(each.stat().st_size for each in Path(directory).iterdir()) / 1e6, 1),
            }

        return RUNS[backend](run, base_url)


async def _burst(opened: AbstractAsyncContextManager[Any], backend: str, count: int) -> None:
    async with opened as client:
        await BURSTS[backend](client, count)


if __name__ == "__main__":
    main()
