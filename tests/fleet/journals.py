"""The journals of a session's replicas."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import trio

from tests.postgres_server import PostgresServer, find_programs, running_server

from .link import Link

SCHEMA = "fleet"
_UNFINISHED = "SELECT count(*) FROM {batches} WHERE stage <> 'ended'"
_OF_PROCESS = (
    "SELECT count(*) FROM {batches} JOIN {sessions} ON owner = sessions.number WHERE stage <> 'ended' AND pid = {pid}"
)


class Journals(Protocol):
    """What the replicas of a session keep their batches in."""

    links: Sequence[Link]
    server: PostgresServer | None

    def of(self, replica: int) -> tuple[str, ...]:
        """The flags that give a replica its journal."""
        ...

    async def unfinished(self) -> int:
        """How many batches are not over."""
        ...


class NoJournals:
    """Each replica for itself, and only as long as it lives."""

    links: Sequence[Link] = ()
    server: PostgresServer | None = None

    def of(self, replica: int) -> tuple[str, ...]:
        return ()

    async def unfinished(self) -> int:
        return 0


class OwnJournals(NoJournals):
    """A file for each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, replica: int) -> tuple[str, ...]:
        return "--journal", str(self._folder / f"journal-{replica}.sqlite3")

    async def unfinished(self) -> int:
        count = 0
        for path in self._folder.glob("journal-*.sqlite3"):
            file = sqlite3.connect(path)
            count += file.execute(_UNFINISHED.format(batches="batches")).fetchone()[0]
            file.close()
        return count


class SharedJournal:
    """One on PostgreSQL for all, each with a link of its own to it."""

    def __init__(self, server: PostgresServer, links: Sequence[Link]) -> None:
        self.server: PostgresServer | None = server
        self.links = links
        self._server = server

    def of(self, replica: int) -> tuple[str, ...]:
        return "--journal", self._server.url(SCHEMA, port=self.links[replica].port)

    async def unfinished(self) -> int:
        return await self._count(_UNFINISHED.format(batches=f"{SCHEMA}.batches"))

    async def owned_by(self, pid: int) -> int:
        """How many batches belong to an engine of that process."""
        return await self._count(
            _OF_PROCESS.format(batches=f"{SCHEMA}.batches", sessions=f"{SCHEMA}.sessions", pid=pid)
        )

    async def _count(self, query: str) -> int:
        rows = await trio.to_thread.run_sync(self._server.execute, query)
        return int(rows[0][0])


@asynccontextmanager
async def opened(kind: str, folder: Path, replicas: int) -> AsyncIterator[NoJournals | SharedJournal]:
    """The journals of that kind: "postgres" (one for all), "sqlite" (one for each) or "off"."""
    if kind != "postgres":
        yield OwnJournals(folder) if kind == "sqlite" else NoJournals()
        return
    programs = find_programs()
    assert programs is not None, "PostgreSQL's server is not installed"
    with running_server(programs) as server:
        async with trio.open_nursery() as nursery:
            links = [Link(("127.0.0.1", server.port)) for _ in range(replicas)]
            for link in links:
                await nursery.start(partial(link.run))
            yield SharedJournal(server, links)
            nursery.cancel_scope.cancel()
