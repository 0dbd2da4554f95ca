"""The last line of `autobatcher serve`."""

from __future__ import annotations

from collections import Counter

import pytest

from autobatcher.cli.serve_end import stopped_line
from autobatcher.server import Report


@pytest.mark.parametrize(
    ("left", "cancelled", "uncertain", "has_journal", "told"),
    [
        (0, 0, 0, False, "Nothing is left running upstream."),
        (0, 2, 0, False, "Cancelled upstream: 2 batches. Nothing is left running upstream."),
        (1, 0, 0, False, "Left running upstream, and billed: 1 batch. Nobody reads their answers."),
        (1, 0, 0, True, "Left running upstream, and billed: 1 batch. A start with the same journal goes on."),
        (0, 0, 1, False, "Perhaps still running, and billed: 1 batch; look at the provider's dashboard."),
        (0, 0, 0, True, "A start with the same journal goes on."),  # with a creation that had no answer, say
    ],
)
def test_it_says_what_became_of_every_call_and_batch(
    left: int, cancelled: int, uncertain: int, has_journal: bool, told: str
) -> None:
    report = Report()
    report.tally.requests, report.tally.answered, report.tally.failed = 1_010, 1_000, 2
    report.batch_counts.left, report.batch_counts.failed_cancellations = left, uncertain
    report.batch_counts.ends = Counter({"cancelled by us": cancelled} if cancelled else {})
    line = stopped_line(report, has_journal=has_journal)
    assert line == f"autobatcher serve: stopped. 1,000 calls answered, 2 failed, 8 given up. {told}"
