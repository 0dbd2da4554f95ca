"""What docs/cost.md shows is what the commands print, with the files that it shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from autobatcher.cli import main
from autobatcher.upstream.provider_file import read_profile

pytest.importorskip("genai_prices")  # the extra `money`

DOCUMENT = (Path(__file__).parents[2] / "docs" / "cost.md").read_text(encoding="utf-8")


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the page's files, which is the current one."""
    for name, content in re.findall(r"<!-- file: (\S+) -->\n```toml\n(.*?)```", DOCUMENT, flags=re.DOTALL):
        (tmp_path / name).write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    return tmp_path


def test_the_pages_price_commands_print_what_it_says(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.findall(r"<!-- command: prices -->\n```console\n\$ autobatcher (.*?)\n(.*?)```", DOCUMENT, re.DOTALL)
    assert len(shown) == 2
    for command, output in shown:
        assert main(shlex.split(command)) == 0
        assert capsys.readouterr().out == output


def test_the_pages_profile_is_one(directory: Path) -> None:
    (content,) = re.findall(r"```toml\n(name = .*?)```", DOCUMENT, flags=re.DOTALL)
    (directory / "gateway.toml").write_text(content, encoding="utf-8")
    profile = read_profile(directory / "gateway.toml")
    assert [note.is_for("gpt-x", "batch", "24h") for note in profile.price_notes] == [True]
