"""Ctrl-C, SIGTERM and a closed terminal: the first signal stops gracefully, the second one at once."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import trio


def signals_here(*names: str) -> tuple[signal.Signals, ...]:
    """Those that exist on this platform: Windows has two of them."""
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


HANGUP = signals_here("SIGHUP")
STOPPING = (signal.SIGINT, signal.SIGTERM, *HANGUP)


def receivable(signals: Iterable[signal.Signals]) -> tuple[signal.Signals, ...]:
    """Those to receive: under `nohup` SIGHUP is ignored, and stays ignored."""
    return tuple(each for each in signals if each not in HANGUP or signal.getsignal(each) is not signal.SIG_IGN)


def leave_terminal(number: int) -> None:
    """After SIGHUP, output to a terminal is discarded: the terminal is gone, and writing to it would fail."""
    if number not in HANGUP:
        return
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
        for descriptor in (1, 2):
            if _is_terminal(descriptor):
                os.dup2(nowhere.fileno(), descriptor)


def _is_terminal(descriptor: int) -> bool:
    """Whether it is one, or was: one that was hung up fails to say so."""
    try:
        return os.isatty(descriptor) or os.write(descriptor, b"") != 0
    except OSError:
        return True


async def run_until_signalled(work: Callable[[trio.Event], Awaitable[None]]) -> signal.Signals | None:
    """Run `work(stop)` to its end. Returns the first signal received meanwhile, or None.

    The first SIGINT, SIGTERM or SIGHUP sets `stop`, upon which `work` should return; the second one cancels it.
    Exceptions of `work` are raised as they are. Must be called in the main thread.
    """
    stop = trio.Event()
    received: list[signal.Signals] = []
    failure: Exception | None = None
    with trio.open_signal_receiver(*receivable(STOPPING)) as signals:
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

    The first SIGINT, SIGTERM or SIGHUP cancels it.
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
        leave_terminal(number)
        if stop.is_set():
            scope.cancel()
        stop.set()
