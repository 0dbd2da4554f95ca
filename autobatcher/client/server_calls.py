"""What servers need of a client: to queue requests without waiting for them, and to know how full it is."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from ..engine.batcher import Batcher
from ..engine.journal.health import Session, WaitingAccount
from ..engine.journal.identity import fingerprint
from ..engine.journal.responses import JournaledResponses
from ..engine.journal_url import JournalUrl, checked_place
from ..engine.lanes.lane import Lane
from ..engine.request import Request
from ..engine.statistics import BatcherStatistics
from ..errors import BatchError
from ..upstream.http import UpstreamHTTP
from ..upstream.probe import BATCHES, MODELS, ask
from ..upstream.verdict import Judgement, is_enough, judge
from .call import Call
from .sdk import with_key
from .shared_engine import AsyncEngine


class FleetSeen(NamedTuple):
    """The engines that share a journal, as one of them sees them.

    Attributes:
        engines: those that live, and those that are gone and whose batches nobody has taken; the oldest first.
        own: the number of the one that looks.
        waiting: accounts with batches that no engine runs, and of which this one has no key.
        left_batches: how many batches no engine runs, those of other accounts included.
    """

    engines: list[Session]
    own: int | None
    waiting: list[WaitingAccount]
    left_batches: int


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
        try:
            self._engine.host.submit_nowait(request)
        except BatchError as error:
            self._engine.host.tell_refusal(request, error)
            raise
        return request

    def caller(self, headers: Mapping[str, str]) -> AbstractContextManager[object]:
        """The context of a caller, if tracing is on: what is asked within it belongs to the caller's trace.

        Args:
            headers: of the caller's request, names in lower case; `traceparent` names its span.
        """
        batcher = self._engine.host.batcher
        tracer = None if batcher is None else batcher.tracer
        return nullcontext() if tracer is None else tracer.caller(headers)

    def owner_of(self, api_key: str | None) -> bytes:
        """A digest of who pays for calls with this key; None is the client's own key."""
        account = self._call().account
        return fingerprint(account if api_key is None else with_key(account, api_key))

    @property
    def has_journal(self) -> bool:
        """Whether a request that is asked again finds its place, even in another process."""
        return self._engine.settings.journal is not None

    @property
    def shares_journal(self) -> bool:
        """Whether engines of other processes use the same journal meanwhile."""
        return isinstance(self._place_of_journal, JournalUrl)

    @property
    def _place_of_journal(self) -> str | os.PathLike[str] | None:
        journal = self._engine.settings.journal
        return None if journal is None else checked_place(journal)

    def show_at(self, status_url: str) -> None:
        """Tell other engines of a shared journal where the state of this process can be seen. Before the first call."""
        host = self._engine.host
        make = host.make_batcher

        def make_shown(**options: Any) -> Batcher:
            batcher = make(**options)
            batcher.recovery.show_at(status_url)
            return batcher

        host.make_batcher = make_shown

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

    def is_queued(self, request: Request) -> bool:
        """Whether the request is in no batch yet."""
        batcher = self._engine.host.batcher
        return batcher is not None and batcher.queue.holds(request)

    def queue_bytes(self) -> tuple[int, float]:
        """How many bytes of request bodies wait to be uploaded, and how many may (`max_queued_bytes`)."""
        batcher = self._engine.host.batcher
        return (0, math.inf) if batcher is None else (batcher.queued_bytes.used, batcher.settings.max_queued_bytes)


async def judge_upstream(client: ServerCalls, *, seconds: float, is_own_key: bool = True) -> Judgement:
    """Ask the upstream whether it can work, by one GET or two. They create nothing and cost nothing.

    Args:
        seconds: how long each may take.
        is_own_key: whether this client's key pays, not those of callers.

    Cancelled: nothing was changed anywhere.
    """
    account, http = client._call().account, UpstreamHTTP(client._engine.upstream)
    lanes = client._engine.settings.lanes
    path, other = (BATCHES, MODELS) if lanes is None or Lane.BATCH.value in lanes else (MODELS, BATCHES)
    first = await ask(http, account, path, seconds=seconds)
    second = None if is_enough(first) else await ask(http, account, other, seconds=seconds)
    return judge(first, second, account.provider, is_own_key=is_own_key)


def poll_now(client: ServerCalls, batch_id: str) -> bool:
    """Have a batch polled now that is said to have ended, here or by another engine of a shared journal.

    Returns:
        Whether this engine runs it.
    """
    batcher = client._engine.host.batcher
    if batcher is None:
        return False
    is_ours = batcher.hints.knows(batch_id)
    if batcher.hints.give(batch_id) and not is_ours:
        batcher.recovery.pass_hint(batch_id)
    return is_ours


def kept_responses(client: ServerCalls) -> JournaledResponses | None:
    """The background responses in the journal; None without one that keeps prompts, and before the first call."""
    batcher = client._engine.host.batcher
    return None if batcher is None else batcher.recovery.responses


def see_fleet(client: ServerCalls) -> FleetSeen | None:
    """Look at the engines that share the journal, over a connection of its own; None if only one can use it.

    Blocks, for up to a minute: call it in a worker thread.

    Raises:
        JournalError: if the database cannot be asked.
    """
    from ..engine.journal.file import read_journal  # imported only if used: some Pythons lack sqlite3

    place, batcher = client._place_of_journal, client._engine.host.batcher
    if batcher is None or not isinstance(place, JournalUrl):
        return None
    with read_journal(place) as journal:
        fleet = journal.fleet()
    if fleet is None:
        return None
    waiting = [account for account in fleet.waiting if not batcher.recovery.knows(account.account)]
    left_batches = sum(account.batches for account in fleet.waiting)
    return FleetSeen(fleet.engines, batcher.recovery.session, waiting, left_batches)


def cancels_on_close(client: ServerCalls) -> bool:
    """Whether running batches are cancelled when this client closes. (A journal may keep them all the same.)"""
    engine = client._engine
    batcher = engine.host.batcher
    return engine.settings.cancel_active_batches_on_close if batcher is None else batcher.cancels_on_close


def set_cancels_on_close(client: ServerCalls, cancels: bool) -> None:
    """Say so while its engine runs, whatever the settings say."""
    batcher = client._engine.host.batcher
    if batcher is not None:
        batcher.cancels_on_close = cancels


def keep_answers_for_rerun(client: ServerCalls) -> None:
    """Like `BatchOpenAI.keep_for_rerun`, but running batches end as configured."""
    client._engine.host.keep_for_rerun(batches=False)
