"""The phases of a batch, and the decision what to do with it when its life ends. Pure."""

from __future__ import annotations

from enum import Enum, auto
from typing import Literal


class Phase(Enum):
    """How far a batch is. It only moves down this list."""

    QUEUED = auto()
    """Nothing is upstream."""

    UPLOADING = auto()
    """The input file may be upstream. The batch is not."""

    CREATING = auto()
    """The batch may be upstream: its creation is in flight, or its outcome is unknown."""

    RUNNING = auto()
    """The batch is upstream, and was not seen to end."""

    READING = auto()
    """The batch has ended. Not all results were read."""

    READ = auto()
    """All readable results were read."""

    CANCELLED = auto()
    """The upstream accepted our cancellation, or the batch had ended before it. Its results were not read."""

    UNCONFIRMED = auto()
    """Our cancellation was not confirmed. The batch may keep running, so its input file stays."""

    GONE = auto()
    """The upstream had the batch, and does not know it any more."""


BEFORE_CREATION = frozenset({Phase.QUEUED, Phase.UPLOADING})
"""Phases in which certainly no batch is upstream."""

MAY_RUN = frozenset({Phase.CREATING, Phase.RUNNING})
"""Phases in which a batch may be running upstream, and no attempt was made to stop it."""


class Cause(Enum):
    """Why a batch's life ended."""

    OVER = auto()
    """It ran its course: it was read, is gone upstream, or was never created."""

    ABANDONED = auto()
    """All its callers left."""

    OVERDUE = auto()
    """It did not end by its deadline. Its callers got an error."""

    FAILED = auto()
    """Something else failed (refused polls, the journal, a bug). Its callers got an error."""

    STOPPED = auto()
    """The engine stopped while callers waited."""

    LOST = auto()
    """Another engine took the batch, after this one had lost the journal."""

    DOUBLED = auto()
    """Likewise, and that engine did not find it upstream: it may have sent the requests again."""


class Ending(Enum):
    """How the engine ends, as far as known when a batch's life ends."""

    NOT_YET = auto()
    """It keeps running."""

    WELL = auto()
    """It was stopped after success."""

    BADLY = auto()
    """It was cancelled, or stopped after a failure."""

    FOR_RERUN = auto()
    """The program will be run again. A journal keeps running batches for it."""

    @property
    def of_session(self) -> Literal["well", "failed"]:
        """How the journal's session ends."""
        return "well" if self is Ending.WELL else "failed"


class Disposition(Enum):
    """What to do with a batch."""

    CANCEL = auto()
    """Cancel it upstream and delete its input file. Keep its record in the journal."""

    LEAVE = auto()
    """Leave it or its results upstream. A journal keeps its record for later requests."""

    FINISHED = auto()
    """Delete its input file, and end its record. Nothing else is left to do."""

    FORGET = auto()
    """Delete its input file and its record: it was never created, or is gone with all its answers."""


def disposition(
    phase: Phase,
    cause: Cause,
    ending: Ending,
    *,
    is_journaled: bool,
    keeps_answers: bool,
    has_unread_lines: bool,
    cancels_abandoned: bool,
    cancels_on_close: bool,
) -> Disposition:
    """Decide what to do with a batch whose life ended, whether by itself or because the engine stops.

    Args:
        is_journaled: whether a journal has a record of it.
        keeps_answers: whether that journal stores answers, and not only hashes.
        has_unread_lines: whether any line may still be wanted.
        cancels_abandoned, cancels_on_close: the settings `cancel_abandoned_batches`, `cancel_active_batches_on_close`.
    """
    if phase in BEFORE_CREATION:
        return Disposition.FORGET
    if phase is Phase.GONE:
        return Disposition.FINISHED if keeps_answers else Disposition.FORGET
    if phase is Phase.READ:
        return Disposition.FINISHED
    if phase is Phase.READING:
        return Disposition.LEAVE if has_unread_lines else Disposition.FINISHED
    if phase not in MAY_RUN:
        return Disposition.LEAVE
    return (
        Disposition.CANCEL
        if _is_to_be_cancelled(
            phase,
            cause,
            ending,
            is_journaled=is_journaled,
            cancels_abandoned=cancels_abandoned,
            cancels_on_close=cancels_on_close,
        )
        else Disposition.LEAVE
    )


def _is_to_be_cancelled(
    phase: Phase,
    cause: Cause,
    ending: Ending,
    *,
    is_journaled: bool,
    cancels_abandoned: bool,
    cancels_on_close: bool,
) -> bool:
    """Whether to cancel a batch that may run."""
    if cause in (Cause.OVERDUE, Cause.DOUBLED):
        return True  # its callers already got an error, or wait elsewhere
    if is_journaled:
        if ending is Ending.NOT_YET:
            return cause is Cause.ABANDONED and cancels_abandoned  # for any other cause, callers may retry and claim it
        if ending is not Ending.WELL:
            return ending is Ending.BADLY and cancels_on_close  # a rerun finds it again
    if cancels_on_close or (phase is Phase.CREATING and not is_journaled):
        return True
    # Nobody wants it any more: everybody left, or, without a journal, nobody can read it after this.
    return cancels_abandoned and (cause is Cause.ABANDONED or (cause is Cause.FAILED and not is_journaled))
