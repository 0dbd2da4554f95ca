"""Where background responses are kept: in the journal, or in memory, for as long as the proxy runs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import anyio

from ..engine.journal.responses import CANCELLED, KeptResponse

RETENTION_SECONDS = 86_400.0
"""How long a response is kept in memory after its end."""

MOST_BYTES = 256_000_000
"""The most that ended responses take in memory. The oldest of the owner who has most of them make room."""

_OVERHEAD_BYTES = 1_000
"""What a response takes beside its bytes, so that many small ones are bounded, too."""


class KeptResponses(Protocol):
    """See `JournaledResponses`."""

    async def add(self, new: KeptResponse) -> KeptResponse | None: ...

    async def get(self, id_: str, owner: bytes) -> KeptResponse | None: ...

    async def cancel(self, id_: str, owner: bytes) -> KeptResponse | None: ...

    async def delete(self, id_: str, owner: bytes) -> bool: ...

    def end(self, ended: KeptResponse) -> None: ...

    def begin(self, ids: Sequence[str]) -> None: ...

    def leave(self, id_: str) -> None: ...

    def discard(self, id_: str, owner: bytes) -> None: ...

    async def adopt(self, owners: Sequence[bytes], *, most: int) -> list[KeptResponse]: ...

    async def still_open(self, ids: Sequence[str]) -> set[str]: ...


class _Ended(NamedTuple):
    response: KeptResponse
    at: float

    @property
    def size(self) -> int:
        return len(self.response.response) + _OVERHEAD_BYTES


class ResponsesInMemory:
    """Keeps them while the proxy runs. What is asked is not kept: the engine has it."""

    def __init__(self, *, most_bytes: int = MOST_BYTES, clock: Callable[[], float] = anyio.current_time) -> None:
        self._most_bytes = most_bytes
        self._clock = clock
        self._open: dict[str, KeptResponse] = {}
        self._ended: OrderedDict[str, _Ended] = OrderedDict()
        self._by_owner: dict[bytes, OrderedDict[str, None]] = {}
        self._sizes: dict[bytes, int] = {}
        self._size = 0

    async def add(self, new: KeptResponse) -> KeptResponse | None:
        self._drop_old()
        found = self._found(new.id)
        if found is None:
            self._open[new.id] = new._replace(body=None)
        return found

    async def get(self, id_: str, owner: bytes) -> KeptResponse | None:
        self._drop_old()
        found = self._found(id_)
        return found if found is not None and found.owner == owner else None

    async def cancel(self, id_: str, owner: bytes) -> KeptResponse | None:
        found = await self.get(id_, owner)
        if found is not None and found.is_open:
            found = found._replace(status=CANCELLED)
            self.end(found)
        return found

    async def delete(self, id_: str, owner: bytes) -> bool:
        found = await self.get(id_, owner)
        self.discard(id_, owner)
        return found is not None

    def end(self, ended: KeptResponse) -> None:
        if self._open.pop(ended.id, None) is None:
            return
        self._ended[ended.id] = each = _Ended(ended._replace(body=None), self._clock())
        self._by_owner.setdefault(ended.owner, OrderedDict())[ended.id] = None
        self._sizes[ended.owner] = self._sizes.get(ended.owner, 0) + each.size
        self._size += each.size
        while self._size > self._most_bytes:
            largest = max(self._sizes, key=self._sizes.__getitem__)
            self._drop(next(iter(self._by_owner[largest])))

    def begin(self, ids: Sequence[str]) -> None:
        """The engine knows."""

    def leave(self, id_: str) -> None:
        """There is nobody to adopt it."""

    def discard(self, id_: str, owner: bytes) -> None:
        found = self._found(id_)
        if found is not None and found.owner == owner:
            self._open.pop(id_, None)
            self._drop(id_)

    async def adopt(self, owners: Sequence[bytes], *, most: int) -> list[KeptResponse]:
        return []

    async def still_open(self, ids: Sequence[str]) -> set[str]:
        return {id_ for id_ in ids if id_ in self._open}

    def _found(self, id_: str) -> KeptResponse | None:
        ended = self._ended.get(id_)
        return self._open.get(id_) if ended is None else ended.response

    def _drop_old(self) -> None:
        until = self._clock() - RETENTION_SECONDS
        while self._ended and (oldest := next(iter(self._ended.values()))).at < until:
            self._drop(oldest.response.id)

    def _drop(self, id_: str) -> None:
        ended = self._ended.pop(id_, None)
        if ended is None:
            return
        owner = ended.response.owner
        del self._by_owner[owner][id_]
        self._sizes[owner] -= ended.size
        self._size -= ended.size
        if not self._by_owner[owner]:
            del self._by_owner[owner], self._sizes[owner]
