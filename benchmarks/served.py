"""A contender's `autobatcher serve` in a process of its own, and what it costs there."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 30.0

LAUNCHER = Path(__file__).parent / "serve_with_heartbeat.py"


@dataclass(frozen=True)
class Served:
    """A proxy that listens."""

    pid: int
    port: int

    def cpu_seconds(self) -> float:
        """User and system time so far, of all its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_kb(self) -> int:
        """What it has of the machine's memory now."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


@contextmanager
def served(python: str, arguments: Sequence[str], *, heartbeat: str | None = None) -> Iterator[Served]:
    """Run `serve` with `arguments` by that Python until the block ends; events and logs go to /dev/null.

    Args:
        heartbeat: a file for the longest stall; see `serve_with_heartbeat`.
    """
    port = _free_port()
    program = ["-m", "autobatcher"] if heartbeat is None else [str(LAUNCHER), heartbeat]
    command = [python, *program, "serve", "--port", str(port), "--api-key", "any", *arguments]
    # In "/", since -m looks in the working directory first, and there may be another autobatcher.
    with subprocess.Popen(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_until_healthy(process, port)
            yield Served(process.pid, port)
        finally:
            process.kill()


def raise_file_limit() -> None:
    """As many open connections as the system allows, here and in every process started from here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int) -> None:
    last = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < last:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return
        time.sleep(0.05)
    raise RuntimeError(f"serve did not start; exit code {process.poll()}")
