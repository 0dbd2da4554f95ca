"""`BegunBatch`: what deadlines need to know of a batch that is under way. Pure."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass

from ...upstream.account import Account
from ..lanes.kinds import BatchKind


@dataclass(frozen=True, eq=False)  # one of its own, whatever it has in common with others
class BegunBatch:
    """A batch that is under way.

    Attributes:
        kind: batches that take about as long.
        account: whose it is.
        started_at: when it was begun, on the event loop's clock.
        most_seconds: after how long it is given up.
        deadline: the first deadline of its requests, on the same clock; infinite if they have none.
        open_lines: its length is how many lines have no answer yet.
    """

    kind: BatchKind
    account: Account
    started_at: float
    most_seconds: float
    deadline: float
    open_lines: Sized
