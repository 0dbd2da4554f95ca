"""Listens for what other sessions announce: lines that were answered, and batches that changed hands."""

from __future__ import annotations

import logging
import select
import socket
import threading
from collections.abc import Callable

import psycopg
from psycopg import sql

from .connection import connect, set_up
from .schema import channel_of
from .url import schema_of, shown

logger: logging.Logger = logging.getLogger("autobatcher")

AGAIN_SECONDS = 1.0
"""How long to wait before a lost connection is replaced."""


class Listener:
    """Listens over a connection of its own, in a daemon thread, from construction to `close`.

    Args:
        url: of the journal's database.
        on_news: is called in that thread with the idempotency key of a batch; with "" if any batch may have changed, or
            if news may have been missed: the connection is there for the first time, or again.
    """

    def __init__(self, url: str, on_news: Callable[[str], None]) -> None:
        self._url = url
        self._on_news = on_news
        self._is_closed = threading.Event()
        self._ended, self._end = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="autobatcher news", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, and wait for the callback that runs. Can be called again.

        If the thread is connecting just now, it ends a few seconds later.
        """
        self._is_closed.set()
        self._end.close()
        self._thread.join(AGAIN_SECONDS)

    def _run(self) -> None:
        with self._ended:
            while not self._is_closed.is_set():
                try:
                    self._listen()
                except (psycopg.Error, OSError) as error:
                    logger.debug("autobatcher: the journal %s announces nothing now: %s", shown(self._url), error)
                    self._is_closed.wait(AGAIN_SECONDS)

    def _listen(self) -> None:
        schema = schema_of(self._url)
        with connect(self._url) as connection:
            set_up(connection, schema, idle_seconds=None)
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel_of(schema))))
            self._tell("")
            while not self._is_closed.is_set():
                for notification in connection.notifies(timeout=0):
                    self._tell(notification.payload)
                select.select([connection.fileno(), self._ended.fileno()], [], [])

    def _tell(self, key: str) -> None:
        if not self._is_closed.is_set():
            self._on_news(key)
