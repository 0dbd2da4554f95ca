"""Fewer cases that show the same finding."""

from __future__ import annotations

import time
from collections.abc import Callable

from .target import Case


def shrunk(cases: list[Case], fails: Callable[[list[Case]], bool], seconds: float) -> list[Case]:
    """A part of the cases for which `fails` still holds: by halves, quarters, and so on, until the time is up."""
    deadline = time.monotonic() + seconds
    parts = 2
    while len(cases) > 1 and time.monotonic() < deadline:
        smaller = next((rest for rest in _smaller(cases, parts) if time.monotonic() < deadline and fails(rest)), None)
        if smaller is not None:
            cases, parts = smaller, 2
        elif parts >= len(cases):
            break
        else:
            parts = min(2 * parts, len(cases))
    return cases


def _smaller(cases: list[Case], parts: int) -> list[list[Case]]:
    """Each part alone, and all but each part."""
    size = -(-len(cases) // parts)
    cuts = range(0, len(cases), size)
    alone = [cases[at : at + size] for at in cuts]
    without = [cases[:at] + cases[at + size :] for at in cuts] if parts > 2 else []
    return alone + without
