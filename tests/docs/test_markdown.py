"""The site reads the pages as GitHub does."""

from __future__ import annotations

import re

from .test_links import FILES, without_code

_COMMENT = re.compile(r"^ {0,3}%.*$", re.MULTILINE)


def test_no_line_begins_with_what_the_site_takes_for_a_comment() -> None:
    hidden = {page.name: _COMMENT.findall(without_code(page.read_text(encoding="utf-8"))) for page in FILES}
    assert {name: lines for name, lines in hidden.items() if lines} == {}
