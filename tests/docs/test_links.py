"""Each link within the repository leads somewhere, as GitHub reads the pages. (`nox -s docs` checks the site's.)"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from .pages import DOCS, ROOT

FILES = sorted({*ROOT.glob("*.md"), *DOCS.rglob("*.md"), ROOT / "benchmarks" / "README.md"})
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: Path) -> None:
    text = without_code(page.read_text(encoding="utf-8"))
    links = [link for link in _LINK.findall(text) if "://" not in link and not link.startswith("mailto:")]
    assert [link for link in links if not _leads_somewhere(page, link)] == []


def without_code(text: str) -> str:
    """A page without its code blocks."""
    return _FENCE.sub("", text)


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, heading = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not heading or heading in _headings(target))


@cache
def _headings(page: Path) -> frozenset[str]:
    """The anchors that GitHub gives: lower case, spaces as hyphens, without punctuation."""
    text = without_code(page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles)


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# What, when?\n")
    links = ("#what-when", "page.md#what-when", "page.md#what", "other.md", "#what-when-")
    assert [_leads_somewhere(page, link) for link in links] == [True, True, False, False, False]
