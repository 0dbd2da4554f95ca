"""What docs/emulator.md shows works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from autobatcher.emulator import FaultPlan

PAGE = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text()


def test_the_plan_in_the_docs_is_one() -> None:
    (plan,) = re.findall(r"```json\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(FaultPlan.from_json(plan).faults) == 10


def test_the_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(compile(example, "docs/emulator.md", "exec"), {})
    assert capsys.readouterr().out.strip() == example.rpartition("# ")[2].strip()
