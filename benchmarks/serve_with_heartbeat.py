"""`python -m autobatcher ...` with a task in its event loop that notes how late it is woken. For any version of it.

    python benchmarks/serve_with_heartbeat.py FILE serve --port ...     # FILE: see `LongestStall.make`

A probe from outside competes with the load generator for the cores, and waits for HTTP, too; this waits for nothing but
the loop. Nothing of the measured package is changed: the task is added where the loop is made.
"""

from __future__ import annotations

import asyncio
import runpy
import sys
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Any, cast

from stalls import LongestStall


def watch_asyncio(stall: LongestStall) -> None:
    """Every asyncio loop from now on."""
    make_loop = asyncio.new_event_loop

    def make_watched_loop() -> asyncio.AbstractEventLoop:
        loop = make_loop()
        loop.heartbeat = loop.create_task(stall.watch(asyncio.sleep))  # type: ignore[attr-defined]  # held by it
        return loop

    asyncio.new_event_loop = make_watched_loop


def watch_trio(stall: LongestStall) -> None:
    """Every `trio.run` from now on."""
    import trio

    run, trio_module = trio.run, cast("Any", trio)

    def run_watched(main: Callable[..., Awaitable[Any]], *arguments: Any, **options: Any) -> Any:
        async def watched() -> Any:
            trio.lowlevel.spawn_system_task(stall.watch, trio.sleep)
            return await main(*arguments)

        return run(watched, **options)

    trio_module.run = run_watched


if __name__ == "__main__":
    longest = LongestStall(sys.argv[1])
    watch_asyncio(longest)
    if find_spec("trio") is not None:
        watch_trio(longest)
    sys.argv = ["autobatcher", *sys.argv[2:]]
    runpy.run_module("autobatcher", run_name="__main__", alter_sys=True)
