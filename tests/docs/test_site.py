"""What the site has beside its pages. `nox -s docs` makes it, and says where it is; Sphinx itself checks references."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from .pages import DOCS

SITE = Path(os.environ.get("SITE_FOR_TESTS", "/nowhere"))
pytestmark = pytest.mark.skipif(not SITE.is_dir(), reason="no site was made: run `nox -s docs`")


def test_llms_txt_has_every_page_once_and_leads_to_it() -> None:
    text = (SITE / "llms.txt").read_text(encoding="utf-8")
    assert text.startswith("# autobatcher\n\n> Ordinary OpenAI-style calls")
    links = re.findall(r"^- \[.+\]\((.+)\): .+\.$", text, re.MULTILINE)
    assert [link for link in links if not (SITE / link).is_file()] == []
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md")} - {"index"}
    assert sorted(re.sub(r"^_sources/|\.md\.txt$|\.html$", "", link) for link in links) == sorted(pages)


def test_each_command_is_in_the_reference_as_its_help_prints_it() -> None:
    page = (SITE / "reference" / "command_line.html").read_text(encoding="utf-8")
    for command in ("serve", "run", "batch", "journal-migrate"):
        assert f'id="autobatcher-{command}"' in page
    assert "OPENAI_API_KEY" in page
    assert "default: 10s" in re.sub(r"<[^>]+>", "", page)
    assert 'href="../scale.html"><span' in page.partition('id="autobatcher-serve"')[2]


def test_the_reference_tells_what_an_error_is_a_kind_of_and_leaves_out_the_aliases_of_named_tuples() -> None:
    page = re.sub(r"<[^>]+>", "", (SITE / "reference" / "errors.html").read_text(encoding="utf-8"))
    assert "Bases: BatchError, APITimeoutError" in page
    assert "Alias for field number" not in (SITE / "reference" / "client.html").read_text(encoding="utf-8")
