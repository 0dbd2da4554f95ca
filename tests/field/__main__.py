"""`python -m tests.field --environment autobatcher=PYTHON ...`: all bad days for each. `nox -s field` runs it.

Writes the tables in docs/field.md. Exits with 1 if autobatcher falls short of what it owes; never because of a peer.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .cell import Cell, in_words, shortcomings
from .faults import BAD_DAYS, BadDay
from .page import PAGE, write
from .peers import OURS, PEERS
from .run import run_day, weigh

AT_ONCE = 6
"""Processes: most of the time they wait."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", action="append", default=[], metavar="NAME=PYTHON", help="who, and its Python")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--results", type=Path, help="where the counts go, as JSON")
    parser.add_argument("--only", default="", metavar="TEXT", help="bad days with that in their names; writes no page")
    given = parser.parse_args()
    pythons = {name: Path(python).absolute() for name, _, python in (each.partition("=") for each in given.environment)}
    days = [day for day in BAD_DAYS if given.only in day.name]
    results = run(pythons, days)
    if given.results is not None:
        given.results.write_text(json.dumps(results, indent=1), encoding="utf-8")
    if not given.only:
        write(given.page, results, datetime.now(UTC).date())
    wanting = list(_wanting(results[OURS], days)) if OURS in results else []
    print("\n".join(wanting or ["nothing that autobatcher owes is missing"] * (OURS in results)))
    return 1 if wanting else 0


def run(pythons: dict[str, Path], days: list[BadDay]) -> dict[str, dict[str, Any]]:
    """Of each library what it weighs, and its cells by bad day. Those that take long go first."""
    cells: dict[tuple[str, str], Future[Cell]] = {}
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for day in sorted(days, key=lambda day: -day.may_wait):
            for name, python in pythons.items():
                cells[name, day.name] = threads.submit(_run_and_tell, name, python, day)
    return {
        name: {
            **weigh(PEERS[name], python),
            "cells": {day.name: asdict(cells[name, day.name].result()) for day in days},
        }
        for name, python in pythons.items()
    }


def _run_and_tell(name: str, python: Path, day: BadDay) -> Cell:
    cell = run_day(PEERS[name], python, day)
    print(f"{name:17} {day.name}: {in_words(day, cell)} ({cell.seconds:g} s) {cell.reason[:80]}", flush=True)
    return cell


def _wanting(found: dict[str, Any], days: list[BadDay]) -> Iterator[str]:
    for day in days:
        for shortcoming in shortcomings(day, Cell(**found["cells"][day.name])):
            yield f"autobatcher, {day.name}: {shortcoming}"


if __name__ == "__main__":
    sys.exit(main())
