"""The pytest plugin: `batch_upstream`, a Batch API server on a socket, for tests of whatever talks to one.

It is a package beside autobatcher, since pytest imports it in every run, and importing autobatcher takes a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from autobatcher.emulator import BatchUpstream

__all__ = ["batch_upstream", "pytest_configure"]


def pytest_configure(config: pytest.Config) -> None:
    """Declares the mark."""
    config.addinivalue_line("markers", "batch_upstream(**settings): how the emulator of the fixture is made")


@pytest.fixture
def batch_upstream(request: pytest.FixtureRequest) -> Iterator[BatchUpstream]:
    """A Batch API server of this test's own, on a free port, with `base_url`, `faults`, `bill()` and `statistics()`.

    `@pytest.mark.batch_upstream(like="doubleword", batch_seconds=2)` gives it the settings of an `Emulator`.
    """
    from autobatcher.emulator import BatchUpstream

    mark = request.node.get_closest_marker("batch_upstream")
    with BatchUpstream(**({} if mark is None else mark.kwargs)) as upstream:
        yield upstream
