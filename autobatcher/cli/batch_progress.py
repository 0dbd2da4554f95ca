"""How far `autobatcher batch` is: on a terminal, in lines, or as JSON."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from ..engine.units import format_duration
from ..printable import json_line
from ..progress import Progress
from .live_status import Screen

LINE_SECONDS = 30.0


def snapshot(progress: Progress) -> dict[str, Any]:
    """How far a run is, for programs."""
    return {
        "answered": progress.answered,
        "batches": progress.submitted_batches,
        "batches_running": _running(progress),
        "failed": progress.failed,
        "input_tokens": progress.input_tokens,
        "output_tokens": progress.output_tokens,
        "requests": progress.requests,
        "seconds": round(progress.seconds, 1),
        "seconds_left": _seconds_left(progress),
    }


def plain_progress(progress: Progress) -> str:
    """How far a run is, in a line."""
    left = _seconds_left(progress)
    parts = [
        f"{progress.answered:,} of {progress.requests or 0:,} answered",
        *([f"{progress.failed:,} failed"] if progress.failed else []),
        f"{progress.submitted_batches:,} batches, {_running(progress):,} running",
        f"{progress.input_tokens:,} tokens in, {progress.output_tokens:,} out",
        f"{_done(progress) / max(progress.seconds, 0.1):,.1f}/s",
        *([f"about {format_duration(left)} left"] if left else []),
    ]
    return ", ".join(parts)


@asynccontextmanager
async def shown(progress: Progress, screen: Screen, write_json: Callable[[str], None] | None) -> AsyncGenerator[None]:
    """Tell the progress in lines while the block runs, and where it ended. A live picture is the client's.

    Args:
        write_json: takes a line of JSON in place of all that is shown; None shows it.
    """

    def tell() -> None:
        if write_json is not None:
            write_json(json_line(snapshot(progress)))
        elif not screen.is_live:
            screen.say(plain_progress(progress))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_repeat, tell)
        try:
            yield
        finally:
            nursery.cancel_scope.cancel()
            tell()


async def _repeat(tell: Callable[[], None]) -> None:
    while True:
        await trio.sleep(LINE_SECONDS)
        tell()


def _done(progress: Progress) -> int:
    return progress.answered + progress.failed


def _running(progress: Progress) -> int:
    return sum(batch.ended is None for batch in progress.batches.values())


def _seconds_left(progress: Progress) -> int | None:
    """At the rate so far; None before there is one."""
    done = _done(progress)
    return round(progress.seconds * ((progress.requests or 0) - done) / done) if done else None
