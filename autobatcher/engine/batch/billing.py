"""What one batch is billed, line by line. Synchronous."""

from __future__ import annotations

from ...errors import BatchError
from ...money.budget import Reservation
from ...money.ledger import Charge, Fate, Sort, bracket_of
from ...money.statement import beyond_answers
from ...money.usage import Usage, is_model, name_in, usage_of
from ...upstream.account import Account
from .. import outcomes
from ..lanes.lane import Lane, Overrun
from ..left_line import LeftLine
from ..request import Answer, Request
from ..spending import Spending
from .phase import BEFORE_CREATION
from .source import EarlierBatch, NewBatch, Source
from .upstream import UpstreamBatch


class BatchBilling:
    """Books each line of a batch once.

    Args:
        source: says what is known of lines whose requests are not.
    """

    def __init__(
        self,
        spending: Spending,
        account: Account,
        batch: UpstreamBatch,
        *,
        endpoint: str,
        source: Source,
    ) -> None:
        self._spending = spending
        self._account = account
        self._batch = batch
        self._endpoint = endpoint
        self._source = source
        self._window = source.completion_window
        self._models = source.models
        self._left = spending.left_lines(batch.idempotency_key)
        self._paid: set[str] = set()  # lines that an earlier life, or process, has booked
        self._sorts: dict[tuple[str, Fate, int], Sort] = {}  # a few, of many answers
        self._told = Usage()  # by answers
        self._models_told: set[str] = set()

    @property
    def wants_lines(self) -> bool:
        """Whether lines that nobody waits for may have been executed, so that it is worth looking what they cost."""
        return bool(self._left)

    def answered(self, request: Request, answer: Answer) -> Charge | None:
        """A request gets this answer. Returns what a journal records; None if nothing was billed, or it is recorded."""
        if request.custom_id in self._paid:
            return None
        charge = self._book(request.model, answer, request.pop_reservation(), Fate.DELIVERED)
        if charge is not None:
            self._spending.learn(request, charge)
            charge = self._spending.kept(request, charge)
        return charge

    def answered_nobody(self, custom_id: str, answer: Answer, *, is_kept: bool) -> Charge | None:
        """A line was answered for which nobody waits. Returns what `answered` does.

        Args:
            is_kept: whether a journal keeps the answer for somebody.
        """
        line = self._left.pop(custom_id, None)
        if custom_id in self._paid or (line is None and not is_kept):
            return None
        self._paid.add(custom_id)
        if line is None:
            return self._book(self._model_in(answer), answer, None, Fate.DELIVERED)
        fate = Fate.DELIVERED if is_kept and line.fate is Fate.DISCARDED else line.fate
        return self._book(line.model, answer, line.reservation, fate)

    def refused(self, custom_id: str, outcome: Answer | BatchError) -> None:
        """A line failed for which nobody waits."""
        if custom_id in self._left and not self._check_executed(custom_id, outcome):
            _release(self._left.pop(custom_id))

    def _check_executed(self, custom_id: str, outcome: Answer | BatchError) -> bool:
        """Whether the outcome of a line means that it was billed, though nobody can say how much."""
        was_executed = isinstance(outcome, BatchError) and outcomes.was_executed(outcome)
        if was_executed and custom_id in self._left:
            self._left[custom_id] = self._left[custom_id]._replace(was_executed=True)
        return was_executed

    def left(self, request: Request) -> None:
        """The caller of a line left, or got an error. The line may have been, or be, executed."""
        if request.custom_id not in self._paid:
            self._leave(request.custom_id, request, request.pop_reservation(), Fate.DISCARDED)

    def failed(self, request: Request, outcome: BatchError) -> None:
        """The request of a line gets an error that is not the upstream's answer to it."""
        if self._batch.phase not in BEFORE_CREATION:
            self.left(request)
            self._check_executed(request.custom_id, outcome)

    def may_repeat(self, request: Request) -> bool:
        """Whether a request may be sent again, and be billed twice: whether the caps have room for that."""
        is_for_two = request.terms.overrun is Overrun.PAY_TWICE
        return is_for_two or request.reservation is None or request.reservation.has_room_again

    def repeated(self, custom_id: str, request: Request) -> None:
        """A request is sent again, although its line may have been, or be, executed."""
        reservation = request.reservation
        if reservation is not None:
            is_for_two = request.terms.overrun is Overrun.PAY_TWICE
            reservation = reservation.split() if is_for_two else reservation.again()
        self._leave(custom_id, request, reservation, Fate.PAID_TWICE)

    def _leave(self, custom_id: str, request: Request, reservation: Reservation | None, fate: Fate) -> None:
        unknown = self._spending.unknown_charge(
            self._account,
            self._endpoint,
            request.model,
            self._spending.most_usage(request),
            lane=Lane.BATCH.value,
            completion_window=self._window,
            batch_id=self._batch.batch_id or "",
        )
        self._left[custom_id] = LeftLine(request.model, reservation, fate, unknown)

    def taken_up(self, custom_id: str, request: Request, *, is_paid: bool) -> None:
        """A request waits for a line whose caller had left."""
        line = self._left.pop(custom_id, None)
        if line is not None:
            request.reservation = line.reservation
        elif isinstance(self._source, EarlierBatch):
            lines = self._source.record.request_count
            request.reservation = self._spending.reserved_earlier(self._batch.idempotency_key, max(1, lines))
        if is_paid:
            self._paid.add(custom_id)
        elif request.reservation is None:
            request.reservation = self._spending.reserve_anyway(request)

    def end(self, *, was_read: bool) -> list[Charge]:
        """The batch is over. Returns what a journal records of lines that may have been executed.

        Args:
            was_read: whether its results were read to the end, so that lines without one were not executed.
        """
        unknown, is_known = self._unknown(was_read=was_read), self._is_known(was_read=was_read)
        left, self._left = self._left, {}
        self._spending.forget_lines(self._batch.idempotency_key)
        models = self._models_told | {line.unknown.sort.model for line in unknown}
        if len(models) == 1 and unknown and (untold := self._stated_beyond_answers(unknown[0])) is not None:
            return self._book_statement(left, unknown[0].unknown, untold)
        charges = []
        for line in left.values():
            if is_known and not line.was_executed:
                _release(line)
            else:
                charges.append(line.unknown._replace(batch_id=self._batch.batch_id or ""))
                self._spending.book(charges[-1], self._account, line.reservation)
        return charges

    def needs_statement(self, *, was_read: bool) -> bool:
        """Whether lines may have been billed of which the answers do not tell how much."""
        return bool(self._unknown(was_read=was_read))

    def _unknown(self, *, was_read: bool) -> list[LeftLine]:
        is_known = self._is_known(was_read=was_read)
        return [line for line in self._left.values() if line.was_executed or not is_known]

    def _is_known(self, *, was_read: bool) -> bool:
        """Whether lines without a result were certainly not executed, unless something says so."""
        return was_read or self._batch.phase in BEFORE_CREATION

    def _stated_beyond_answers(self, line: LeftLine) -> Usage | None:
        """The tokens of a batch of one model that no answer told; None if its provider does not state them.

        Args:
            line: one whose cost is not known.
        """
        state = self._batch.state
        is_whole = isinstance(self._source, NewBatch) and not self._paid
        if state is None or state.tokens is None or not state.is_terminal or not is_whole:
            return None
        return beyond_answers(state.tokens, self._told, self._spending.rates_of(line.unknown.sort))

    def _book_statement(self, left: dict[str, LeftLine], charge: Charge, untold: Usage) -> list[Charge]:
        """The provider's statement says what the unknown lines cost together, though not which of them did."""
        for line in left.values():
            _release(line)
        if untold == Usage():
            return []
        sort = charge.sort._replace(fate=Fate.STATED, bracket=0)
        stated = Charge(sort, untold, self._batch.batch_id or "", requests=0)
        self._spending.book(stated, self._account, None)
        return [stated]

    def _book(self, model: str, answer: Answer, reservation: Reservation | None, fate: Fate) -> Charge | None:
        """Book an answer; None if it was not billed, since it is a failure."""
        if answer.status_code >= 300:
            if reservation is not None:
                reservation.release()
            return None
        usage = usage_of(answer.body)
        if usage is not None:
            self._told = self._told.plus(usage)
        self._models_told.add(model)
        charge = Charge(self._sort(model, fate, bracket_of(usage)), usage, answer.batch_id)
        self._spending.sorts.remember(charge.sort, answer)
        self._spending.book(charge, self._account, reservation)
        return charge

    def _sort(self, model: str, fate: Fate, bracket: int) -> Sort:
        key = (model, fate, bracket)
        sort = self._sorts.get(key)
        if sort is None:
            sort = self._spending.sort_of(self._account, model, self._endpoint, self._window, fate, bracket)
            self._sorts[key] = sort
        return sort

    def _model_in(self, answer: Answer) -> str:
        """The model of a line of which only the answer is known."""
        if len(self._models) == 1:
            return self._models[0]
        named = name_in(answer.body).model
        return max((model for model in self._models if is_model(named, model)), key=len, default=named)


def _release(line: LeftLine) -> None:
    if line.reservation is not None:
        line.reservation.release()
