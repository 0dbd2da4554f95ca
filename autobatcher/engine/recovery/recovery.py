"""Matches requests to lines of earlier batches, after a crash or when a caller retries. A matched request waits in the
running batch, or gets the stored answer."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

from ... import events
from ...errors import JournalError
from ...money.calibration import Calibration
from ...upstream.account import Account
from .. import outcomes
from ..emitter import Emit
from ..journal import BatchRecord, SessionEnding, UnclaimedLine
from ..journal.identity import digest_of, fingerprint, without_credentials
from ..journal.records import Stage, StoredAnswer, custom_id_of, line_of
from ..journal.responses import JournaledResponses
from ..lanes.durations import Durations
from ..lanes.lane import Lane
from ..request import Answer, ErrorFor, Request
from ..settings import Settings
from ..spending import Spending
from .batch_log import AttachableBatch, JournalBatchLog
from .call_log import JournalCallLog
from .deliveries import Deliveries
from .early_requests import EarlyRequests
from .kept_durations import KeptDurations
from .no_recovery import NoRecovery
from .replay_queue import ReplayQueue
from .uncertain_calls import UncertainCalls
from .unclaimed import UnclaimedLines

if TYPE_CHECKING:
    from ..journal.journal import Journal  # imported at run time only if used: some Pythons lack sqlite3

READ_AT_ONCE = 500
"""Stored answers per query, so that none waits for the last of thousands."""

ADDED_AT_ONCE = 5_000
"""Unclaimed lines to add before other tasks may run. Takes some milliseconds."""

MAX_ACCOUNTS = 1_000
"""Maximum number of cached fingerprints: a proxy that forwards keys sees many accounts."""


MAX_RECORDS = 10_000
"""Maximum number of remembered batches that were read here, if the journal stores no answers."""


class Recovery(NoRecovery):
    """Owns the journal, and knows its unclaimed lines.

    Args:
        resume: makes a batch from a record of the journal.
        place: sends a request on its way that matches no line, and returns its first lane.
        flush: closes the open windows.
        emit: is told how many requests got stored answers.
        durations: begins with what the journal knows, and is kept in it.
        spending: likewise.
        unclaimed_lines: where lines are kept that requests can claim; None for here.
    """

    def __init__(
        self,
        journal: Journal,
        settings: Settings,
        *,
        resume: Callable[[JournalBatchLog, Account], AttachableBatch],
        place: Callable[[Request], Lane],
        flush: Callable[[], None],
        emit: Emit,
        durations: Durations,
        spending: Spending,
        unclaimed_lines: UnclaimedLines | None = None,
    ) -> None:
        self._journal = journal
        self._spending = spending
        self._settings = settings
        self._resume = resume
        self._place = place
        self._flush = flush
        self._emit = emit
        self._uncertain_calls = UncertainCalls(
            journal, settings, spending, place=place, give_back=self._give_back_line, emit=emit
        )
        self._durations = KeptDurations(journal, durations)
        self._is_open = False
        self._early = EarlyRequests()
        self._replay_queue = ReplayQueue(self._unclaim)
        self._unclaimed_lines = UnclaimedLines() if unclaimed_lines is None else unclaimed_lines
        # "Idle" batches have no `Batch` here. Keys of these dicts are idempotency keys, unless noted.
        self._lines_by_batch: defaultdict[str, list[UnclaimedLine]] = defaultdict(list)
        self.deliveries: Deliveries = Deliveries(journal, self._unclaimed_lines, self._lines_by_batch)
        self._unfinished: defaultdict[bytes, list[BatchRecord]] = defaultdict(list)  # by account fingerprint
        self._records: dict[str, BatchRecord] = {}  # of idle batches
        self._read_records: dict[str, BatchRecord] = {}  # of idle batches that were read to the end
        self._batches: dict[str, AttachableBatch] = {}
        self._unvisited: set[str] = set()  # batches of earlier processes that no request here has claimed yet
        self._fingerprints: dict[Account, bytes] = {}

    def __len__(self) -> int:
        """How many requests wait here."""
        return len(self._early) + len(self._replay_queue)

    @property
    def responses(self) -> JournaledResponses | None:
        return None if self._journal.is_hash_only else self._journal.responses

    async def open(self) -> None:
        """Take the journal and load its unclaimed lines. Raises `JournalError`."""
        contents = await self._journal.open()
        self._durations.load(contents.durations)
        self._spending.calibration.adopt(Calibration.decoded(contents.calibration))
        if self._spending.has_caps:
            await self._load_spent()
        for number, (digest, line) in enumerate(contents.unclaimed_lines, start=1):
            if number % ADDED_AT_ONCE == 0:
                await checkpoint()
            self._unclaimed_lines.add(digest, line)
            if not line.is_stored and not line.is_call:
                self._lines_by_batch[line.idempotency_key].append(line)
        batches = [record for record in contents.batches if not record.is_call]
        self._unvisited = {record.idempotency_key for record in batches}
        for record in batches:
            self._records[record.idempotency_key] = record
            if record.stage != "ended":
                self._unfinished[record.account].append(record)
        self._is_open = True
        for request in self._early.pop_all():
            if not self.claim(request):
                self._place(request)
        if self._early.are_flushed:
            self._flush()

    async def _load_spent(self) -> None:
        self._spending.load(await self._journal.spent(since=self._spending.counts_since))

    async def run(self, on_defect: Callable[[Exception], None]) -> None:
        """Deliver stored answers, until cancelled or until a bug of ours, which is told."""
        try:
            await self._deliver_all()
        except Exception as defect:
            on_defect(defect)

    async def _deliver_all(self) -> None:
        while True:
            await self._replay_queue.wait()
            some = self._replay_queue.next(READ_AT_ONCE)
            try:
                found = await self._journal.answers([line for _, line in some])
            except JournalError as error:
                self._fail_replays(some, outcomes.journal_error_for(error))
            else:
                self._deliver(some, found)

    async def close(self, ending: SessionEnding) -> None:
        """Release the journal. See `Journal.close`."""
        if self._is_open:
            self._durations.keep()
            self._journal.keep_calibration(self._spending.calibration.encoded())
        await self._journal.close(ending)

    # ---- requests ----

    def claim(self, request: Request) -> bool:
        """Let `request` claim a matching line, and wait here or in its batch; False if none matches."""
        if not self._is_open:
            self._early.add(request)
            return True
        if not self._unclaimed_lines and not self._unfinished:
            return False
        account = self._fingerprint(request.account)
        for record in self._unfinished.pop(account, ()):
            self._live_batch(record.idempotency_key, request.account)
        line = (
            self._unclaimed_lines.claim(digest_of(request.endpoint, request.digested, account))
            if self._unclaimed_lines
            else None
        )
        if line is None:
            return False
        if line.is_stored or line.is_call:
            self._replay_queue.add(request, line)
        else:
            batch = self._live_batch(line.idempotency_key, request.account)
            if batch is None:
                return False
            batch.attach(line, request)
        request.dequeue()
        return True

    def flush_early(self) -> None:
        """Close the windows of the requests that wait for the journal, once it is open."""
        self._early.are_flushed = self._early.are_flushed or len(self._early) > 0

    def fail_all(self, error_for: ErrorFor) -> None:
        """Settle each request that waits here with an error of its own."""
        for request in (*self._early.pop_all(), *self._replay_queue.pop_all()):
            request.settle(error_for(request, None))

    def give_back(self, request: Request) -> None:
        """Make the answer of a request available again, because it did not reach its caller."""
        idempotency_key, number = line_of(request.custom_id)
        is_stored = not self._journal.is_hash_only
        line = UnclaimedLine(idempotency_key, number, self._journal.wall_clock(), is_stored, is_paid=True)
        self._give_back_line(request, line)

    def _give_back_line(self, request: Request, line: UnclaimedLine) -> None:
        self._journal.give_back(line.idempotency_key, line.custom_id)
        self._unclaim(request, line)

    def _unclaim(self, request: Request, line: UnclaimedLine) -> None:
        digest = digest_of(request.endpoint, request.digested, self._fingerprint(request.account))
        self._unclaimed_lines.add(digest, line)

    def _fail_replays(self, some: list[tuple[Request, UnclaimedLine]], error_for: ErrorFor) -> None:
        """Fail requests whose answers cannot be read now. Their lines can be claimed again."""
        for request, line in some:
            if self._replay_queue.remove(request):
                self._unclaim(request, line)
                request.settle(error_for(request, None))

    def _deliver(self, some: list[tuple[Request, UnclaimedLine]], found: list[StoredAnswer | None]) -> None:
        given, uncertain = [], []
        for (request, line), stored in zip(some, found, strict=True):
            if not self._replay_queue.remove(request):
                continue  # its caller has left
            if stored is not None:
                self._journal.mark_taken(line)
                request.custom_id, request.on_undelivered = line.custom_id, partial(self._give_back_line, line=line)
                request.settle(answer_of(stored))
                given.append(request)
            elif line.is_call:
                uncertain.append((request, line))
            else:
                self._place(request)
        self._uncertain_calls.meet(uncertain)
        if given:
            metadata = dict(self._settings.batch_metadata)
            self._emit(events.RequestsReattached, request_count=len(given), metadata=metadata)

    # ---- batches ----

    def new_call_log(self, request: Request, lane: Lane) -> JournalCallLog:
        """Make the log of a call on another lane."""
        record = self._new_record(uuid.uuid4().hex, request, window=lane.value, stage="calling")
        return JournalCallLog(self._journal, record, self._unclaim, self._give_back_line)

    def new_log(self, idempotency_key: str, first: Request) -> JournalBatchLog:
        """Make the log of a new batch of requests like `first`."""
        window = first.placement.completion_window or self._settings.completion_window
        record = self._new_record(idempotency_key, first, window=window, stage="intended")
        return self._make_log(record, ())

    def _make_log(
        self, record: BatchRecord, unclaimed: Iterable[UnclaimedLine], *, is_awaited: bool = False
    ) -> JournalBatchLog:
        return JournalBatchLog(
            self._journal, self._unclaimed_lines, record, unclaimed, self.give_back, is_awaited=is_awaited
        )

    def _new_record(self, idempotency_key: str, first: Request, *, window: str, stage: Stage) -> BatchRecord:
        if (too_old := self._journal.sweep()) is not None:
            self._unclaimed_lines.forget_old(*too_old)
        self._unclaimed_lines.forget_more()
        self._durations.keep_now_and_then()
        account = first.account
        return BatchRecord(
            idempotency_key=idempotency_key,
            account=self._fingerprint(account),
            base_url=without_credentials(account.base_url),
            provider=account.provider.name,
            endpoint=first.endpoint,
            completion_window=window,
            models=[],
            metadata=dict(self._settings.batch_metadata),
            request_count=0,
            stage=stage,
        )

    def batch_started(self, batch: AttachableBatch) -> None:
        """Register a batch that runs in this engine."""
        idempotency_key = log_of(batch).record.idempotency_key
        self._batches[idempotency_key] = batch
        self._records.pop(idempotency_key, None)
        self._read_records.pop(idempotency_key, None)

    def batch_ended(self, batch: AttachableBatch) -> None:
        """Unregister a batch."""
        log = log_of(batch)
        idempotency_key = log.record.idempotency_key
        if self._batches.get(idempotency_key) is batch:
            del self._batches[idempotency_key]
            unclaimed = log.hand_over()
            if unclaimed:
                self._records[idempotency_key], self._lines_by_batch[idempotency_key] = log.record, unclaimed
            elif self._journal.is_hash_only:  # a returned answer must be read again
                self._read_records[idempotency_key] = log.record
                while len(self._read_records) > MAX_RECORDS:
                    del self._read_records[next(iter(self._read_records))]

    def _live_batch(self, idempotency_key: str, account: Account) -> AttachableBatch | None:
        """Return the batch, resumed if necessary; None if it is unknown."""
        batch = self._batches.get(idempotency_key)
        if batch is not None and batch.accepts_lines:
            return batch
        record = self._record_of(idempotency_key) if batch is None else log_of(batch).record
        if record is None:
            return None
        before = None if batch is None else log_of(batch)
        unclaimed = self._lines_by_batch.pop(idempotency_key, []) if before is None else before.hand_over()
        is_awaited = idempotency_key in self._unvisited
        self._unvisited.discard(idempotency_key)
        log = self._make_log(record, unclaimed, is_awaited=is_awaited)
        if before is not None:
            before.successor = log
        batch = self._resume(log, account)
        self.batch_started(batch)
        return batch

    def _record_of(self, idempotency_key: str) -> BatchRecord | None:
        return self._records.get(idempotency_key) or self._read_records.get(idempotency_key)

    def _fingerprint(self, account: Account) -> bytes:
        known = self._fingerprints.get(account)
        if known is None:
            if len(self._fingerprints) >= MAX_ACCOUNTS:
                self._fingerprints.clear()
            known = self._fingerprints[account] = fingerprint(account)
        return known


def log_of(batch: AttachableBatch) -> JournalBatchLog:
    """The log of a batch in a journal."""
    assert isinstance(batch.log, JournalBatchLog)
    return batch.log


def answer_of(stored: StoredAnswer) -> Answer:
    """The answer that a journal has stored."""
    custom_id = custom_id_of(stored.idempotency_key, stored.number)
    return Answer(stored.status_code, stored.body, stored.request_id, stored.batch_id, custom_id, stored.lane)
