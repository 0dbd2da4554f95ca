"""This process: its memory, its descriptors, its threads. Linux, with glibc."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import sys
import threading
from pathlib import Path

LIBC = ctypes.CDLL(None)
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


class _Mallinfo(ctypes.Structure):
    """What glibc's `mallinfo2` says."""

    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in _names.split()]


SMALL_OBJECT_BYTES = 100
"""Roughly. Python keeps objects of up to 512 bytes in blocks of its own, and says how many there are."""


def used_bytes() -> int:
    """What is in use. More is resident: allocators keep what was freed between objects that are in use."""
    tell = LIBC.mallinfo2
    tell.restype = _Mallinfo
    found = tell()
    return int(found.uordblks + found.hblkhd) + SMALL_OBJECT_BYTES * sys.getallocatedblocks()


def give_back_what_is_freed() -> None:
    """Let glibc return each large block to the system when it is freed, and keep nothing for the next one.

    Else it keeps as much as twice the largest block that it has seen, up to 64 MB, which would count as taken.
    """
    for parameter, size in ((M_MMAP_THRESHOLD, 1_000_000), (M_TRIM_THRESHOLD, 1_000_000)):
        LIBC.mallopt(parameter, size)


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""As in malloc.h."""


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
    """Collect garbage, and give free memory back to the system."""
    gc.unfreeze()
    gc.set_threshold(700, 10, 10)
    gc.collect()
    gc.freeze()
    LIBC.malloc_trim(0)


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
