from __future__ import annotations

from pathlib import Path

import pytest

from tests.journal.restarts import Lives


@pytest.fixture
def lives(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Lives:
    """Programs that use one journal, one after the other."""
    return Lives(tmp_path / "journal.sqlite3", monkeypatch)
