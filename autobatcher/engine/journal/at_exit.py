"""What a client has taken is kept until its process has ended well: a program may fail with answers in its hands, long
after it closed its client, and is then run again.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import uuid
from pathlib import Path

from ...errors import JournalError
from .store import Store

logger: logging.Logger = logging.getLogger("autobatcher")

_IMPORTED = uuid.uuid4().hex
_closed_well: set[Path] = set()


def this_process() -> str:
    """What tells this process from all others, forked ones included."""
    return f"{_IMPORTED}-{os.getpid()}"


def closed_well(path: Path) -> None:
    """A client of this process has closed its journal well: at the end, what it took is forgotten."""
    _closed_well.add(path)


def keep_for_rerun() -> None:
    """This process is going to end badly although no exception ends it, with an exit code, say."""
    _closed_well.clear()


def _forget_taken() -> None:
    """As late as can be. An uncaught exception (which the interpreter has noted by now) keeps everything."""
    if getattr(sys, "last_exc", None) is not None or getattr(sys, "last_value", None) is not None:
        return
    process = this_process()
    for path in sorted(_closed_well):
        try:
            store = Store(path)
            try:
                with store.transaction():
                    store.forget_taken(process)
            finally:
                store.close()
        except (JournalError, OSError) as error:
            logger.warning("autobatcher: %s A rerun will be given the same answers.", error)


atexit.register(_forget_taken)
