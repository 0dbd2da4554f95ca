"""The store of one engine on PostgreSQL, for the writer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

from ....errors import JournalError
from .connection import HEARTBEAT_SECONDS, connect
from .errors import is_server_failure, told
from .listener import Listener
from .schema import migrate
from .store import PostgresStore
from .url import schema_of, shown

logger: logging.Logger = logging.getLogger("autobatcher")


class SharedStore(PostgresStore):
    """The journal's statements, from its construction to `close`.

    Args:
        url: of the database.
        process: identifies this process.
        now: in Unix seconds.
        status_url: where the state of this process can be seen; "" for nowhere.
        on_interrupted: called when the session was lost and is there again. Others may have taken its batches.
        on_news: called with the idempotency key of a batch of which this session may wait for lines; "" for any.

    Both are called in the thread that notices it.
    """

    heartbeat_seconds: float = HEARTBEAT_SECONDS

    def __init__(
        self,
        url: str,
        process: str,
        *,
        now: float,
        status_url: str = "",
        on_interrupted: Callable[[], None],
        on_news: Callable[[str], None],
    ) -> None:
        self._on_interrupted = on_interrupted
        _migrate(url)
        super().__init__(url)
        try:
            self.wait_for_ending()
            self.begin_session(process, now=now, url=status_url)
            self.refuse_poolers()
        except BaseException:
            super().close()
            raise
        self.name: str = self._shown
        self._listener = Listener(url, on_news)

    def errors_told(self) -> AbstractContextManager[None]:
        return told(self._shown)

    def is_unusable(self, error: Exception) -> bool:
        return is_server_failure(error)

    def beat(self) -> None:
        with suppress(JournalError):  # the next statement tells
            self.heartbeat()

    def _on_reconnected(self) -> None:
        super()._on_reconnected()
        self._on_interrupted()

    def close(self) -> None:
        self._listener.close()
        super().close()


def _migrate(url: str) -> None:
    """The first who comes makes the tables."""
    with told(shown(url)), connect(url) as connection:
        migrate(connection, schema_of(url), shown(url))
