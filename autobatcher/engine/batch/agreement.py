"""Whether what an ended batch says of itself agrees with what was read of it. Pure."""

from __future__ import annotations

from ...upstream.batch_state import BatchState

AGREEMENT_SECONDS = 60.0
AGREEING_READINGS = 4
"""How long, and how often, a batch is read again while its counts and its files disagree. Servers have said "completed"
before they named files or counts, and have answered a download with a page of HTML, an empty file or half a file."""


def lacks_results(state: BatchState, results_read: int, unfinished_read: int = 0) -> bool:
    """Whether the counts name more results than were read: these were paid for, and must be somewhere.

    Args:
        results_read: different lines in both files.
        unfinished_read: those of them that only say that the batch ended before. Not all upstreams count them, so they
            stand for nothing that is counted, unless all lines of the batch were read.
    """
    if state.counts is None:
        return False
    named = state.counts.completed + state.counts.failed
    if results_read >= max(named, state.counts.total):
        return False
    return results_read - unfinished_read < named


def agrees(state: BatchState, results_read: int) -> bool:
    """Whether the counts name as many results as were read: then lines without a result will not get one.

    A failed batch has no results, unless its counts say so.
    """
    counts = state.counts
    if state.status == "failed":
        return counts is None or results_read >= counts.completed + counts.failed
    if counts is None:
        return False
    expected = max(counts.total, counts.completed + counts.failed)
    return 0 < expected <= results_read
