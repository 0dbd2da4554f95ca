"""The pages that people read, and the examples in them.

An example is run as it stands, by test_readme.py. Before one that is not, a comment says why: another test runs it
(`<!-- example: NAME -->`), its output is compared, too (`<!-- prints: NAME -->`), or it is no program
(`<!-- fragment -->`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.glob("*.md")))

ELSEWHERE = {
    "frameworks.md": "tests/frameworks, each with its framework",
    "emulator.md": "tests/emulator/test_emulator_docs.py",
}
"""Pages whose examples others run."""

_EXAMPLE = re.compile(r"(<!-- .+ -->\n)?```python\n(.*?)```", re.DOTALL)
_PRINTS = re.compile(r"<!-- prints: (\w+) -->\n```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)


def text_of(name: str) -> str:
    """A page of docs/."""
    return (DOCS / name).read_text(encoding="utf-8")


def examples() -> dict[str, str]:
    """Each example once, though several pages have it, by page and number."""
    found: dict[str, str] = {}
    for page in PAGES:
        if page.name in ELSEWHERE:
            continue
        for number, (comment, code) in enumerate(_EXAMPLE.findall(page.read_text(encoding="utf-8")), 1):
            if not comment and code not in found.values():
                found[f"{page.name} {number}"] = code
    return found


def printing_examples() -> Iterator[tuple[str, str, str]]:
    """Name, code and output of the examples whose output is shown."""
    for page in PAGES:
        yield from _PRINTS.findall(page.read_text(encoding="utf-8"))
