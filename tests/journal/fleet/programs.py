"""Programs that share a journal at the same time. In memory and on virtual time, but for the database."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest

from autobatcher import BatchOpenAI
from autobatcher.engine.journal import at_exit
from autobatcher.engine.journal.contract import JournalStore
from autobatcher.engine.journal.postgres.connection import connect
from tests.harness import Harness, Send, between
from tests.journal.inline_writer import InlineWriter


class Member:
    """One program of the fleet."""

    def __init__(self, scope: anyio.CancelScope) -> None:
        self.client: BatchOpenAI
        self.is_dead = False
        self.writers: list[InlineWriter] = []
        self.stores: list[Any] = []
        self._scope = scope

    def make_writer(self, open_store: Callable[[], JournalStore]) -> InlineWriter:
        writer = InlineWriter(partial(self._open, open_store))
        self.writers.append(writer)
        return writer

    def _open(self, open_store: Callable[[], JournalStore]) -> JournalStore:
        store = open_store()
        self.stores.append(store)
        return store

    def die(self) -> None:
        """Act like SIGKILL: send and write nothing more. (The tasks end, but have no effect.)"""
        self.is_dead = True
        backends = [(store._url, store._db.info.backend_pid) for store in self.stores if store.is_connected]
        for writer in self.writers:
            writer.die()
        for url, pid in backends:  # virtual time does not wait until the server knows
            with connect(url) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid = %s", (pid,)
                )
        self._scope.cancel()

    async def answer(self, request: Any, send: Send) -> Any:
        if self.is_dead:
            await anyio.sleep_forever()
        return await send(request)


class Fleet:
    """Runs programs that use the journal at `url`."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url = url
        self._monkeypatch = monkeypatch
        self._numbers = itertools.count()

    @asynccontextmanager
    async def member(self, harness: Harness, **settings: Any) -> AsyncGenerator[Member]:
        """Run a program in a process of its own. It may `die` in the block."""
        self._monkeypatch.setattr(at_exit, "_IMPORT_ID", f"process-{next(self._numbers)}")
        with anyio.CancelScope() as scope:
            member = Member(scope)
            http_client = between(harness, member.answer)
            client = member.client = harness.client(**{"journal": self.url, "http_client": http_client, **settings})
            host = client._engine.host
            host.make_batcher = partial(
                host.make_batcher, wall_clock=lambda: 1.7e9 + anyio.current_time(), make_writer=member.make_writer
            )
            async with client:
                yield member
