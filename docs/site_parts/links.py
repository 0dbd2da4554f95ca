"""Links that lead out of docs/: to a page that the site has under another name, or to a file.

On GitHub `../CHANGELOG.md` is a file beside the README; the site has it as a page. Other files are offered as
downloads, which MyST does by itself. Folders and other pages cannot be, so only their names are left.
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

_LINK = re.compile(r"(?<!!)\[([^\]\n]+)\]\((\.\./[^)#\s]*)\)")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", _redirect)
    return {"parallel_read_safe": True}


def _redirect(app: Sphinx, page: str, source: list[str]) -> None:
    here = Path(app.srcdir, page).parent

    def new(link: re.Match[str]) -> str:
        text, target = link.groups()
        if target in PAGES and here == Path(app.srcdir):
            return f"[{text}]({PAGES[target]})"
        return text if (here / target).is_dir() or target.endswith(".md") else link[0]

    source[0] = _LINK.sub(new, source[0])
