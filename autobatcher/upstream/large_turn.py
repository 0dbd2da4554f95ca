"""A turn for an answer that turned out to be large."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import anyio

TURN_BYTES = 2_000_000
"""Answers up to this size are read at any time: a megabyte or two for each of hundreds of batches."""


GIVE_BACK_SECONDS = 1.0
"""Nothing is waited for when a turn is given back."""


class LargeTurn:
    """Takes a turn once an answer is large, and gives it back with it, at the latest when the block ends.

    Who holds the turn waits for nobody but the upstream, so each turn ends.

    Args:
        turn: entered while a large answer is read. Can be entered again.
    """

    def __init__(self, turn: AbstractAsyncContextManager[None]) -> None:
        self._turn = turn
        self._is_taken = False

    async def __aenter__(self) -> LargeTurn:
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio.move_on_after(GIVE_BACK_SECONDS, shield=True):
            await self.look(0)

    async def look(self, size: int) -> None:
        """Take the turn if so many bytes are kept, or give it back if they are few. Cancelled: it is not taken."""
        is_large = size > TURN_BYTES
        if is_large and not self._is_taken:
            await self._turn.__aenter__()
            self._is_taken = True
        elif self._is_taken and not is_large:
            self._is_taken = False
            await self._turn.__aexit__(None, None, None)
