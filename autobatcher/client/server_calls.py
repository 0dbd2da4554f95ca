"""What servers need of a client: to queue requests without waiting for them, and to know how full it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..engine.journal.postgres.url import is_postgres
from ..engine.request import Request
from ..engine.statistics import BatcherStatistics
from .call import Call
from .shared_engine import AsyncEngine


class ServerCalls:
    """The methods of `BatchOpenAI` for servers whose callers come and go."""

    _engine: AsyncEngine

    if TYPE_CHECKING:

        def _call(self) -> Call: ...

        def _request(
            self,
            endpoint: str,
            body: bytes,
            digested: bytes | None,
            api_key: str | None = None,
            headers: Mapping[str, str] | None = None,
        ) -> Request: ...

    def submit_nowait(
        self,
        endpoint: str,
        body: bytes,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        digested: bytes | None = None,
    ) -> Request:
        """Queue one JSON body without waiting for its answer. For servers whose callers come and go.

        Use `Request.notify` and `Request.result` to get the outcome, and `Request.withdraw` to drop the request.

        Args:
            endpoint, body: as for `answer`.
            api_key: the key that pays; None for the client's own. Requests with different keys never share a batch.
            headers: sent with the upstream calls of the batch, names in lower case. Requests with different headers
                never share a batch. `x-autobatcher-deadline` is the deadline of this request, and not sent.
            digested: what `checked_body` returned for the body; None checks it at once.

        Raises:
            anyio.WouldBlock: if `max_queued_bytes` are queued already.
            BatchError: as `answer` does.
        """
        request = self._request(endpoint, body, digested, api_key, headers)
        self._engine.host.submit_nowait(request)
        return request

    @property
    def has_journal(self) -> bool:
        """Whether a request that is asked again finds its place, even in another process."""
        return self._engine.settings.journal is not None

    @property
    def shares_journal(self) -> bool:
        """Whether engines of other processes use the same journal meanwhile."""
        journal = self._engine.settings.journal
        return journal is not None and is_postgres(journal)

    def resume_earlier(self) -> None:
        """Run the batches of this client's own account that no engine of a shared journal runs, from now on.

        Without this, the engine does so from the first request on.
        """
        batcher = self._engine.host.batcher
        if batcher is not None and self.shares_journal:
            batcher.recovery.know(self._call().account)

    def batch_statistics(self) -> BatcherStatistics | None:
        """Count queued and waiting requests and list active batches; None before the first call."""
        batcher = self._engine.host.batcher
        return None if batcher is None else batcher.statistics()

    def queue_bytes(self) -> tuple[int, float]:
        """How many bytes of request bodies wait to be uploaded, and how many may (`max_queued_bytes`)."""
        batcher = self._engine.host.batcher
        return (0, math.inf) if batcher is None else batcher.queue_bytes()
