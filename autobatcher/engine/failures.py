"""Tells of requests that failed for good: one line of the log and one event for each cause."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import anyio

from .. import events
from ..errors import BatchError, BatchSubmissionError
from ..printable import printable
from .emitter import Emit
from .failure import Failure
from .failure_cause import failure_of
from .quotations import QUOTED_CHARACTERS, WITHHELD, masked
from .request import Answer, Request
from .units import format_requests

logger: logging.Logger = logging.getLogger("autobatcher")

GATHER_SECONDS = 10.0
"""How long failures outside of batches are gathered before they are told."""

MOST_CAUSES = 20
"""Causes that are told apart at a time. Further ones are told as one."""

OTHERS = "and for other reasons"

MOST_NAMED = 20
"""How many models and lines of a cause are named."""

MOST_NAME_CHARACTERS = 200

_VARYING = re.compile(r"\S*\d\S*")
"""Words that differ from line to line: numbers of tokens, ids of requests."""


@dataclass(slots=True)
class _Alike:
    """Requests that failed for one cause."""

    failure: Failure
    endpoint: str
    is_known: bool
    count: int = 0
    models: dict[str, None] = field(default_factory=dict)
    custom_ids: list[str] = field(default_factory=list)

    def take(self, request: Request) -> None:
        self.count += 1
        if len(self.models) < MOST_NAMED:
            self.models[printable(request.model[:MOST_NAME_CHARACTERS])] = None
        if request.custom_id and len(self.custom_ids) < MOST_NAMED:
            self.custom_ids.append(request.custom_id)


class Failures:
    """Gathers the failures of one batch, or of an engine outside of batches.

    Args:
        metadata: of each event.
        on_first: called with the first failure after a telling.
        knows_submissions: whether the log has a line already for a batch that was not submitted.

    Attributes:
        due: when they are to be told, on the event loop's clock; infinite without any.
    """

    def __init__(
        self,
        emit: Emit,
        metadata: Mapping[str, str],
        *,
        on_first: Callable[[], None] = lambda: None,
        knows_submissions: bool = False,
    ) -> None:
        self.due: float = math.inf
        self._emit = emit
        self._metadata = metadata
        self._on_first = on_first
        self._knows_submissions = knows_submissions
        self._causes: dict[tuple[object, ...], _Alike] = {}
        self._masked: dict[str, str] = {}
        self._clean: set[str] = set()

    def add(self, request: Request, outcome: Answer | BatchError, reason: str | None = None) -> None:
        """A request failed for good. See `failure_of`."""
        failure = request.failure = failure_of(request, outcome, reason, self._mask)
        cause: tuple[object, ...] = (request.endpoint, failure._replace(message=_VARYING.sub("#", failure.message)))
        if cause not in self._causes and len(self._causes) >= MOST_CAUSES:
            cause = ()
            failure = Failure(0, None, OTHERS, failure.lane, failure.batch_id)
        if cause not in self._causes:
            is_known = self._knows_submissions and isinstance(outcome, BatchSubmissionError)
            self._causes[cause] = _Alike(failure, request.endpoint, is_known)
        self._causes[cause].take(request)
        if self.due == math.inf:
            self.due = anyio.current_time() + GATHER_SECONDS
            self._on_first()

    def _mask(self, said: str, body: bytes) -> str:
        """Words that were said of several prompts alike quote none of them, nor do numbers between them."""
        words = said if _has_long_variation(said) else _VARYING.sub("#", said)
        if words in self._clean:
            return said
        found = self._masked.get(said) or masked(said, body)
        if found == said and len(self._clean) < MOST_CAUSES:
            self._clean.add(words)
        elif found != WITHHELD and len(self._masked) < MOST_CAUSES:
            self._masked[said] = found
        return found

    def look(self) -> None:
        """Tell them, if they are due."""
        if anyio.current_time() >= self.due:
            self.tell()

    def tell(self) -> None:
        """Tell what was gathered. Can be called again."""
        causes, self._causes, self.due = self._causes, {}, math.inf
        self._masked, self._clean = {}, set()
        for alike in causes.values():
            self._tell(alike)

    def _tell(self, alike: _Alike) -> None:
        failure, models = alike.failure, sorted(alike.models)
        where = f" in batch {failure.batch_id}" if failure.batch_id else ""
        logger.log(
            logging.INFO if alike.is_known else logging.WARNING,
            "autobatcher: %s for %s failed%s: %s",
            format_requests(alike.count),
            ", ".join(models),
            where,
            failure,
        )
        self._emit(
            events.RequestsFailed,
            batch_id=failure.batch_id,
            endpoint=alike.endpoint,
            models=models,
            metadata=dict(self._metadata),
            request_count=alike.count,
            status=failure.status,
            code=failure.code,
            message=failure.message,
            custom_ids=alike.custom_ids,
            lane=failure.lane,
        )


def _has_long_variation(said: str) -> bool:
    """Whether a varying word is so long that it may quote a prompt."""
    return any(len(word) >= QUOTED_CHARACTERS for word in _VARYING.findall(said))
