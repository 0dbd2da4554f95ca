"""Links as GitHub needs them, made into links as a site wants them.

`../CHANGELOG.md` is a file beside the README there, and a page here. Other files outside of docs/ are offered as
downloads, which MyST does by itself; of folders and other pages only the names are left. A page that is called
`deadlines.md` there is called deadlines here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

PAGES = {
    "../README.md": "index.md",
    "../CHANGELOG.md": "changelog.md",
    "../CONTRIBUTING.md": "contributing.md",
    "../SECURITY.md": "reporting.md",
}

_LINK = re.compile(r"(?<!!)\[([^\]\n]+)\]\(([^)#\s:]+)(#[^)\s]*)?\)")
_NAME = re.compile(r"(\w+)\.md")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", _redirect)
    return {"parallel_read_safe": True}


def _redirect(app: Sphinx, page: str, source: list[str]) -> None:
    docs = Path(app.srcdir).resolve()
    here = (docs / page).parent

    def new(link: re.Match[str]) -> str:
        text, target, heading = link[1], PAGES.get(link[2], link[2]), link[3] or ""
        path = (here / target).resolve()
        if not path.is_relative_to(docs) and (path.is_dir() or path.suffix == ".md"):
            return text
        if name := _NAME.fullmatch(text):
            text = name[1].replace("_", " ")
        return f"[{text}]({target}{heading})"

    source[0] = _LINK.sub(new, source[0])
