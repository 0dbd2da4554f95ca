"""Ctrl-C and SIGTERM: the first one stops gracefully, the second one at once."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import trio


async def run_until_signalled(work: Callable[[trio.Event], Awaitable[None]]) -> signal.Signals | None:
    """Run `work(stop)` to its end. Returns the first signal received meanwhile, or None.

    The first SIGINT or SIGTERM sets `stop`, upon which `work` should return; the second one cancels it. Exceptions of
    `work` are raised as they are. Must be called in the main thread.
    """
    stop = trio.Event()
    received: list[signal.Signals] = []
    failure: Exception | None = None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, signals, received, stop, nursery.cancel_scope)
            try:
                await work(stop)
            except Exception as error:
                failure = error  # raised below, outside the nursery, so that it is not wrapped in a group
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return received[0] if received else None


def run_until_interrupted(work: Callable[[], Awaitable[int]]) -> int:
    """Run `work()` in trio. Returns its exit code, or 128 + the number of the first signal.

    The first SIGINT or SIGTERM cancels it.
    """
    codes: list[int] = []
    failures: list[Exception] = []

    async def cancelled_upon(stop: trio.Event) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_upon, stop, nursery.cancel_scope)
            try:
                codes.append(await work())
            except Exception as error:
                failures.append(error)  # raised below, outside the nursery
            nursery.cancel_scope.cancel()
        if failures:
            raise failures.pop()

    received = trio.run(run_until_signalled, cancelled_upon)
    return codes[0] if codes else 128 + (received or signal.SIGINT)


async def _cancel_upon(stop: trio.Event, scope: trio.CancelScope) -> None:
    await stop.wait()
    scope.cancel()


async def _watch(
    signals: AsyncIterator[int], received: list[signal.Signals], stop: trio.Event, scope: trio.CancelScope
) -> None:
    async for number in signals:
        received.append(signal.Signals(number))
        if stop.is_set():
            scope.cancel()
        stop.set()
