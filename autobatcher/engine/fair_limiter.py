"""Limits what accounts hold at a time, and admits those that wait in turn."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

import anyio

from .shares import Shares

CONCURRENT_POLLS = 8
"""Maximum number of concurrent polls: enough that a slow one delays no other, few enough for any server."""

CONCURRENT_UPLOADS = 4
"""Maximum number of concurrent uploads: enough to saturate a connection, few enough not to slow the first one."""

BATCHES_PER_CALL = 50
"""There are more of both where more than a few hundred batches may be under way: one for so many."""

FOR_STRANGERS = 4
"""How many times as many for isolated accounts: calls of some may hang, and those of others must not wait for them."""


class FairLimiter:
    """Admits waiters in order, and of several accounts one after the other.

    An account that may not hold more (see `Shares`) does not keep others waiting.
    """

    def __init__(self, limit: float, *, isolates: bool = False) -> None:
        self._shares = Shares(limit, isolates=isolates)
        # Of each account in order; the next account first. A dict would look for it behind all that are gone.
        self._waiting: OrderedDict[Hashable, OrderedDict[anyio.Event, int]] = OrderedDict()

    @classmethod
    def for_calls(cls, limit: int, *, isolates: bool, most_batches: int = 0) -> FairLimiter:
        """A limiter of concurrent calls to the upstream.

        Args:
            most_batches: how many batches may be under way, if the calls are for those.
        """
        limit = max(limit, most_batches // BATCHES_PER_CALL)
        return cls(limit * (FOR_STRANGERS if isolates else 1), isolates=isolates)

    @property
    def used(self) -> int:
        """How much all accounts hold."""
        return self._shares.used

    @property
    def waiting(self) -> int:
        """How many wait to be admitted."""
        return sum(map(len, self._waiting.values()))

    async def acquire(self, account: Hashable, size: int = 1) -> None:
        """Wait until `account` may hold `size` more, and take that until `release`. Cancelled: nothing is taken."""
        if self._fits_now(account, size):
            self._shares.take(account, size)
            return
        admitted = anyio.Event()
        self._waiting.setdefault(account, OrderedDict())[admitted] = size
        try:
            await admitted.wait()
        except BaseException:
            if admitted.is_set():  # and cancelled at the same time
                self.release(account, size)
            else:
                self._remove(account, admitted)
                self._admit()
            raise

    def acquire_nowait(self, account: Hashable, size: int = 1) -> None:
        """Like `acquire`, but raise `anyio.WouldBlock` instead of waiting."""
        if not self._fits_now(account, size):
            raise anyio.WouldBlock
        self._shares.take(account, size)

    def release(self, account: Hashable, size: int = 1) -> None:
        """Return `size` of what `account` holds. Synchronous."""
        self._shares.give_back(account, size)
        if self._waiting:
            self._admit()

    def turn(self, account: Hashable) -> Turn:
        """One place for `account`, as an async context manager that can be used again."""
        return Turn(self, account)

    def admit_all(self) -> None:
        """Admit all waiters, because the engine has closed and will refuse them itself."""
        waiting, self._waiting = self._waiting, OrderedDict()
        for account, sizes in waiting.items():
            for admitted, size in sizes.items():
                self._shares.take(account, size)
                admitted.set()

    def _fits_now(self, account: Hashable, size: int) -> bool:
        fits = self._shares.fits(account, size)
        return fits and (not self._waiting or (account not in self._waiting and not self._is_reserved()))

    def _is_reserved(self) -> bool:
        """Whether the next free room belongs to a waiter, who may need more of it than is free so far."""
        return any(self._shares.allows(account, _first(sizes)[1]) for account, sizes in self._waiting.items())

    def _admit(self) -> None:
        """Admit the first waiter of each account in turn, until the next one that may be admitted has no room."""
        while (account := self._next_account()) is not None:
            admitted, size = _first(self._waiting[account])
            if not self._shares.has_room(size):
                return
            self._remove(account, admitted)
            if account in self._waiting:
                self._waiting.move_to_end(account)  # behind the other accounts
            self._shares.take(account, size)
            admitted.set()

    def _next_account(self) -> Hashable | None:
        allowed = (who for who, sizes in self._waiting.items() if self._shares.allows(who, _first(sizes)[1]))
        return next(allowed, None)

    def _remove(self, account: Hashable, admitted: anyio.Event) -> None:
        del self._waiting[account][admitted]
        if not self._waiting[account]:
            del self._waiting[account]


class Turn(NamedTuple):
    """A place in a limiter, taken while inside."""

    limiter: FairLimiter
    account: Hashable

    async def __aenter__(self) -> None:
        await self.limiter.acquire(self.account)

    async def __aexit__(self, *_: object) -> None:
        self.limiter.release(self.account)


def _first(sizes: OrderedDict[anyio.Event, int]) -> tuple[anyio.Event, int]:
    return next(iter(sizes.items()))
