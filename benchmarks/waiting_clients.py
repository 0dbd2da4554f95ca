"""How much memory does one waiting request cost the proxy?

Starts `autobatcher serve` in a process of its own, opens N connections with one request each, waits until all of them
are queued, and reads the process's resident memory from /proc before and after.

    python benchmarks/waiting_clients.py [N] [ROUNDS]
"""

from __future__ import annotations

import platform
import re
import resource
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import trio

BODY = b'{"model":"m","messages":[{"role":"user","content":"' + b"x" * 1000 + b'"}]}'
HEAD = (
    "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    f"content-length: {len(BODY)}\r\n\r\n"
)


async def one_round(clients: int) -> float:
    """Kilobytes of resident memory for each waiting request."""
    command = [sys.executable, "-m", "autobatcher", "serve", "--port", "0", "--api-key", "k"]
    command += ["--base-url", "http://127.0.0.1:9/v1", "--batch-size", "50000", "--batch-window", "600"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            port = int(re.findall(r":(\d+)/v1 ->", process.stderr.readline())[0])
            await visit(port, b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            before = resident_kilobytes(process.pid)
            streams = []
            for _ in range(clients):
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                await stream.send_all(HEAD.encode() + BODY)
                streams.append(stream)
            # Answered only after everything before it was read: requests are handled in the order they come.
            for _ in range(20):
                await visit(port, b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
                await trio.sleep(0.1)
            return (resident_kilobytes(process.pid) - before) / clients
        finally:
            process.kill()


async def visit(port: int, request: bytes) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request)
        await stream.receive_some()


def resident_kilobytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0])


def main(clients: int, rounds: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    costs = [trio.run(one_round, clients) for _ in range(rounds)]
    packages = ", ".join(f"{name} {version(name)}" for name in ("hypercorn", "quart-trio", "trio"))
    print(f"Python {platform.python_version()}, {packages}; {platform.machine()}, {platform.system()}")
    print(
        f"{clients:,} waiting requests of 1 KB, HTTP/1.1: {statistics.median(costs):.1f} KB each "
        f"({min(costs):.1f}-{max(costs):.1f}, {rounds} runs)"
    )


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    main(*(numbers + [2_000, 3][len(numbers) :]))
