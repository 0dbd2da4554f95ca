"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.processes import emulator


@pytest.fixture(scope="module")
def slow_upstream() -> Iterator[str]:
    """The base URL of an emulator whose batches take longer than any test; a process takes a second to start."""
    with emulator("--batch-seconds", "1000") as url:
        yield url
