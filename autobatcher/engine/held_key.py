"""A caller's idempotency key, while one request has it."""

from __future__ import annotations

from typing import Protocol


class HeldKey(Protocol):
    """A key that no other request may have meanwhile.

    Attributes:
        key: as the journal knows it.
    """

    key: bytes

    def let_go(self, *, is_used_up: bool) -> None:
        """The request has an answer, which uses the key up; or it has failed, or its caller left. Synchronous."""
