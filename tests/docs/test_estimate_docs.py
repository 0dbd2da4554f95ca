"""What docs/cost.md shows of plans and estimates is what they print."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from autobatcher.cli import main

pytest.importorskip("genai_prices")  # the extra `money`

DOCUMENT = (Path(__file__).parents[2] / "docs" / "cost.md").read_text(encoding="utf-8")


def test_the_pages_plan_is_what_the_command_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", DOCUMENT, flags=re.DOTALL):
        (tmp_path / name).write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    ((command, shown),) = re.findall(
        r"<!-- command: plan -->\n```console\n\$ autobatcher (.*?)\n(.*?)```", DOCUMENT, re.DOTALL
    )
    assert main(shlex.split(command)) == 1
    assert capsys.readouterr().out == shown


def test_the_pages_estimate_is_what_the_example_prints() -> None:
    ((example, shown),) = re.findall(
        r"<!-- example: estimate -->\n```python\n(.*?)```\n\n```text\n(.*?)```", DOCUMENT, re.DOTALL
    )
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(example, "docs/cost.md", "exec"), {})
    assert printed.getvalue() == shown
