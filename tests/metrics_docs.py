"""`python tests/metrics_docs.py`: writes the table of metrics in docs/reference/metrics.md, from the catalogue.

`nox -s settings` calls this; tests/docs/test_operations_docs.py asserts that it was called.
"""

from __future__ import annotations

from pathlib import Path

from autobatcher.server.metrics_catalogue import CATALOGUE

DOCUMENT = Path(__file__).parent.parent / "docs" / "reference" / "metrics.md"
BEGIN, END = "<!-- table: metrics -->\n", "<!-- end of table -->"


def main() -> None:
    DOCUMENT.write_text(written(), encoding="utf-8")


def written() -> str:
    """What the document should be."""
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n\n{END}{rest.partition(END)[2]}"


def table() -> str:
    """A row for each metric, by the name that queries have."""
    rows = []
    for name, each in CATALOGUE.items():
        ending = "_total" if each.kind == "counter" else ""
        labels = ", ".join(f"`{label}`" for label in each.labels)
        rows.append(f"| `autobatcher_{name}{ending}` | {each.kind} | {labels} | {each.help} |")
    return "\n".join(("| metric | type | labels | meaning |", "|---|---|---|---|", *rows))


if __name__ == "__main__":
    main()
