"""Checks once on unfinished batches of a journal, without an engine, and stores the answers that can be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import anyio

from .. import events
from ..upstream.account import Account
from ..upstream.batch_api import LOOKUP_DELAYS, BatchAPI
from ..upstream.batch_state import BatchState
from ..upstream.failures import GONE, UpstreamError
from .answer_room import AnswerRoom
from .batch.billing import BatchBilling
from .batch.leaving import CLEAN_UP_SECONDS
from .batch.pending import PendingRequests
from .batch.results import ResultReader
from .batch.source import EarlierBatch
from .batch.uncertain_creation import find_again
from .batch.upstream import UpstreamBatch
from .journal import BatchRecord, UnclaimedLine
from .recovery.batch_log import JournalBatchLog
from .recovery.unclaimed import UnclaimedLines
from .request import Request
from .settings import Settings
from .spending import Spending

if TYPE_CHECKING:
    from .journal.journal import Journal  # imported at run time only if used: some Pythons lack sqlite3

LOOKUP_SECONDS = 30.0
"""How long the lookup of a batch may fail with retryable errors. A recent creation is awaited in addition."""

CONCURRENT_LOOKS = 8

Verdict = Literal["forgotten", "running", "read", "gone", "failed", "uncertain"]
"""forgotten: never created or gone, and removed from the journal's unfinished batches. running: left as it is. read:
its answers are stored, and its record is ended. gone: unknown upstream; left as it is. failed: could not be polled or
read. uncertain: no batch, but a call on another lane that may have been billed; left as it is."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of checking on one batch.

    Attributes:
        record: the batch's record in the journal, as it was before.
        batch_id: the upstream's id; None if there is none, or it is unknown.
        status: the upstream's current status; "" if unknown.
        answers: how many answers were stored.
        reason: an explanation for the user, without the upstream's own words.
    """

    record: BatchRecord
    verdict: Verdict
    batch_id: str | None = None
    status: str = ""
    answers: int = 0
    reason: str = ""


class Reconciling:
    """Checks on batches, each once.

    Args:
        journal: open, and with stored answers. The caller closes it, which waits until all is written.
        account_for: returns the account and profile of a batch.
        delete_input_files: whether to delete input files of batches that were read, as the engine does.
        forgets_gone: whether to forget batches that the upstream does not know.
    """

    def __init__(
        self,
        journal: Journal,
        api: BatchAPI,
        account_for: Callable[[BatchRecord], Account],
        *,
        delete_input_files: bool,
        forgets_gone: bool,
    ) -> None:
        self._journal = journal
        self._api = api
        self._account_for = account_for
        self._settings = Settings(delete_input_files=delete_input_files)
        self._forgets_gone = forgets_gone
        self._limiter = anyio.CapacityLimiter(CONCURRENT_LOOKS)

    async def look_at(self, record: BatchRecord, unclaimed: Iterable[UnclaimedLine]) -> Finding:
        """Check on one batch, and record the finding.

        Args:
            unclaimed: the batch's lines without a stored answer.

        Cancelled: answers read so far are stored. Another check does the rest.
        """
        if record.is_call:
            reason = f"a call on the {record.lane} lane that may have been billed: who asks the same next is told so"
            return Finding(record=record, verdict="uncertain", reason=reason)
        async with self._limiter:
            return await _Look(
                record,
                list(unclaimed),
                self._journal,
                self._api,
                self._account_for(record),
                self._settings,
                forgets_gone=self._forgets_gone,
            ).run()


class _Look:
    """One check on one batch."""

    def __init__(
        self,
        record: BatchRecord,
        unclaimed: list[UnclaimedLine],
        journal: Journal,
        api: BatchAPI,
        account: Account,
        settings: Settings,
        *,
        forgets_gone: bool,
    ) -> None:
        self._record = record
        self._unclaimed = [] if record.is_hash_only else unclaimed  # answers that are not stored need not be read
        self._journal = journal
        self._api = api
        self._account = account
        self._deletes_files = settings.delete_input_files
        self._forgets_gone = forgets_gone
        self._age = max(0.0, journal.wall_clock() - record.changed_at)
        self._log = JournalBatchLog(journal, UnclaimedLines(), record, self._unclaimed, _no_return)
        self._upstream = UpstreamBatch(
            account, record.endpoint, record.idempotency_key, api=api, settings=settings, emit=_no_emit
        )
        billing = BatchBilling(
            Spending(settings, journal.wall_clock),
            account,
            self._upstream,
            endpoint=record.endpoint,
            source=EarlierBatch.of(record, journal.wall_clock()),
        )
        pending = PendingRequests({}, _no_resubmit, billing, self._log)
        room = AnswerRoom(settings.max_answer_bytes, isolates=False)
        self._reader = ResultReader(api, account, pending, self._log.drain, room)

    async def run(self) -> Finding:
        try:
            exists = await self._find()
            return await self._poll() if exists else await self._forget_uncreated()
        except TimeoutError:
            return self._finding("failed", reason="the upstream could not be asked whether the batch exists")
        except UpstreamError as error:
            return self._finding("failed", reason=error.summary)

    async def _find(self) -> bool:
        """Whether the batch exists upstream. Raises `UpstreamError`, or TimeoutError if that cannot be known."""
        seconds = LOOKUP_SECONDS + max(0.0, sum(LOOKUP_DELAYS) - self._age)
        with anyio.fail_after(seconds):
            exists = await find_again(self._upstream, self._record, self._age)
        if exists and self._record.batch_id is None and self._upstream.state is not None:
            self._log.state_changed(self._upstream.state)
        return exists

    async def _forget_uncreated(self) -> Finding:
        await self._clean_up()
        if self._deletes_files and self._upstream.may_have_files:
            return self._finding("failed", reason="its input file could not be deleted upstream")
        self._log.forget()
        return self._finding("forgotten", reason="it was never created")

    async def _poll(self) -> Finding:
        assert self._upstream.batch_id is not None
        try:
            state = await self._api.retrieve(self._account, self._upstream.batch_id)
        except UpstreamError as error:
            if error.status_code in GONE:
                return self._gone()
            raise
        self._upstream.observe(state)
        self._log.state_changed(state)
        if not state.is_terminal:
            return self._finding("running")
        if state.lacks_output_file:
            return self._finding("running", reason="it has ended, but does not name its result files yet")
        return await self._read(state)

    async def _read(self, state: BatchState) -> Finding:
        """The batch has ended: store its answers, delete its input file, end its record."""
        failure = await self._reader.read_once(state)
        if failure is not None:
            return self._finding("failed", reason=f"its results could not be read: {failure.summary}")
        await self._clean_up()
        if self._record.is_hash_only:  # its lines stay for a rerun, which reads them again
            self._journal.update(self._record.idempotency_key, stage="ended")
            return self._finding("read", reason="the journal keeps no answers: a rerun reads them")
        self._log.end()
        return self._finding("read")

    async def _clean_up(self) -> None:
        with anyio.move_on_after(CLEAN_UP_SECONDS):
            await self._upstream.clean_up()

    def _gone(self) -> Finding:
        """The upstream does not know the batch. Stored answers stay."""
        if not self._forgets_gone:
            return self._finding("gone", reason="the upstream does not know it")
        if self._record.answered and not self._record.is_hash_only:
            self._log.end()
            return self._finding("forgotten", reason="the upstream does not know it; stored answers stay")
        self._log.forget()
        return self._finding("forgotten", reason="the upstream does not know it")

    def _finding(self, verdict: Verdict, *, reason: str = "") -> Finding:
        state = self._upstream.state
        return Finding(
            record=self._record,
            verdict=verdict,
            batch_id=self._upstream.batch_id,
            status="" if state is None or verdict in ("failed", "gone", "forgotten") else state.status,
            answers=sum(line.is_stored for line in self._unclaimed),
            reason=reason,
        )


def _no_return(request: Request) -> None:
    """There are no callers here who could return an answer."""


def _no_resubmit(request: Request) -> bool:
    """There is no later batch here."""
    return False


def _no_emit(kind: type[events.BatchEvent], /, **fields: Any) -> None:
    """Only engines emit events."""
