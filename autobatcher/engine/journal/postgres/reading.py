"""A journal on PostgreSQL for everybody but an engine: see ../file.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from ..health import Fleet
from ..reading import JournalEditor, JournalReader
from .connection import connect
from .errors import told
from .schema import version_of
from .store import PostgresStore
from .url import schema_of, shown


def has_tables(url: str) -> bool:
    """Whether there is a journal. Raises `JournalError` if that cannot be asked."""
    with told(shown(url)), connect(url) as connection:
        return version_of(connection, schema_of(url), shown(url)) > 0


class SharedReader(JournalReader):
    """What can be read of a journal that engines share."""

    def __init__(self, store: PostgresStore) -> None:
        super().__init__(store)
        self._shared = store

    def fleet(self) -> Fleet:
        return Fleet(self._shared.engines(), self._shared.waiting_accounts())

    def owners(self) -> dict[str, int]:
        return self._shared.owners()


@contextmanager
def read_shared(url: str) -> Iterator[JournalReader]:
    """The journal at that URL. Raises `JournalError`."""
    with closing(PostgresStore(url, is_read_only=True, idle_seconds=None)) as store:
        yield SharedReader(store)


@contextmanager
def edit_shared(url: str) -> Iterator[JournalEditor]:
    """The journal at that URL. What engines use meanwhile stays. Raises `JournalError`."""
    with closing(PostgresStore(url, idle_seconds=None)) as store:
        yield JournalEditor(store)
