"""Ctrl-C, SIGTERM and a closed terminal: the first signal stops, the second one hurries, the third ends the process."""

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


class StopSignals:
    """The signals that ask a command to stop, as they come.

    A terminal that is closed may send SIGHUP several times, which counts once and never ends the process.

    Attributes:
        asked: set by the first one.
        hurried: set by the second one. After that SIGINT and SIGTERM end the process at once.
        first: the first one; None before it.
    """

    def __init__(self) -> None:
        self.asked: trio.Event = trio.Event()
        self.hurried: trio.Event = trio.Event()
        self.first: signal.Signals | None = None
        self._has_hung_up = False

    def take(self, number: int) -> None:
        """Take a signal. Synchronous."""
        leave_terminal(number)
        if number in HANGUP:
            if self._has_hung_up:
                return
            self._has_hung_up = True
        if self.first is None:
            self.first = signal.Signals(number)
            self.asked.set()
        else:
            self.hurried.set()
            for each in (signal.SIGINT, signal.SIGTERM):
                signal.signal(each, signal.SIG_DFL)  # works even if the event loop hangs

    async def take_all(self, received: AsyncIterator[int]) -> None:
        """Take signals until cancelled."""
        async for number in received:
            self.take(number)


async def run_with_signals(
    work: Callable[[StopSignals], Awaitable[None]], *, second_cancels: bool = False
) -> signal.Signals | None:
    """Run `work(signals)` to its end. Returns the first signal received meanwhile, or None.

    Exceptions of `work` are raised as they are. Must be called in the main thread.

    Args:
        second_cancels: whether the second signal cancels `work`, which need not look for it then.
    """
    signals = StopSignals()
    failure: Exception | None = None
    with trio.open_signal_receiver(*receivable(STOPPING)) as received:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(signals.take_all, received)
            if second_cancels:
                nursery.start_soon(_cancel_upon, signals.hurried, nursery.cancel_scope)
            try:
                await work(signals)
            except Exception as error:
                failure = error  # raised below, outside the nursery, so that it is not wrapped in a group
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return signals.first


async def run_until_signalled(work: Callable[[trio.Event], Awaitable[None]]) -> signal.Signals | None:
    """Run `work(stop)` to its end. Returns the first signal received meanwhile, or None.

    The first SIGINT, SIGTERM or SIGHUP sets `stop`, upon which `work` should return; the second one cancels it; the
    third ends the process.
    """

    async def until_asked(signals: StopSignals) -> None:
        await work(signals.asked)

    return await run_with_signals(until_asked, second_cancels=True)


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


async def _cancel_upon(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
