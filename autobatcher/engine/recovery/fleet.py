"""Matches requests to lines of a journal that other engines use at the same time.

Each request is looked up in the journal before it is sent. It may find a free line: of a batch that runs here, or in
another engine, or whose engine died; or an answer that is stored. A batch whose engine died, or left it, is adopted by
one of those that know its account.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import anyio

from ...errors import JournalError
from ...upstream.account import Account
from ..journal import BatchRecord, UnclaimedLine
from ..journal.identity import digest_of
from ..journal.postgres.shared import Lost
from ..journal.records import line_of
from ..poll_hints import PollHints
from ..request import ErrorFor, Request
from ..settings import Settings
from .batch_log import AttachableBatch, JournalBatchLog
from .fleet_log import FleetBatchLog
from .freed_lines import FreedLines
from .lookups import Lookups
from .pauses import Pauses
from .recovery import MAX_ACCOUNTS, Recovery, log_of
from .remote_answers import RemoteAnswers
from .remote_lines import RemoteLines
from .spending_caps import SpendingCaps

if TYPE_CHECKING:
    from ..journal.postgres.shared import Adopted, Claimed
    from ..journal.shared_journal import SharedJournal

logger: logging.Logger = logging.getLogger("autobatcher")

ADOPTION_SECONDS = 2.0
"""How often batches are looked for that no engine runs."""

LEFT_SECONDS = 60.0
"""For how long this engine leaves a batch to others that it could not go on with itself, unless somebody waits for it
here."""

CAPS_SECONDS = 5.0
"""How often it is looked what other engines have spent, if there is a cap. What is sent is checked besides."""


class FleetRecovery(Recovery):
    """One engine's part of a shared journal. See `Recovery` for the other arguments.

    Args:
        hints: are given those that come to other engines.
    """

    def __init__(self, journal: SharedJournal, settings: Settings, *, hints: PollHints, **options: Any) -> None:
        super().__init__(journal, settings, unclaimed_lines=FreedLines(journal), **options)
        self._shared = journal
        self._lookups = Lookups(
            journal,
            digest_of=self._digest,
            account_of=lambda request: self._fingerprint(request.account),
            place=self._place,
            take_up=self._take_up,
            flush=self._flush,
        )
        self._remote = RemoteLines(journal.free)
        self._remote_answers = RemoteAnswers(
            journal,
            self._remote,
            look_up=self._lookups.add,
            give_back=self._give_back_line,
            read_again=self._read_again,
        )
        self._pauses = Pauses()
        self._accounts: dict[bytes, Account] = {}
        self._left: dict[str, float] = {}  # batches, and until when they are left to others
        self._interrupted = anyio.Event()
        journal.on_interrupted = self._note_interruption
        journal.on_news = self._remote.tell
        journal.on_hint = hints.give
        journal.caps = SpendingCaps(self._spending) if self._spending.has_caps else None

    def __len__(self) -> int:
        return len(self._lookups) + len(self._remote) + super().__len__()

    def know(self, account: Account) -> None:
        key = self._fingerprint(account)
        self._accounts.pop(key, None)
        self._accounts[key] = account  # the newest is the last
        if len(self._accounts) > MAX_ACCOUNTS:
            del self._accounts[next(iter(self._accounts))]

    def knows(self, account: bytes) -> bool:
        return account in self._accounts

    def show_at(self, status_url: str) -> None:
        self._shared.status_url = status_url

    def pass_hint(self, batch_id: str) -> None:
        self._shared.pass_hint(batch_id)

    @property
    def session(self) -> int | None:
        return self._shared.session

    # ---- requests ----

    def claim(self, request: Request) -> bool:
        """Let the request wait until it was looked up. Always True: it is placed then, if it matches nothing."""
        self.know(request.account)
        self._lookups.add(request)
        return True

    def flush_early(self) -> None:
        self._lookups.flush()

    def fail_all(self, error_for: ErrorFor) -> None:
        for request in (*self._lookups.pop_all(), *self._remote.pop_all()):
            request.settle(error_for(request, None))
        super().fail_all(error_for)

    async def run(self, on_defect: Callable[[Exception], None]) -> None:
        """Look requests up, deliver answers and adopt batches, until cancelled or until a bug, which is told."""
        try:
            async with anyio.create_task_group() as nursery:
                for task in (
                    *(self._pauses.run, self._deliver_all, self._lookups.run, self._remote_answers.run),
                    *(self._adopt_all, self._make_sure_of_ours, self._look_at_others),
                ):
                    nursery.start_soon(task)
        except Exception as defect:
            on_defect(defect)

    def _take_up(self, request: Request, claimed: Claimed) -> None:
        line = claimed.line
        request.dequeue()
        if line.is_stored or line.is_call:
            self._replay_queue.add(request, line)
            return
        batch = self._batches.get(line.idempotency_key)
        if batch is not None and not batch.accepts_lines:
            batch = self._live_batch(line.idempotency_key, request.account)
        if batch is not None and batch.log.awaits_line(line.custom_id):
            batch.attach(line, request)
        else:  # it runs elsewhere, or was read since we asked
            self._remote.add(request, line)

    def _digest(self, request: Request) -> bytes:
        return digest_of(request.endpoint, request.digested, self._fingerprint(request.account))

    # ---- batches of others ----

    async def _read_again(self, keys: set[str]) -> None:
        """Run batches that have ended, whose answers are only upstream: the journal stores none."""
        for adopted in await self._shared.adopt((), keys=list(keys)) if keys else ():
            self._adopt(adopted)

    # ---- batches without an engine ----

    async def _adopt_all(self) -> None:
        while True:
            if self._accounts:
                try:
                    for adopted in await self._shared.adopt(list(self._accounts), but=self._left_to_others()):
                        self._adopt(adopted)
                except JournalError as error:
                    logger.warning("autobatcher: %s No batches are adopted until it can.", error.message)
            await anyio.sleep(ADOPTION_SECONDS)

    def _left_to_others(self) -> list[str]:
        now = anyio.current_time()
        self._left = {key: until for key, until in self._left.items() if until > now}
        return [key for key in self._left if not self._remote.of_batch(key)]

    def batch_ended(self, batch: AttachableBatch) -> None:
        """Unregister a batch. One that is not over is left to the engines, of which this is one."""
        log = log_of(batch)
        idempotency_key = log.record.idempotency_key
        if self._batches.get(idempotency_key) is batch:
            del self._batches[idempotency_key]
            if log.is_open:
                log.hand_over()
                self._left[idempotency_key] = anyio.current_time() + LEFT_SECONDS
                self._shared.leave(idempotency_key)

    def _adopt(self, adopted: Adopted) -> None:
        """Run the batch here. Those who wait for its lines here wait in it from now on."""
        record = adopted.record
        account = self._accounts.get(record.account)
        if account is None:  # it was forgotten meanwhile, among thousands
            self._shared.leave(record.idempotency_key)
            return
        lines = [line for _, line, _ in adopted.lines]
        log = self._make_log(record, lines, is_awaited=True)
        self._spending.take_over(record.idempotency_key, account)
        batch = self._resume(log, account)
        self.batch_started(batch)
        known = {line.number: line for line in lines}
        for request, line in self._remote.of_batch(record.idempotency_key):
            if self._remote.remove(request):
                batch.attach(known.get(line.number, line), request)

    def _make_log(
        self, record: BatchRecord, unclaimed: Iterable[UnclaimedLine], *, is_awaited: bool = False
    ) -> JournalBatchLog:
        where = self._unclaimed_lines
        limited = record.account.hex() if self._settings.isolate_accounts else record.base_url
        return FleetBatchLog(
            self._shared, self._pauses, limited, where, record, unclaimed, self.give_back, is_awaited=is_awaited
        )

    # ---- limits that all engines share ----

    async def _load_spent(self) -> None:
        self._spending.caps.begin_among_others()
        await self._shared.look_at_others()

    async def _look_at_others(self) -> None:
        while self._spending.has_caps:
            await anyio.sleep(CAPS_SECONDS)
            try:
                await self._shared.look_at_others()
            except JournalError as error:
                logger.warning("autobatcher: %s What others spend is not seen until it can.", error.message)

    # ---- batches that may not be ours any more ----

    def _note_interruption(self) -> None:
        self._pauses.interrupted()
        self._interrupted.set()

    async def _make_sure_of_ours(self) -> None:
        """After the session was lost: leave the batches to those who took them, and cancel those that are doubled."""
        while True:
            await self._interrupted.wait()
            self._interrupted = anyio.Event()
            try:
                await self._lookups.keyed.make_sure()
                losses = await self._shared.lost_batches(list(self._batches))
            except JournalError:
                self._interrupted.set()  # the journal has gone again
                await anyio.sleep(ADOPTION_SECONDS)
                continue
            for idempotency_key, loss in losses.items():
                self._lose(idempotency_key, loss)

    def _lose(self, idempotency_key: str, loss: Lost) -> None:
        batch = self._batches.pop(idempotency_key, None)
        if batch is not None:
            logger.warning("autobatcher: another engine took over a batch of this one, which had lost the journal")
            is_doubled = loss is Lost.FORGOTTEN
            for request in batch.disown(is_doubled=is_doubled):
                if (reservation := request.pop_reservation()) is not None:
                    reservation.release()
                if is_doubled:
                    self._lookups.add(request)
                else:  # the line is still its own, unless somebody has claimed it meanwhile
                    request.dequeue()
                    self._remote.add(request, self._line_of(request))

    def _line_of(self, request: Request) -> UnclaimedLine:
        return UnclaimedLine(*line_of(request.custom_id), self._journal.wall_clock())
