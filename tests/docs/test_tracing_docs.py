"""docs/tracing.md names every attribute and event that there is, and no other. (test_readme.py runs its example.)"""

from __future__ import annotations

import re
from pathlib import Path

import autobatcher

PACKAGE = Path(autobatcher.__file__).parent
ROOT = Path(__file__).parents[2]
NAME = r"(?:gen_ai|autobatcher|server|error)(?:\.[a-z_]+)+"


def test_the_page_names_what_spans_and_metrics_have() -> None:
    sources = [*(PACKAGE / "tracing").glob("*.py"), *(PACKAGE / "engine").rglob("*.py")]
    used = {name for path in sources for name in re.findall(rf'"({NAME})"', path.read_text(encoding="utf-8"))}
    page = (ROOT / "docs" / "tracing.md").read_text(encoding="utf-8")
    assert set(re.findall(rf"`({NAME})`", page)) == used
