"""`python -m tests.impatient`: impatient clients on a busy machine are billed once each.

2,000 clients with a timeout of 1 s and three tries each, while other processes use every core: the proxy reads
disconnects and retries seconds late and in any order. Exits with 1 unless each request was billed exactly once.
`nox -s impatient` runs it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import anyio

from tests.cli.processes import COMMAND, environment, find_url, read_until

SETTLE_SECONDS = 15.0
"""After the last try: the window, the batch and whatever is billed twice must have ended by then."""

UPSTREAM = """
import json, signal, trio
from collections import Counter
from autobatcher.emulator import Emulator
from autobatcher.emulator.app import serve_emulator

async def main():
    emulator = Emulator(batch_seconds=2)
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            print(await nursery.start(serve_emulator, emulator), flush=True)
            async for _ in signals:
                nursery.cancel_scope.cancel()
    lines = [line.body["messages"][0]["content"] for line in emulator.statistics().lines if line.billed]
    print(json.dumps(Counter(lines)))

trio.run(main)
"""


def burn() -> None:
    while True:
        pass


@contextmanager
def pressure(processes: int) -> Iterator[None]:
    """Processes that use the CPU while the block runs."""
    burners = [multiprocessing.Process(target=burn, daemon=True) for _ in range(processes)]
    for burner in burners:
        burner.start()
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()


async def ask(url: str, number: int, patience: float, tries: int) -> bool:
    """Send one request until it is answered in time; whether it was."""
    parts = urlsplit(url)
    for retry in range(tries):
        async with await anyio.connect_tcp(parts.hostname or "", parts.port or 80) as stream:
            await stream.send(request(number, retry))
            with anyio.move_on_after(patience):
                return (await stream.receive()).startswith(b"HTTP/1.1 200")
    return False


def request(number: int, retry: int) -> bytes:
    """As the official SDK sends it."""
    message = {"role": "user", "content": f"client {number}."}
    body = json.dumps({"model": "m", "messages": [message]}).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"x-stainless-retry-count: %d\r\ncontent-length: %d\r\n\r\n%b" % (retry, len(body), body)
    )


async def ask_all(url: str, clients: int, patience: float, tries: int) -> int:
    """How many of them were answered."""
    answered = 0

    async def one(number: int) -> None:
        nonlocal answered
        answered += await ask(url, number, patience, tries)

    async with anyio.create_task_group() as nursery:
        for number in range(clients):
            nursery.start_soon(one, number)
    return answered


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--timeout", type=float, default=1.0)
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--burners", type=int, default=2 * (os.cpu_count() or 1))
    given = parser.parse_args()
    upstream = subprocess.Popen([sys.executable, "-c", UPSTREAM], stdout=subprocess.PIPE, text=True)
    assert upstream.stdout is not None
    flags = ["--base-url", f"{upstream.stdout.readline().strip()}/v1", "--api-key", "k", "--port", "0"]
    flags += ["--batch-window", "2", "--poll-interval", "0.3"]
    serve = [*COMMAND, "serve", *flags]
    with subprocess.Popen(
        serve, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as proxy:
        url = find_url(read_until(proxy, "stderr", "/v1 ->"))
        with pressure(given.burners):
            answered = anyio.run(ask_all, url, given.clients, given.timeout, given.tries)
        time.sleep(SETTLE_SECONDS)
        proxy.kill()
    upstream.terminate()
    billed: dict[str, int] = json.loads(upstream.stdout.read())
    print(f"{given.clients} clients, {answered} answered; {sum(billed.values())} billed for {len(billed)} requests")
    return 0 if sum(billed.values()) == len(billed) == given.clients else 1


if __name__ == "__main__":
    sys.exit(main())
