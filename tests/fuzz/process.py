"""This process: its memory, its descriptors, its threads. Linux."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import threading
from pathlib import Path

STATUS = Path("/proc/self/status")
DESCRIPTORS = Path("/proc/self/fd")
TRIMMED = ("Trio thread", "AnyIO worker", "trio")
"""Threads of libraries that end by themselves when they were idle for a while."""


def resident_bytes() -> int:
    return _kilobytes("VmRSS") * 1024


def peak_bytes() -> int:
    """The most that was resident since `reset_peak`."""
    return _kilobytes("VmHWM") * 1024


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _kilobytes(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process; none if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def tidy() -> None:
    """Collect garbage, and give free memory back to the system: what stays resident is in use."""
    gc.unfreeze()
    gc.set_threshold(700, 10, 10)
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def descriptors() -> dict[str, str]:
    """What is open: number and name."""
    found = {}
    for entry in DESCRIPTORS.iterdir():
        try:
            found[entry.name] = os.readlink(entry)
        except OSError:
            continue  # the one that lists them
    return found


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if not thread.name.startswith(TRIMMED)}
