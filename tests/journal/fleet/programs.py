"""Programs that share a journal at the same time. In memory and on virtual time, but for the database."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import Any, NoReturn

import anyio
import pytest

from autobatcher import BatchOpenAI
from autobatcher.engine.journal import at_exit
from autobatcher.engine.journal.contract import JournalStore
from autobatcher.engine.journal.postgres.connection import HEARTBEAT_SECONDS
from autobatcher.engine.journal.postgres.store import PostgresStore
from autobatcher.errors import JournalUnreachableError
from tests.harness import Harness, Send, between
from tests.journal.inline_writer import InlineWriter


class Member:
    """One program of the fleet."""

    def __init__(self, scope: anyio.CancelScope, commit_seconds: float) -> None:
        self.commit_seconds = commit_seconds
        self.client: BatchOpenAI
        self.is_dead = False
        self.writers: list[InlineWriter] = []
        self.stores: list[Any] = []
        self._scope = scope

    def make_writer(self, open_store: Callable[[], JournalStore]) -> InlineWriter:
        writer = InlineWriter(partial(self._open, open_store), self.commit_seconds)
        self.writers.append(writer)
        return writer

    def _open(self, open_store: Callable[[], JournalStore]) -> JournalStore:
        store = open_store()
        self.stores.append(store)
        return store

    async def live(self) -> None:
        """Beat as the writer's thread does, until cancelled."""
        while True:
            for store in () if self.is_dead else self.stores:
                store.beat()
            await anyio.sleep(HEARTBEAT_SECONDS)

    def die(self) -> None:
        """Act like SIGKILL: send and write nothing more. (The tasks end, but have no effect.)"""
        self.is_dead = True
        for writer in self.writers:
            writer.die()
        for store in self.stores:
            wait_until_gone(store)
        self._scope.cancel()

    async def answer(self, request: Any, send: Send) -> Any:
        if self.is_dead:
            await anyio.sleep_forever()
        return await send(request)


def wait_until_gone(store: Any) -> None:
    """Wait until the server has noticed that the store was closed, which takes some milliseconds."""
    with closing(PostgresStore(store._url, is_read_only=True)) as other:
        while any(each.number == store.session and each.is_alive for each in other.sessions()):
            time.sleep(0.005)


def lose_database(member: Member) -> None:
    """The server ends the session, and cannot be reached again until `find_database`."""

    def refuse() -> NoReturn:
        raise JournalUnreachableError("The journal cannot be reached.")

    store: Any = member.stores[0]
    store._connected = refuse
    store._db.close()
    wait_until_gone(store)


def find_database(member: Member) -> None:
    store: Any = member.stores[0]
    vars(store).pop("_connected", None)


class Fleet:
    """Runs programs that use the journal at `url`.

    Attributes:
        commit_seconds: how long a task waits for a commit.
    """

    commit_seconds = 0.0

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url = url
        self._monkeypatch = monkeypatch
        self._numbers = itertools.count()

    @asynccontextmanager
    async def member(self, harness: Harness, **settings: Any) -> AsyncGenerator[Member]:
        """Run a program in a process of its own. It may `die` in the block."""
        self._monkeypatch.setattr(at_exit, "_IMPORT_ID", f"process-{next(self._numbers)}")
        with anyio.CancelScope() as scope:
            member = Member(scope, self.commit_seconds)
            http_client = between(harness, member.answer)
            client = member.client = harness.client(**{"journal": self.url, "http_client": http_client, **settings})
            host = client._engine.host
            host.make_batcher = partial(
                host.make_batcher, wall_clock=lambda: 1.7e9 + anyio.current_time(), make_writer=member.make_writer
            )
            async with client, anyio.create_task_group() as nursery:
                nursery.start_soon(member.live)
                yield member
                nursery.cancel_scope.cancel()
