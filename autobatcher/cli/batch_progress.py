"""How far `autobatcher batch` is: on a terminal, in lines, or as JSON."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio

from ..engine.units import format_duration
from ..printable import json_line
from ..progress import Progress
from .live_status import Screen, live_picture, show

LINE_SECONDS = 30.0


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Body(msgspec.Struct):
    usage: _Usage | None = None


_decode_usage = msgspec.json.Decoder(_Body).decode


def tokens_in(body: bytes) -> tuple[int, int]:
    """The input and output tokens of an answer; 0 if it does not tell."""
    try:
        usage = _decode_usage(body).usage or _Usage()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return 0, 0
    return usage.prompt_tokens or usage.input_tokens or 0, usage.completion_tokens or usage.output_tokens or 0


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
async def shown(
    progress: Progress, screen: Screen, queued: Callable[[], int], write_json: Callable[[str], None] | None
) -> AsyncGenerator[None]:
    """Show the progress while the block runs, and where it ended.

    Args:
        queued: counts the calls that are in no batch yet.
        write_json: takes a line of JSON in place of all that is shown; None shows it.
    """

    def tell() -> None:
        if write_json is not None:
            write_json(json_line(snapshot(progress)))
        elif not screen.is_live:
            screen.say(plain_progress(progress))

    def picture() -> Any:
        return live_picture(progress, queued=queued(), now=progress.seconds)

    quiet = Screen(screen.console, is_live=screen.is_live and write_json is None)
    async with trio.open_nursery() as nursery, show(quiet, picture):
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
