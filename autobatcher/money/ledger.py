"""What was billed: answers and tokens, added up as they arrive. No prices. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

from .usage import Usage, is_model

MOST_BATCH_IDS = 10_000
"""How many batches of a sort are named."""

MOST_SORTS = 10_000
"""How many sorts are told apart: callers choose the names of models. Beyond that, models are counted together."""

SMALL_INPUT, BRACKET = 32_000, 1_000
"""Providers have higher prices for requests above so many input tokens: 128,000, 200,000, 272,000, never less than the
first, and always a multiple of the second."""

OTHER_MODELS = "(other models)"

_LONGEST_NAME = 1_000

NOTHING = Usage()


class Fate(Enum):
    """What became of an execution."""

    DELIVERED = "delivered"
    """A caller got the answer, or a journal keeps it for one."""

    DISCARDED = "discarded"
    """It was answered, and nobody waited for it any more."""

    PAID_TWICE = "paid_twice"
    """It was answered, and so was its repetition."""

    STATED = "stated"
    """Tokens that the provider's statement of a batch names, and no answer of it. How many requests they are of is not
    known."""

    UNKNOWN = "unknown"
    """It may have been executed. Nobody can know, or nobody has looked."""


class Sort(NamedTuple):
    """What has one price and one fate.

    Attributes:
        lane: "batch", "flex", "realtime", or a service tier such as "priority", as billed.
        completion_window: of a batch; "" on another lane.
        bracket: of input tokens in one request; see `bracket_of`.
    """

    provider: str
    base_url: str
    model: str
    endpoint: str
    lane: str
    completion_window: str
    fate: Fate
    bracket: int = 0


class Charge(NamedTuple):
    """One execution, and what became of it.

    Attributes:
        usage: its tokens; None if they are not known.
        batch_id: "" on another lane.
        requests: how many; 0 for tokens of an unknown number of requests.
    """

    sort: Sort
    usage: Usage | None
    batch_id: str
    requests: int = 1


@dataclass(slots=True)
class Entry:
    """Executions of one sort.

    Attributes:
        usage: the tokens of those whose answers told them.
        untold: how many did not tell them.
    """

    requests: int = 0
    usage: Usage = NOTHING
    untold: int = 0
    batch_ids: dict[str, None] = field(default_factory=dict)

    def add(self, usage: Usage | None, batch_id: str, requests: int = 1) -> None:
        """Add executions."""
        self.requests += requests
        if usage is None:
            self.untold += requests
        else:
            self.usage = self.usage.plus(usage)
        if batch_id and len(self.batch_ids) < MOST_BATCH_IDS:
            self.batch_ids[batch_id] = None


class Ledger:
    """All executions of one engine, one journal or one batch.

    Args:
        most_sorts: how many sorts are told apart.
    """

    def __init__(self, *, most_sorts: int = MOST_SORTS) -> None:
        self._most_sorts = most_sorts
        self._entries: dict[Sort, Entry] = {}
        self._of_models: dict[str, list[Sort]] = {}

    def __iter__(self) -> Iterator[tuple[Sort, Entry]]:
        return iter(tuple(self._entries.items()))

    def snapshot(self) -> tuple[tuple[Sort, Entry], ...]:
        """Return all executions by now. Later ones do not change it."""
        return tuple((sort, replace(entry, batch_ids=entry.batch_ids.copy())) for sort, entry in self._entries.items())

    def sorts_of(self, named: str) -> list[Sort]:
        """The sorts of the models of which an answer may be that names itself so; see `is_model`."""
        beginnings = (named[:end] for end in range(len(named) + 1)) if len(named) <= _LONGEST_NAME else ()
        return [sort for model in beginnings for sort in self._of_models.get(model, ()) if is_model(named, model)]

    def add(self, sort: Sort, usage: Usage | None, batch_id: str = "", requests: int = 1) -> None:
        """Add executions of a sort. `usage` is their sum; None if it is not known."""
        entry = self._entries.get(sort)
        if entry is None:
            if len(self._entries) >= self._most_sorts:
                sort = sort._replace(model=OTHER_MODELS, bracket=0)
            if sort not in self._entries:
                self._of_models.setdefault(sort.model, []).append(sort)
            entry = self._entries.setdefault(sort, Entry())
        entry.add(usage, batch_id, requests)


def bracket_of(usage: Usage | None) -> int:
    """The bracket of a request: in thousands of input tokens, rounded up, and 0 for a small one."""
    return 0 if usage is None or usage.input <= SMALL_INPUT else -(-usage.input // BRACKET)


def input_in(bracket: int) -> int:
    """The input tokens of a request in a bracket, as far as prices tell them apart."""
    return bracket * BRACKET or SMALL_INPUT
