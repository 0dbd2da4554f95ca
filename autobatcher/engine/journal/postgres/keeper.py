"""The session of a process, which outlives its clients: answers that a client was given are kept until the process has
exited cleanly. A program may fail long after it closed its client, or be killed, and is run again then."""

from __future__ import annotations

import atexit
import os
import threading
import time
from contextlib import closing

from ....errors import JournalError
from ..at_exit import has_failed, this_process
from .store import PostgresStore

_keepers: dict[tuple[str, int], PostgresStore] = {}
"""By URL and process."""

_lock = threading.Lock()


def keeper_of(url: str) -> int:
    """The number of the session that lives as long as this process.

    Raises:
        JournalError: if the database cannot be reached.
    """
    with _lock:
        key = url[:], os.getpid()
        if key not in _keepers:
            store = PostgresStore(url, idle_seconds=None)
            store.begin_session(this_process(), now=time.time())
            store.keep_others()
            _keepers[key] = store
        number = _keepers[key].session
        assert number is not None
        return number


def _say_that_the_process_exits() -> None:
    """After a failure nothing is said: the answers are free again then."""
    mine = [store for (_, pid), store in _keepers.items() if pid == os.getpid()]
    _keepers.clear()
    for store in mine:
        with closing(store):
            try:
                if not has_failed():
                    with store.transaction():
                        store.process_exited()
            except JournalError:  # a rerun gets the answers once more
                pass


atexit.register(_say_that_the_process_exits)
