"""How many requests each account has somewhere. No question is answered by looking at each account. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Self

from ...upstream.account import Account


class Headcount:
    """Counts by account. There may be thousands of accounts: callers of a proxy choose their keys.

    Attributes:
        total: of all accounts.
    """

    def __init__(self, counts: Mapping[Account, int] | None = None) -> None:
        self.total: int = 0
        self._counts: dict[Account, int] = {}
        self._sizes: Counter[int] = Counter()  # how many accounts have so many, where there are any
        for account, count in (counts or {}).items():
            self.add(account, count)

    def copy(self) -> Self:
        """Another one of the same counts."""
        return type(self)(self._counts)

    def of(self, account: Account) -> int:
        """How many an account has. Less than none, if more were taken away than came."""
        return self._counts.get(account, 0)

    def add(self, account: Account, count: int = 1) -> None:
        """So many come to an account, or leave it if the number is negative."""
        before = self.of(account)
        self._counts[account] = before + count
        self.total += count
        if before > 0:
            self._sizes[before] -= 1
        if before + count > 0:
            self._sizes[before + count] += 1
        for size in (before, before + count):
            if not self._sizes[size]:
                del self._sizes[size]
        if not self._counts[account]:
            del self._counts[account]

    def others(self, account: Account) -> int:
        """How many other accounts have any."""
        return self._sizes.total() - (self.of(account) > 0)

    def in_turn(self, account: Account, most: int) -> int:
        """How many an account has, and the others, of each of those no more than `most`.

        There are few different counts: of n requests in all, the root of 2n at most.
        """
        own = self.of(account)
        of_all = sum(accounts * min(size, most) for size, accounts in self._sizes.items())
        return own + of_all - (min(own, most) if own > 0 else 0)
