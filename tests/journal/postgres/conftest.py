from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.journal.postgres.stores import Stores, stores_on


@pytest.fixture
def stores(postgres_url: str) -> Iterator[Stores]:
    """Sessions that share a journal of this test's own."""
    yield from stores_on(postgres_url)
