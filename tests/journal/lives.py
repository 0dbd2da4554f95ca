"""Programs that use one journal one after the other, some of which die: in memory, on virtual time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from autobatcher import BatchOpenAI
from autobatcher.engine.journal import at_exit
from tests.journal.inline import InlineWriter
from tests.worlds import Send, World, between


class Life:
    """One program: its client, and what kills it."""

    def __init__(self, scope: anyio.CancelScope) -> None:
        self.client: BatchOpenAI
        self.is_dead = False
        self._scope = scope
        self.writers: list[InlineWriter] = []

    def die(self) -> None:
        """Like SIGKILL: nothing more is sent or written. (The tasks end, but reach nothing any more.)"""
        self.is_dead = True
        for writer in self.writers:
            writer.die()
        self._scope.cancel()

    async def answer(self, request: Any, send: Send) -> Any:
        if self.is_dead:
            await anyio.sleep_forever()
        return await send(request)


class Lives:
    """The journal at `path`, and who uses it."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self._monkeypatch = monkeypatch
        self._now: Life | None = None
        monkeypatch.setattr("autobatcher.engine.journal.journal.Writer", self._make_writer)

    def _make_writer(self, path: Path) -> InlineWriter:
        writer = InlineWriter(path)
        if self._now is not None:
            self._now.writers.append(writer)
        return writer

    @asynccontextmanager
    async def life(self, world: World, **settings: Any) -> AsyncGenerator[Life]:
        """A new process, as far as the journal can tell. It may `die` in the block."""
        self._monkeypatch.setattr(at_exit, "_IMPORTED", f"process {id(object())} {anyio.current_time()}")
        with anyio.CancelScope() as scope:
            life = self._now = Life(scope)
            http_client = between(world, life.answer)
            life.client = world.client(**{"journal": self.path, "http_client": http_client, **settings})
            async with life.client:
                yield life
