"""The state of a journal on PostgreSQL, and of the engines that use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Session(NamedTuple):
    """An engine that uses the journal, or did.

    Attributes:
        url: of its status page; "" if it has none.
        ending: "well" or "failed" if it was closed, "exited" if its process ended well; else "".
        is_alive: whether it is connected.
        batches: how many unfinished ones it owns.
        waiting: for how many lines without an answer it waits.
    """

    number: int
    process: str
    host: str
    pid: int
    url: str
    opened_at: float
    ending: str
    is_alive: bool
    batches: int
    waiting: int


class WaitingAccount(NamedTuple):
    """An account with unfinished batches that no engine runs, because none has its key.

    Attributes:
        account: its fingerprint.
        batches: how many.
    """

    account: bytes
    base_url: str
    provider: str
    batches: int


class Fleet(NamedTuple):
    """The engines that share a journal, and what none of them runs.

    Attributes:
        engines: those that live, and those that are gone and whose batches nobody has taken; the oldest first.
        waiting: accounts with batches that no engine runs.
    """

    engines: list[Session]
    waiting: list[WaitingAccount]


class TableSize(NamedTuple):
    """How large a table is.

    Attributes:
        rows: about how many.
        bytes: with its indexes.
    """

    name: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class Report:
    """The state of a journal.

    Attributes:
        journal: its URL without a password.
        server: the server's version.
        role: who logged in.
        schema: in which its tables are.
        version: of the tables; 0 if there are none, None if this role may not look.
        newest: the version that this autobatcher makes.
        missing: the rights that this role lacks, as in a GRANT.
        fault: what else keeps engines from using it; None if nothing does.
        sessions: of engines, the oldest first.
        tables: their sizes.
    """

    journal: str
    server: str
    role: str
    schema: str
    version: int | None
    newest: int
    missing: list[str]
    fault: str | None
    sessions: list[Session]
    tables: list[TableSize]

    @property
    def is_usable(self) -> bool:
        """Whether engines can use it as it is."""
        return self.version == self.newest and not self.missing and self.fault is None
