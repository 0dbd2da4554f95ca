"""What a block costs the process it runs in: CPU, time, the highest memory, and the longest garbage collection.

Memory is what the kernel counts as resident (Linux): the peak within the block, which is forgotten at its start, beyond
what was resident then. `ru_maxrss` would do as well, were it not that it keeps the peak of whatever ran before.
"""

from __future__ import annotations

import gc
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

PACKAGES = ("autobatcher", "batchling", "openai", "httpx", "httpx2", "anyio", "trio", "msgspec", "pydantic")
_PROCESS = Path("/proc/self")


@dataclass
class Spent:
    """CPU is that of all threads of the process; all are zero until the block is over."""

    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_kb: float = 0.0
    longest_collection: float = 0.0


@contextmanager
def spending() -> Iterator[Spent]:
    spent = Spent()
    gc.collect()
    (_PROCESS / "clear_refs").write_text("5")  # the peak is the present from now on
    before = _memory_kb("VmRSS")
    with collections_watched(spent):
        wall, cpu = time.perf_counter(), time.process_time()
        yield spent
    spent.wall_seconds, spent.cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    spent.peak_kb = _memory_kb("VmHWM") - before


class WithCollections(Protocol):
    """Where the longest garbage collection is noted, in seconds of CPU: other processes may have the core meanwhile."""

    longest_collection: float


@contextmanager
def collections_watched(noted: WithCollections) -> Iterator[None]:
    """Note the longest garbage collection."""
    begun = 0.0

    def note(phase: str, info: dict[str, int]) -> None:
        nonlocal begun
        if phase == "start":
            begun = time.thread_time()
        else:
            noted.longest_collection = max(noted.longest_collection, time.thread_time() - begun)

    gc.callbacks.append(note)
    try:
        yield
    finally:
        gc.callbacks.remove(note)


def resident_kb() -> int:
    """What this process has in memory now."""
    return _memory_kb("VmRSS")


def _memory_kb(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", (_PROCESS / "status").read_text())
    assert found is not None
    return int(found[1])


def versions() -> dict[str, str]:
    """Python's, and those of the packages that matter, as far as they are installed here."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
