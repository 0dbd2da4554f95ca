"""How accounts share what is limited: places of batches, bytes, uploads, polls. Pure."""

from __future__ import annotations

from collections.abc import Hashable


class Shares:
    """What each account holds of one limited resource.

    Args:
        limit: how much there is.
        isolates: whether the accounts belong to strangers. Then none may hold more than is left free: a greedy account
            gets half, two that come together a third each, and one that comes anew half of what is left. (Choudhury and
            Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998.) Whoever holds nothing may
            take what there is.

    Attributes:
        limit: how much there is.
        used: how much all accounts hold.
    """

    __slots__ = ("_held", "_isolates", "limit", "used")

    def __init__(self, limit: float, *, isolates: bool = False) -> None:
        self.limit: float = limit
        self._isolates = isolates
        self.used: int = 0
        self._held: dict[Hashable, int] = {}  # counted only if it matters: each request takes and gives back

    def held(self, account: Hashable) -> int:
        """How much `account` holds, if accounts are isolated."""
        return self._held.get(account, 0)

    def has_room(self, size: int = 1) -> bool:
        """Whether so much is free. What is larger than the limit fits when nothing is held."""
        return self.used == 0 or self.used + size <= self.limit

    def allows(self, account: Hashable, size: int = 1) -> bool:
        """Whether `account` may hold so much more, if there is room."""
        if not self._isolates:
            return True
        held = self.held(account)
        return held == 0 or held + size <= self.limit - self.used

    def fits(self, account: Hashable, size: int = 1) -> bool:
        """Whether `account` may take so much now."""
        return self.has_room(size) and self.allows(account, size)

    def take(self, account: Hashable, size: int = 1) -> None:
        """Take so much, even if it does not fit: some cannot wait."""
        self.used += size
        if self._isolates:
            self._held[account] = self.held(account) + size

    def give_back(self, account: Hashable, size: int = 1) -> None:
        """Return so much of what `account` holds."""
        self.used -= size
        if not self._isolates:
            return
        left = self.held(account) - size
        if left:
            self._held[account] = left
        else:
            self._held.pop(account, None)
