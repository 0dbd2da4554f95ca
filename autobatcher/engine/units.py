"""Durations, sizes and counts as people write them: "90s", "1.5h", "1h30m", "64MB", "1GiB", "1 request". Pure."""

from __future__ import annotations

import math
import re

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_BYTES |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}

# Patterns are compiled when they are first used: the library is imported more often than it reads such a text.
_PART = r"(\d+(?:\.\d+)?)\s*(ms|min|[smhdw])\s*"
_SIZE = r"(\d+(?:\.\d+)?)\s*((?:[kmgt]i?)?b)?"


def parse_duration(text: str) -> float:
    """The seconds that a text such as "10s", "30m", "1.5h", "7d" or "1h30m" means. A bare number is seconds.

    Raises:
        ValueError: for anything else, and for what is negative or infinite.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = parse_units(text)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(_no_duration(text))
    return seconds


def parse_units(text: str) -> float:
    """The same for a text in which every number has a unit. Raises `ValueError` for one without."""
    lowered = text.strip().lower()
    if not re.fullmatch(f"(?:{_PART})+", lowered):
        raise ValueError(_no_duration(text))
    return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(_PART, lowered))


def parse_size(text: str) -> int:
    """The bytes that a text such as "500kB", "64MB" or "1GiB" means. A bare number is bytes.

    Raises:
        ValueError: for anything else.
    """
    match = re.fullmatch(_SIZE, text.strip().lower())
    size = 0.5 if match is None else float(match[1]) * _BYTES[match[2] or "b"]
    if not size.is_integer():
        raise ValueError(f'"{text}" is no size: write 500kB, 64MB or 1GiB. A bare number is bytes.')
    return int(size)


def format_duration(seconds: float) -> str:
    """The shortest text with one unit that `parse_duration` reads as these seconds."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.12g}{unit}"
    return f"{seconds:.12g}s"


def format_size(size: int) -> str:
    """The shortest text that `parse_size` reads as these bytes."""
    for unit in ("GiB", "MiB", "GB", "MB", "kB"):
        if size and size % _BYTES[unit.lower()] == 0:
            return f"{size // _BYTES[unit.lower()]}{unit}"
    return str(size)


def format_requests(count: int) -> str:
    """The count with its noun: "1 request", "1,200 requests"."""
    return f"{count:,} {'request' if count == 1 else 'requests'}"


def _no_duration(text: str) -> str:
    return f'"{text}" is no duration: write 10s, 30m, 1.5h or 7d. A bare number is seconds.'
