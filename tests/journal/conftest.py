from __future__ import annotations

from pathlib import Path

import pytest

from tests.journal.restarts import Restarts


@pytest.fixture
def restarts(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Restarts:
    """Programs that use one journal, one after the other."""
    return Restarts(tmp_path / "journal.sqlite3", monkeypatch)
