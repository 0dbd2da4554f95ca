"""A journal on PostgreSQL for everybody but an engine: see ../file.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

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


@contextmanager
def read_shared(url: str) -> Iterator[JournalReader]:
    """The journal at that URL. Raises `JournalError`."""
    with closing(PostgresStore(url, is_read_only=True, idle_seconds=None)) as store:
        yield JournalReader(store)


@contextmanager
def edit_shared(url: str) -> Iterator[JournalEditor]:
    """The journal at that URL. What engines use meanwhile stays. Raises `JournalError`."""
    with closing(PostgresStore(url, idle_seconds=None)) as store:
        yield JournalEditor(store)
