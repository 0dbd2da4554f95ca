"""A fleet for each test, on a journal of its own."""

from __future__ import annotations

import pytest

from tests.journal.fleet.programs import Fleet


@pytest.fixture
def fleet(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    return Fleet(postgres_url, monkeypatch)
