"""The engines that share the proxy's journal: asked in a worker thread, for `/status`, the page and the metrics."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any

import trio

from ..client.server_calls import FleetSeen
from ..engine.journal.health import Session, WaitingAccount
from ..errors import JournalError
from ..printable import printable
from ..progress import shortened

logger: logging.Logger = logging.getLogger("autobatcher")

SHOWN_ENGINES, SHOWN_ACCOUNTS = 50, 50

LEAST_SECONDS, PART_OF_TIME, MOST_SECONDS = 10.0, 0.05, 60.0
"""How often the database is asked at most: it counts the lines that wait, so less often where that takes long."""

WAIT_SECONDS = 2.0
"""How long a page waits for news. A database that is down takes longer to say so."""

STALE_SECONDS = 120.0
"""After how long what was seen is not told any more as if it were so."""


class FleetView:
    """What is known of the engines that share a journal.

    The database is asked when somebody looks, once at a time, in a thread of its own: neither the engine nor its
    writer waits for it, and a page not for long.

    Args:
        look: asks the database. Called in that thread. Raises `JournalError`.

    Attributes:
        seen: what it said last; None before that.
    """

    def __init__(self, look: Callable[[], FleetSeen | None]) -> None:
        self.seen: FleetSeen | None = None
        self._look = look
        self._seen_at = self._next_at = float("-inf")
        self._has_failed = False
        self._has_looked = trio.Event()
        self._has_looked.set()

    async def refresh(self) -> None:
        """Ask, unless that was done just before, and wait for what it says, for `WAIT_SECONDS` at most.

        Cancelled: what it says is kept all the same.
        """
        if self._has_looked.is_set() and time.monotonic() >= self._next_at:
            self._has_looked = trio.Event()
            tell = partial(trio.lowlevel.current_trio_token().run_sync_soon, self._has_looked.set)
            threading.Thread(target=self._ask, args=(tell,), name="autobatcher fleet", daemon=True).start()
        with trio.move_on_after(WAIT_SECONDS):
            await self._has_looked.wait()

    def _ask(self, tell: Callable[[], None]) -> None:
        begun, has_failed = time.monotonic(), True
        try:
            self.seen, has_failed = self._look(), False
            self._seen_at = time.monotonic()
        except JournalError as error:
            logger.info("autobatcher: %s The engines that share it cannot be listed.", error.message)
        finally:
            took = time.monotonic() - begun
            self._has_failed = has_failed
            spared = 0.0 if has_failed else min(took / PART_OF_TIME, MOST_SECONDS)  # one that is down is not busy
            self._next_at = begun + took + max(LEAST_SECONDS, spared)
            with suppress(trio.RunFinishedError):
                tell()

    @property
    def is_stale(self) -> bool:
        """Whether the database does not answer, or has not for long."""
        return self._has_failed or time.monotonic() - self._seen_at > STALE_SECONDS

    def fields(self) -> dict[str, Any]:
        """As JSON types. The accounts' fingerprints are left out: they look like keys."""
        seen = self.seen or FleetSeen([], None, [], 0)
        engines = sorted(seen.engines, key=lambda engine: (engine.number != seen.own, not engine.is_alive))
        return {
            "engines": [_engine(engine, seen.own) for engine in islice(engines, SHOWN_ENGINES)],
            "engines_left_out": max(len(engines) - SHOWN_ENGINES, 0),
            "waiting_for_a_key": [_account(account) for account in islice(seen.waiting, SHOWN_ACCOUNTS)],
            "accounts_left_out": max(len(seen.waiting) - SHOWN_ACCOUNTS, 0),
            "left_batches": seen.left_batches,
            "age_seconds": None if self.seen is None else round(time.monotonic() - self._seen_at, 1),
            "is_stale": self.is_stale,
        }


def _engine(engine: Session, own: int | None) -> dict[str, Any]:
    return {
        "host": _text(engine.host),
        "pid": engine.pid,
        "url": _text(engine.url) or None,
        "is_alive": engine.is_alive,
        "is_this": engine.number == own,
        "batches": engine.batches,
        "waiting": engine.waiting,
        "opened_at": engine.opened_at,
    }


def _account(account: WaitingAccount) -> dict[str, Any]:
    return {
        "base_url": _text(account.base_url),
        "provider": _text(account.provider),
        "batches": account.batches,
    }


def _text(words: str) -> str:
    """Others have written it."""
    return printable(shortened(words))
