"""The engines that share a journal on PostgreSQL, and which of them runs a batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..engine.journal.file import JournalReader, Session


class Engines:
    """The engines of a shared journal at one moment.

    Attributes:
        sessions: of the engines that live, and of those that are gone and whose batches nobody has taken.
    """

    def __init__(self, sessions: Iterable[Session], owners: dict[str, int]) -> None:
        self.sessions: list[Session] = list(sessions)
        self._owners = owners
        self._by_number = {session.number: session for session in self.sessions}

    def of(self, idempotency_key: str | None) -> Session | None:
        """The engine that runs the batch, or that is gone and ran it last; None if there is none."""
        owner = None if idempotency_key is None else self._owners.get(idempotency_key)
        return None if owner is None else self._by_number.get(owner)


def engines_of(journal: JournalReader) -> Engines | None:
    """The engines of a journal; None if only one can use it."""
    fleet = journal.fleet()
    return None if fleet is None else Engines(fleet.engines, journal.owners())


def engine_words(session: Session) -> str:
    """The engine in a sentence."""
    return f"engine {session.number} (process {session.pid} on {session.host})"


def engine_fields(session: Session) -> dict[str, Any]:
    """Which engine it is, as JSON types. Nothing that changes while it lives."""
    return {name: getattr(session, name) for name in _NAMED}


def table_fields(session: Session) -> dict[str, Any]:
    """The engine with what it does, as JSON types."""
    return {"kind": "engine"} | {name: getattr(session, name) for name in (*_NAMED, "batches", "waiting", "opened_at")}


_NAMED = ("number", "host", "pid", "url", "is_alive")
