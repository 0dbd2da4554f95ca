"""What waits for a place, of each account in order. The accounts take turns. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from ...upstream.account import Account
from ..shares import Shares

T = TypeVar("T", bound=Hashable)


class ByAccount(Generic[T]):
    """Different things that wait for places of accounts."""

    def __init__(self) -> None:
        # The next account first. A dict would look for its first key behind all that are gone.
        self._accounts: OrderedDict[Account, OrderedDict[T, None]] = OrderedDict()

    def __iter__(self) -> Iterator[T]:
        return (each for waiting in self._accounts.values() for each in waiting)

    def add(self, account: Account, each: T, *, in_front: bool = False) -> None:
        """Let something wait behind all others of its account, or in front of them."""
        waiting = self._accounts.setdefault(account, OrderedDict())
        waiting[each] = None
        if in_front:
            waiting.move_to_end(each, last=False)

    def pop(self, places: Shares) -> T | None:
        """Remove and return what is next; None if no account that has something may take a place.

        It looks at no more accounts than hold places, and one.
        """
        if not places.has_room():
            return None
        account = next((account for account in self._accounts if places.fits(account)), None)
        if account is None:
            return None
        each, _ = self._accounts[account].popitem(last=False)
        if self._accounts[account]:
            self._accounts.move_to_end(account)
        else:
            del self._accounts[account]
        return each
