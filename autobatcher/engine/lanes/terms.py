"""By when a caller needs the answer, and what it may cost."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import NamedTuple

from .lane import Lane, Overrun


class Terms(NamedTuple):
    """What a caller asks for.

    Attributes:
        lanes: what may be used, the cheapest first.
        deadline: by when the answer is needed, on the event loop's clock; None for no deadline.
        overrun: what to do if it cannot be known in time whether a line was executed.
        waits_on: whether the caller goes on waiting when the deadline was missed.
    """

    lanes: tuple[Lane, ...] = (Lane.BATCH,)
    deadline: float | None = None
    overrun: Overrun = Overrun.MISS
    waits_on: bool = False

    @property
    def given_up_at(self) -> float:
        """When the caller is told that there is no answer; infinite if that never happens."""
        return math.inf if self.deadline is None or self.waits_on else self.deadline


ORDINARY = Terms()
"""The batch lane, and no deadline."""


class Placement(NamedTuple):
    """How a request goes into a batch.

    Attributes:
        completion_window: of the batch; None for that of the settings.
        deadline_class: requests of one class may share a batch; None for those without a deadline.
        leave_by: when its window closes at the latest, on the event loop's clock.
    """

    completion_window: str | None = None
    deadline_class: int | None = None
    leave_by: float = math.inf

    @property
    def kind(self) -> Hashable:
        """Equal for requests that may share a batch."""
        return self.completion_window, self.deadline_class


ANYWHERE = Placement()
"""In the next batch."""
