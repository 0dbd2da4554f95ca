"""llms.txt: the site's pages in the order of its contents, each with its first sentence (https://llmstxt.org).

The links lead to the pages as Markdown, which Sphinx puts beside the HTML. Those that directives make have HTML alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import toctree
from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True}


def _write(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        Path(app.outdir, "llms.txt").write_text(contents(app), encoding="utf-8")


def contents(app: Sphinx) -> str:
    """The whole text."""
    lines = [f"# {app.config.project}", "", f"> {_first_sentence(app, app.config.root_doc)}"]
    for tree in app.env.get_doctree(app.config.root_doc).findall(toctree):
        lines += ["", f"## {tree['caption']}", ""]
        lines += [_line(app, page) for page in _pages(app, tree)]
    return "\n".join(lines) + "\n"


def _pages(app: Sphinx, tree: nodes.Element) -> Iterator[str]:
    for _, page in tree["entries"]:
        yield page
        for below in app.env.get_doctree(page).findall(toctree):
            yield from _pages(app, below)


def _line(app: Sphinx, page: str) -> str:
    title = app.env.titles[page].astext()
    return f"- [{title}]({_address(app, page)}): {_first_sentence(app, page)}"


def _address(app: Sphinx, page: str) -> str:
    is_made = "```{" in app.env.doc2path(page).read_text(encoding="utf-8")
    return f"{page}.html" if is_made else f"_sources/{page}.md.txt"


def _first_sentence(app: Sphinx, page: str) -> str:
    paragraph = next(iter(app.env.get_doctree(page).findall(nodes.paragraph)))
    return " ".join(paragraph.astext().split()).partition(". ")[0].removesuffix(".") + "."
