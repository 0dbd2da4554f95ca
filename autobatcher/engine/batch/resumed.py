"""A batch of an earlier process: not uploaded and created, but found again."""

from __future__ import annotations

import logging

from ...upstream.account import Account
from ...upstream.batch_state import BatchState
from ...upstream.failures import GONE, UpstreamError
from ..journal.records import custom_id_of
from ..queue.windows import travel_key
from ..recovery.batch_log import JournalBatchLog
from .batch import Batch, Engine
from .results import REFUSED_SECONDS

logger: logging.Logger = logging.getLogger("autobatcher")


class ResumedBatch(Batch):
    """Nobody waits for it when it is made; see `attach`. From there on it lives like any other.

    Whatever it comes to, its callers did not order it: where it does not answer them, they get a batch of their own.

    Args:
        log: what the journal has of it.
    """

    _first_poll_at_once = True

    def __init__(self, log: JournalBatchLog, account: Account, engine: Engine) -> None:
        record = log.record
        key = travel_key(account, record.endpoint, record.models[0] if record.models else "")
        super().__init__(account, record.endpoint, record.idempotency_key, {}, key=key, engine=engine, log=log)
        self._record = record
        # Only how many they are: callers may have left before the upload, so their places in the file are not known.
        self._lines = [custom_id_of(record.idempotency_key, number) for number in range(record.request_count)]
        self._was_seen = False
        self._was_over = record.status == "cancelling"  # because we wanted it to be

    async def _begin(self) -> bool:
        """Find it upstream; False if it was never there."""
        was_found = await self.upstream.find_again(self._record, self._engine.age_of(self._record.changed_at))
        self._created()
        if not was_found:
            self._send_again("their batch was never created")
        return was_found

    def _deadline_seconds(self) -> float:
        """What is left of its time, but enough to read what has ended long ago."""
        deadline = super()._deadline_seconds()
        age = max(0.0, self._engine.age_of(self._record.created_at))
        return max(deadline - age, self._engine.settings.deadline_slack_seconds, REFUSED_SECONDS)

    def _see(self, state: BatchState) -> None:
        if not self._was_seen:
            self._was_over |= state.is_terminal or state.status == "cancelling"
        self._was_seen = True

    def _ended_without_us(self, state: BatchState) -> bool:
        """What a completed batch counts as done was paid for, so that is an answer in any case; what ended in another
        way before we came is none; nor is a failed input file, of which we do not know whose line was to blame."""
        return state.status != "completed" and (self._was_over or state.status == "failed")

    def _notice_gone(self, error: UpstreamError) -> bool:
        """The upstream denies what it once had, after `REFUSED_SECONDS` of patience: its lines are sent again."""
        if error.status_code not in GONE or self.upstream.state is None:  # a refused lookup says nothing of it
            return False
        logger.warning("autobatcher: batch %s is gone upstream: %s", self.upstream.batch_id, error.summary)
        self.upstream.has_ended = self._is_gone = True
        self._send_again("their batch is gone upstream")
        return True
