"""How far a batch is, and what becomes of it when its life ends. Pure."""

from __future__ import annotations

from enum import Enum, auto


class Phase(Enum):
    """How far a batch is. It only moves down this list."""

    QUEUED = auto()
    """Nothing of it is upstream."""

    UPLOADING = auto()
    """Its input file may be upstream; no batch is."""

    CREATING = auto()
    """The batch may be upstream: its creation is on its way, or nobody knows what came of it."""

    RUNNING = auto()
    """The batch is upstream, and was not seen to end."""

    READING = auto()
    """It was seen to end. Its results were not all read."""

    READ = auto()
    """All that could be read was read."""

    CANCELLED = auto()
    """It needs no cancelling any more: the upstream took our cancellation, or it had ended before. Nothing was read."""

    UNCONFIRMED = auto()
    """It was to be cancelled, and nobody confirmed that: it may run on, so its input file stays."""

    GONE = auto()
    """The upstream has had it, and denies that."""


BEFORE_CREATION = frozenset({Phase.QUEUED, Phase.UPLOADING})
"""There is certainly no batch upstream."""

MAY_RUN = frozenset({Phase.CREATING, Phase.RUNNING})
"""There is one, or may be, and nothing was done about it."""


class Cause(Enum):
    """Why a batch's life ends."""

    OVER = auto()
    """It came to its end: it was read, or could not be read, or was never created."""

    ABANDONED = auto()
    """All its callers left."""

    OVERDUE = auto()
    """It did not end within its deadline; its callers were told."""

    FAILED = auto()
    """Something got in our way (refused polls, the journal, a defect); its callers were told."""

    STOPPED = auto()
    """The engine stops while callers wait."""


class Ending(Enum):
    """How the engine ends, as far as that is known when a batch's life ends."""

    NOT_YET = auto()
    """It runs on."""

    WELL = auto()
    """It was told to stop, and nothing failed."""

    BADLY = auto()
    """It was cancelled, or told to stop because something failed."""

    FOR_RERUN = auto()
    """The program is going to be run again: a journal keeps all that runs for it."""


class Disposition(Enum):
    """What becomes of a batch."""

    CANCEL = auto()
    """Cancel it upstream, delete its input file, keep what the journal has of it."""

    LEAVE = auto()
    """Let it run, or let its results lie; the journal, if there is one, has it for whoever comes."""

    FINISHED = auto()
    """Nothing is left to be done: delete its input file, and end its record."""

    FORGET = auto()
    """It never was, or is gone with all its answers: delete its input file and its record."""


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
    """What becomes of a batch whose life ends, whether by itself or because the engine stops.

    Args:
        is_journaled: whether a journal has a record of it.
        keeps_answers: whether that journal keeps answers, or only hashes.
        has_unread_lines: whether there are lines that somebody may still want to read.
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
    """Whether a batch that may run is to be cancelled."""
    if cause is Cause.OVERDUE:
        return True  # its time is over, and its callers were told
    if is_journaled:
        if ending is Ending.NOT_YET:
            return cause is Cause.ABANDONED and cancels_abandoned  # others may come back for it
        if ending is not Ending.WELL:
            return ending is Ending.BADLY and cancels_on_close  # it is found again, and its callers may be, too
    if cancels_on_close or (phase is Phase.CREATING and not is_journaled):
        return True
    # Without a journal nobody can read it any more once its life is over.
    return cancels_abandoned and (cause is Cause.ABANDONED or (cause is Cause.FAILED and not is_journaled))
