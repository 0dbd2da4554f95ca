"""`python tests/tables.py RECORD...`: makes the tables in docs/ of what test runs wrote down (see tests/recording.py).

`nox -s tables` makes the runs and calls this. Exits with 1, and changes nothing, if a test behind a row did not pass.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- table: {} -->", "<!-- end of table -->"

Records = Iterable[Mapping[str, Any]]


def main(paths: list[str]) -> int:
    records = [json.loads(Path(path).read_text()) for path in paths]
    failed = [
        f"{result['outcome']}: {result['test']} ({result['row']}, {result['backend']}, openai {record['openai']})"
        for record in records
        for result in record["results"]
        if result["outcome"] != "passed"
    ]
    if failed:
        print(*failed, sep="\n", file=sys.stderr)
        return 1
    for document in sorted(DOCS.glob("*.md")):
        text = document.read_text()
        for name, make in TABLES.items():
            if BEGIN.format(name) in text:
                text = _with_table(text, name, make(records))
        document.write_text(text)
    return 0


def _with_table(text: str, name: str, table: str) -> str:
    begin = BEGIN.format(name)
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(END)
    return f"{before}{begin}\n\n{table}\n{END}{after}"


def surfaces(records: Records) -> str:
    """A surface, each SDK and each backend; one mark for what has no backend (threads have their own)."""
    passed: dict[str, set[tuple[str, str]]] = defaultdict(set)
    versions = set()
    for record in records:
        for result in _of("surfaces", record):
            versions.add(record["openai"])
            passed[result["row"]].add((record["openai"], result["backend"]))
    columns = [(version, backend) for version in sorted(versions) for backend in ("asyncio", "trio")]
    head = ["surface", *(f"{version}, {backend}" for version, backend in columns)]
    rows = [[f"`{row}`", *(_mark(passed[row], column) for column in columns)] for row in sorted(passed)]
    return _markdown(head, rows)


def _mark(passed: set[tuple[str, str]], column: tuple[str, str]) -> str:
    version, _ = column
    if column in passed:
        return "passed"
    return "passed (threads)" if (version, "") in passed else "-"


def frameworks(records: Records) -> str:
    """What each framework did through our client, and the versions it was done with."""
    rows = []
    for record in records:
        packages = ", ".join(f"{name} {version}" for name, version in record["packages"].items())
        rows += [[result["row"], packages, f"openai {record['openai']}"] for result in _of("frameworks", record)]
    return _markdown(["what passed", "with", "and"], _without_repeats(rows))


def faults(records: Records) -> str:
    """Fault, and the tests behind it, with how many runs of each passed."""
    runs: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for record in records:
        for result in _of("faults", record):
            runs[result["row"]][result["test"].removeprefix("tests/")] += 1
    rows = [[row, "<br>".join(f"`{test}` ({n})" for test, n in sorted(tests.items()))] for row, tests in runs.items()]
    return _markdown(["fault", "tests that passed"], sorted(rows))


TABLES = {"surfaces": surfaces, "frameworks": frameworks, "faults": faults}


def _of(table: str, record: Mapping[str, Any]) -> list[dict[str, str]]:
    return [result for result in record["results"] if result["table"] == table]


def _without_repeats(rows: list[list[str]]) -> list[list[str]]:
    return [list(row) for row in dict.fromkeys(map(tuple, rows))]


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
