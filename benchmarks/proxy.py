"""What does `autobatcher serve` cost: CPU time for each request, memory for each that waits, and stalls of its loop?

    python benchmarks/proxy.py [--rounds N] [--environment autobatcher-0.6.0=PYTHON] [--requests N]
    python benchmarks/proxy.py --one ours [--measure waiting] [--server-python PYTHON] [--requests N]

The server runs in a process of its own, with the contender's Python; the clients run in this one, always with ours,
so that both contenders meet the same. Every answer is checked to be the right caller's.

`proxy`: requests of 1 KB over keep-alive connections, ten on each, one after the other, so that each round fills a
window at once. `cpu_us` is the server's user and system time for each request, of all its threads, connecting
included.

`waiting`: all requests wait at once, on a connection each. `kb_each` is what the server's resident memory grew by for
each, once all were submitted upstream. Then the upstream releases them: `release_s` until the last client has its
answer (with up to one poll interval). Two clocks watch the loop meanwhile, from the first arrival to the last answer:
`longest_stall_ms` is the longest that a task in it was woken late (`serve_with_heartbeat.py`), also told for each
phase; `longest_probe_ms` is the longest that GET /health took, less the median (`prober.py`). Garbage collection is
in both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from load import all_answered, connect_all
from rounds import OURS, Contender, argument_parser, run_rounds, upstream_process
from served import Served, raise_file_limit, served
from stalls import LongestStall

PEER = "autobatcher-0.6.0"
REQUESTS = 10_000
EACH = 10
"""Requests on one connection, in the measure `proxy`."""

BATCH_SIZE = 1_000
WARM_UP = 200
PROBER = Path(__file__).parent / "prober.py"


# ---- proxy ----


def measure_proxy(python: str, requests: int) -> dict[str, Any]:
    with upstream_process() as base_url:
        # 0.05 s: ours never polls more often than ten times a second, however it is asked.
        arguments = _arguments(base_url, window=0.5, poll_interval=0.05, batch_size=min(BATCH_SIZE, requests // EACH))
        with served(python, arguments) as server:
            asyncio.run(_call(server, 1, WARM_UP))
            cpu, wall = server.cpu_seconds(), time.monotonic()
            asyncio.run(_call(server, EACH, requests))
            cpu, wall = server.cpu_seconds() - cpu, time.monotonic() - wall
    return {"cpu_us": cpu / requests * 1e6, "wall_s": wall, "requests": requests}


async def _call(server: Served, each: int, requests: int) -> None:
    series = (range(start, start + each) for start in range(0, requests, each))
    await all_answered(await connect_all(server.port, series))


# ---- waiting ----


def measure_waiting(python: str, requests: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, upstream_process() as base_url:
        stall = LongestStall.make(f"{folder}/stall")
        arguments = _arguments(base_url, window=2.0, poll_interval=1.0, batch_size=BATCH_SIZE)
        with served(python, arguments, heartbeat=f"{folder}/stall") as server:
            asyncio.run(_call(server, 1, WARM_UP))
            _post(base_url, "hold")
            before = server.resident_kb()
            stall.take()
            with _prober(server.port) as found:
                result = asyncio.run(_wait_and_release(server, base_url, requests, stall))
    grown = result.pop("resident_kb") - before
    probes = {"longest_probe_ms": found["longest_ms"], "median_probe_ms": found["median_ms"]}
    longest = max(result["arrival_stall_ms"], result["waiting_stall_ms"], result["release_stall_ms"])
    return {"kb_each": grown / requests, "longest_stall_ms": longest, **result, **probes, "requests": requests}


async def _wait_and_release(server: Served, base_url: str, requests: int, stall: LongestStall) -> dict[str, Any]:
    begun = time.monotonic()
    connections = await connect_all(server.port, ([number] for number in range(requests)))
    while sum(_notes(base_url)["lines"]) < WARM_UP + requests:
        await asyncio.sleep(0.1)
    result: dict[str, Any] = {"arrival_s": time.monotonic() - begun, "arrival_stall_ms": stall.take() * 1e3}
    await asyncio.sleep(2)  # some polls, and time for the server to forget what it has uploaded
    result |= {"resident_kb": server.resident_kb(), "waiting_stall_ms": stall.take() * 1e3}
    begun = time.monotonic()
    _post(base_url, "release")
    await all_answered(connections)
    return {**result, "release_s": time.monotonic() - begun, "release_stall_ms": stall.take() * 1e3}


@contextmanager
def _prober(port: int) -> Iterator[dict[str, Any]]:
    """Probes while the block runs; its findings are there after it."""
    found: dict[str, Any] = {}
    command = [sys.executable, str(PROBER), str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield found
            found |= json.loads(process.communicate()[0])
        finally:
            process.kill()


def _notes(base_url: str) -> dict[str, list[float]]:
    with urllib.request.urlopen(f"{base_url}/notes") as response:
        notes: dict[str, list[float]] = json.load(response)
        return notes


def _post(base_url: str, word: str) -> None:
    urllib.request.urlopen(f"{base_url}/{word}", data=b"").close()


# ---- both ----


def _arguments(base_url: str, *, window: float, poll_interval: float, batch_size: int) -> list[str]:
    times = ["--batch-window", str(window), "--poll-interval", str(poll_interval)]
    return ["--base-url", base_url, "--batch-size", str(batch_size), *times]


MEASURES = {"proxy": measure_proxy, "waiting": measure_waiting}


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--one", choices=[OURS, PEER])
    parser.add_argument("--measure", choices=MEASURES, help="default: both, or the first with --one")
    parser.add_argument("--server-python", default=sys.executable)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    options = parser.parse_args()
    if options.one is not None:
        raise_file_limit()
        found = MEASURES[options.measure or "proxy"](options.server_python, options.requests)
        print(json.dumps({**found, "environment": options.one}))
        return
    for measure in [options.measure] if options.measure else MEASURES:
        run_rounds(__file__, measure, _contenders(measure, options), options)


def _contenders(measure: str, options: argparse.Namespace) -> Iterator[Contender]:
    """All of them run in our environment, which only starts the server with theirs; the result names theirs."""
    pythons = {OURS: sys.executable, **dict(each.split("=", 1) for each in options.environment)}
    for name in (OURS, PEER):
        if name in pythons:
            server = ["--measure", measure, "--server-python", pythons[name], "--requests", str(options.requests)]
            yield Contender(name, arguments=server)


if __name__ == "__main__":
    main()
