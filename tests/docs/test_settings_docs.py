"""What docs/settings.md and the docstring say of the settings is what their descriptions say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.settings_docs import PAGE, written


@pytest.mark.parametrize(("path", "text"), [pytest.param(*each, id=each[0].name) for each in written()])
def test_what_is_written_of_the_settings_is_made_from_their_descriptions(path: Path, text: str) -> None:
    assert path.read_text() == text, "run `nox -s settings`"


def test_the_page_has_the_table() -> None:
    assert "| `batch_window_seconds` | `--batch-window` | 10.0 |" in PAGE.read_text()
