"""Listens for news of other sessions, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import psycopg
from psycopg import sql

from .connection import connect
from .schema import channel_of
from .url import schema_of

AGAIN_SECONDS = 2.0
"""How long to wait before a lost connection is replaced."""


class Listener:
    """Calls `on_news` with the idempotency key of each batch that others tell of; with "" if some news may be lost."""

    def __init__(self, url: str, on_news: Callable[[str], None]) -> None:
        self._url = url
        self._on_news = on_news
        self._is_closed = threading.Event()
        self._connection: psycopg.Connection | None = None
        threading.Thread(target=self._run, name="autobatcher news", daemon=True).start()

    def close(self) -> None:
        self._is_closed.set()
        connection = self._connection
        if connection is not None:
            with suppress(Exception):
                connection.close()

    def _run(self) -> None:
        while not self._is_closed.is_set():
            with suppress(psycopg.Error, OSError), connect(self._url) as self._connection:
                channel = sql.Identifier(channel_of(schema_of(self._url)))
                self._connection.execute(sql.SQL("LISTEN {}").format(channel))
                self._on_news("")
                while not self._is_closed.is_set():
                    for notice in self._connection.notifies(timeout=1.0):
                        self._on_news(notice.payload)
            self._is_closed.wait(AGAIN_SECONDS)
