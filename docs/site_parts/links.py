"""Links as GitHub needs them, made into links as a site wants them.

`../CHANGELOG.md` is a file beside the README there, and a page here. Other files outside of docs/ are offered as
downloads, which MyST does by itself; of folders and other pages only the names are left. A page that is called
`deadlines.md` there is called deadlines here. What names a page and is no link there, such as docs/deadlines.md in the
help of a command, is one here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

PAGES = {
    "../README.md": "index.md",
    "../CHANGELOG.md": "changelog.md",
    "../CONTRIBUTING.md": "contributing.md",
    "../SECURITY.md": "reporting.md",
}

_LINK = re.compile(r"(?<!!)\[([^\]\n]+)\]\(([^)#\s:]+)(#[^)\s]*)?\)")
_NAME = re.compile(r"(\w+)\.md")
_PLAIN = re.compile(r"\bdocs/(\w+)\.md\b")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", _redirect)
    app.connect("doctree-resolved", _link_plain_names)
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


def _link_plain_names(app: Sphinx, tree: nodes.document, page: str) -> None:
    for text in [*tree.findall(nodes.Text)]:
        if _PLAIN.search(text) and not _is_link(text):
            if isinstance(text.parent, nodes.literal_block):
                text.parent.rawsource = ""  # else it is highlighted, without what is in it
            text.parent.replace(text, list(_with_links(app, page, str(text))))


def _is_link(text: nodes.Text) -> bool:
    node: nodes.Node | None = text
    while node is not None and not isinstance(node, nodes.reference):
        node = node.parent
    return node is not None


def _with_links(app: Sphinx, page: str, text: str) -> Iterator[nodes.Node]:
    end = 0
    for found in _PLAIN.finditer(text):
        if found[1] in app.env.found_docs:
            yield nodes.Text(text[end : found.start()])
            yield nodes.reference(
                found[0], found[0], refuri=app.builder.get_relative_uri(page, found[1]), internal=True
            )
            end = found.end()
    yield nodes.Text(text[end:])
