"""Background responses in a journal: made by one request, asked for by others, perhaps after a restart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

QUEUED, IN_PROGRESS, CANCELLED = "queued", "in_progress", "cancelled"

OPEN = (QUEUED, IN_PROGRESS)
"""The statuses of responses that are yet to be made."""

STATUSES = (*OPEN, CANCELLED, "completed", "incomplete", "failed")
"""OpenAI's."""


class KeptResponse(NamedTuple):
    """One response.

    Attributes:
        id: by which clients ask for it.
        owner: a digest of who may ask for it, and who pays.
        digest: of what is asked.
        status: one of `STATUSES`.
        created_at: in Unix seconds.
        deadline: by when it is needed, in Unix seconds; None for what the settings say.
        headers: the names of the call's headers for the upstream, whose values are not kept: they may be secrets.
        body: what the upstream is asked; None if that is not read, or over.
        response: the response object. Its status counts only if it has ended without being cancelled.
        upstream_id: the upstream's own id of it, if it gave one.
    """

    id: str
    owner: bytes
    digest: bytes
    status: str
    created_at: float
    deadline: float | None
    headers: str
    body: bytes | None
    response: bytes
    upstream_id: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is yet to be made."""
        return self.status in OPEN


class JournaledResponses:
    """The responses of a journal. Synchronous methods never block and never fail; the others raise `JournalError`.

    Args:
        ask, tell: of the `Journal`.
        wall_clock: returns Unix seconds.
    """

    def __init__(
        self,
        ask: Callable[[Callable[[Any], Any]], Awaitable[Any]],
        tell: Callable[..., None],
        wall_clock: Callable[[], float],
    ) -> None:
        self._ask = ask
        self._tell = tell
        self._wall_clock = wall_clock

    async def add(self, new: KeptResponse) -> KeptResponse | None:
        """Keep a response that this engine is about to make. If one with its id is there, return that instead."""
        found: KeptResponse | None = await self._ask(lambda store: store.add_response(new))
        return found

    async def get(self, id_: str, owner: bytes) -> KeptResponse | None:
        """Return the response, without what was asked; None if there is none for that owner."""
        found: KeptResponse | None = await self._ask(lambda store: store.response(id_, owner))
        return found

    async def cancel(self, id_: str, owner: bytes) -> KeptResponse | None:
        """Cancel the response if it has not ended, and return it."""
        now = self._wall_clock()
        found: KeptResponse | None = await self._ask(lambda store: store.cancel_response(id_, owner, now=now))
        return found

    async def delete(self, id_: str, owner: bytes) -> bool:
        """Delete the response; False if there is none for that owner."""
        found: bool = await self._ask(lambda store: store.delete_response(id_, owner))
        return found

    def end(self, ended: KeptResponse) -> None:
        """Keep how a response has ended, unless it was cancelled or deleted before."""
        self._tell("end_response", ended, now=self._wall_clock())

    def begin(self, ids: Sequence[str]) -> None:
        """These are being made upstream."""
        self._tell("begin_responses", ids, now=self._wall_clock())

    def leave(self, id_: str) -> None:
        """This engine does not make the response any more: it may be adopted."""
        self._tell("leave_response", id_)

    def discard(self, id_: str, owner: bytes) -> None:
        """Delete the response: nobody knows its id."""
        self._tell("delete_response", id_, owner)

    async def adopt(self, owners: Sequence[bytes], *, most: int) -> list[KeptResponse]:
        """Take open responses of these owners that no engine makes, with what was asked, the oldest first."""
        found: list[KeptResponse] = await self._ask(lambda store: store.adopt_responses(owners, most=most))
        return found

    async def still_open(self, ids: Sequence[str]) -> set[str]:
        """Which of these are yet to be made: not cancelled or deleted, here or elsewhere."""
        found: set[str] = await self._ask(lambda store: store.open_responses(ids))
        return found
