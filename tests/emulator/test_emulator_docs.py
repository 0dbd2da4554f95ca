"""What docs/emulator.md shows works."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec
import pytest

from autobatcher.emulator import BatchFault, Fault, FaultPlan, HttpFault, LineFault, PriceList
from autobatcher.emulator.routes import OPERATIONS

PAGE = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text()

LEVELS: dict[str, type[Fault]] = {"http": HttpFault, "batch": BatchFault, "line": LineFault}


def _rows(level: str) -> list[tuple[set[str], str]]:
    """Of a level's tables: the names in the first column, and the JSON in the last."""
    rows = re.findall(rf'^\| ([^|]+) \|.*\| `(\{{"level": "{level}".*\}})` \|$', PAGE, flags=re.MULTILINE)
    return [(set(re.findall(r"`(\w+)`", names)), example) for names, example in rows]


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


@pytest.mark.parametrize("level", LEVELS)
def test_every_field_of_a_fault_has_a_row_with_an_example(level: str) -> None:
    fields = {field.name for field in msgspec.structs.fields(LEVELS[level])} - {"kind"}
    rows = _rows(level)
    shown = {name for names, example in rows for name in names & json.loads(example).keys()}
    assert fields - shown == set()
    assert len(FaultPlan.from_json(f'{{"faults": [{",".join(example for _, example in rows)}]}}').faults) == len(rows)


def test_every_kind_of_a_line_has_a_row_with_an_example() -> None:
    kinds = get_args(get_type_hints(LineFault)["kind"])
    assert {
        json.loads(example)["kind"] for names, example in _rows("line") if json.loads(example)["kind"] in names
    } == {*kinds}


@pytest.mark.parametrize("field", ["ends", "stuck_in"])
def test_every_value_of_a_batchs_field_is_named(field: str) -> None:
    (row,) = re.findall(rf"^\| `{field}` \|.*$", PAGE, flags=re.MULTILINE)
    values = re.findall(r"'(\w+)'", str(get_type_hints(BatchFault)[field]))
    assert values
    assert [value for value in values if f'"{value}"' not in row] == []


def test_every_operation_is_named() -> None:
    paragraph = PAGE.partition("\nOperations are ")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([\w.]+)`", paragraph)) == OPERATIONS
