"""Which test stands behind which row of a table in docs/, and how it went: a pytest plugin.

A test says `@pytest.mark.proves("surfaces", "chat.completions.create, plain")`; a row may have parameters of the test
in braces. `pytest --record=FILE` writes down how the tests behind rows went; `tests/tables.py` makes documents of it.
(With the equals sign: pytest takes a file that stands alone for a place to look for its configuration.)
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

_PROPERTY = "proves"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", metavar="FILE", help="write down how the tests behind rows of docs/ tables went")
    parser.addoption("--record-packages", default="", metavar="A,B", help="... and the versions of these packages")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "proves(table, row): the test stands behind that row of that table in docs/")
    path = config.getoption("--record")
    if path and not hasattr(config, "workerinput"):  # with xdist, the workers' reports come to the main process
        packages = [name for name in config.getoption("--record-packages").split(",") if name]
        config.pluginmanager.register(Recorder(Path(path), packages), "recorder")


def note_proofs(items: list[pytest.Item]) -> None:
    """Give each test the rows that it stands behind, for its report."""
    for item in items:
        for mark in item.iter_markers(_PROPERTY):
            table, row = mark.args
            item.user_properties.append((_PROPERTY, {"table": table, "row": _filled(row, item), **_place(item)}))


def _filled(row: str, item: pytest.Item) -> str:
    callspec: Any = getattr(item, "callspec", None)
    return row.format(**callspec.params) if callspec is not None else row


def _place(item: pytest.Item) -> dict[str, str]:
    callspec: Any = getattr(item, "callspec", None)
    backend = callspec.params.get("anyio_backend", "") if callspec is not None else ""
    return {"test": f"{item.location[0]}::{item.location[2].partition('[')[0]}", "backend": backend or ""}


class Recorder:
    """Collects reports, and writes them to `path` as JSON when the session ends."""

    def __init__(self, path: Path, packages: list[str]) -> None:
        self._path = path
        self._packages = packages
        self._results: list[dict[str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        self._results += [{**proof, "outcome": report.outcome} for proof in _proofs(report)]

    def pytest_sessionfinish(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        packages = {name: version(name) for name in self._packages}
        head = {"openai": version("openai"), "python": platform.python_version(), "packages": packages}
        self._path.write_text(json.dumps({**head, "results": self._results}, indent=1))


def _proofs(report: pytest.TestReport) -> Iterator[dict[str, str]]:
    for name, value in report.user_properties:
        if name == _PROPERTY and isinstance(value, dict):
            yield value
