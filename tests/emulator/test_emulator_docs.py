"""What docs/emulator.md shows works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from autobatcher.emulator import FaultPlan, PriceList

PAGE = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text()


def _examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_prices_in_the_docs_are_a_list() -> None:
    assert len(PriceList.from_json(_examples("json")[0]).prices) == 4


def test_the_plan_in_the_docs_is_one() -> None:
    plan = _examples("json")[1]
    assert len(FaultPlan.from_json(plan).faults) == 10


def test_the_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    example = _examples("python")[1]
    exec(compile(example, "docs/emulator.md", "exec"), {})
    assert capsys.readouterr().out.strip() == example.rpartition("# ")[2].strip()
