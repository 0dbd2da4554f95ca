"""An emulator on a socket of this machine, in a thread of its own: an upstream for any client, in any language."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from anyio.from_thread import start_blocking_portal

from .bill import Bill
from .faults import FaultPlan
from .ledger import Billed
from .statistics import Statistics

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

    from .server import Emulator

MISSING = "The emulator's server needs {}. Run: pip install 'autobatcher[serve]>=1'"


class BatchUpstream:
    """An `Emulator` that listens on a free port of 127.0.0.1 while the block runs.

    Needs the extra `serve`. Threads, event loops and other processes may use it together.

    Args:
        settings: those of `Emulator`.

    Raises:
        ImportError: from the start of the block, without the extra `serve`.
    """

    def __init__(self, **settings: Any) -> None:
        from .server import Emulator

        self._emulator = Emulator(**settings)
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None
        self._url = ""

    @property
    def base_url(self) -> str:
        """What clients take as their `base_url`: it ends in /v1."""
        self._listening()
        return f"{self._url}/v1"

    @property
    def faults(self) -> FaultPlan:
        """What goes wrong. May be set at any time, and counts from then on."""
        return self._emulator.faults

    @faults.setter
    def faults(self, plan: FaultPlan) -> None:
        self._listening().call(self._follow, plan)

    def bill(self) -> Bill:
        """What was billed so far, in tokens and dollars."""
        return self._listening().call(self._emulator.bill)

    def ledger(self) -> tuple[Billed, ...]:
        """Every execution that was billed so far, by its time."""
        return self._listening().call(self._emulator.ledger)

    def statistics(self) -> Statistics:
        """What has happened so far: calls, batches, files and lines."""
        return self._listening().call(self._emulator.statistics)

    def __enter__(self) -> BatchUpstream:
        with ExitStack() as stack:
            stack.enter_context(self._emulator)
            serve = _the_server()
            portal = stack.enter_context(start_blocking_portal("trio"))
            self._url = stack.enter_context(portal.wrap_async_context_manager(_served(serve, self._emulator)))
            self._portal, self._stack = portal, stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cuts all connections, and removes all files."""
        self._portal = None
        self._stack.close()

    def _listening(self) -> BlockingPortal:
        if self._portal is None:
            raise RuntimeError(
                "The upstream listens while its `with` block runs, and says nothing before and after it."
            )
        return self._portal

    def _follow(self, plan: FaultPlan) -> None:
        self._emulator.faults = plan


def _the_server() -> Callable[..., Any]:
    try:
        from .app import serve_emulator
    except ImportError as missing:
        raise ImportError(MISSING.format(missing.name)) from missing
    return serve_emulator


@asynccontextmanager
async def _served(serve: Callable[..., Any], emulator: Emulator) -> AsyncGenerator[str]:
    """The URL of the emulator, without /v1."""
    import trio

    async with trio.open_nursery() as nursery:
        url: str = await nursery.start(serve, emulator)
        yield url
        nursery.cancel_scope.cancel()
