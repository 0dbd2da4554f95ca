"""The audit of dependencies finds what it is for."""

from __future__ import annotations

import datetime

from packaging.requirements import Requirement

from tests.audit import let_in, outdated

ADVISORY = {"package": "h11", "fixed": "0.16.0", "ids": ["CVE-2025-43859"], "what": "smuggling"}


def test_a_bound_that_lets_in_what_is_affected_is_a_fault_and_so_is_none() -> None:
    for text, faults in (("h11>=0.16", 0), ("h11>=0.15.9", 1), ("h11", 1), ("httpx>=1", 1)):
        assert len(let_in([ADVISORY], [Requirement(text)])) == faults, text


def test_a_list_that_nobody_renewed_is_a_fault() -> None:
    listed = {"looked_up": datetime.date(2026, 1, 1)}
    assert not outdated(listed, datetime.date(2026, 12, 1))
    assert outdated(listed, datetime.date(2027, 2, 1))
