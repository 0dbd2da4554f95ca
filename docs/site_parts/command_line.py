"""The directive `command-line`: a section for each command, with what `--help` prints at 80 columns."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

COLUMNS = "80"
_SCRIPT = """
import contextlib, io, json
from autobatcher.cli import main
from autobatcher.cli.app import make_app

def helped(*words):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        main([*words, "--help"])
    return out.getvalue()

def commands(app):
    return [name for name in app if not name.startswith("-")]

app = make_app()
told = {"": helped()}
for name in commands(app):
    told[name] = helped(name)
    for below in commands(app[name]):
        told[f"{name} {below}"] = helped(name, below)
print(json.dumps(told))
"""


class CommandLine(SphinxDirective):
    """Takes no arguments."""

    def run(self) -> list[nodes.Node]:
        return [_section(name, text, self.env.docname) for name, text in _helped().items()]


def _helped() -> dict[str, str]:
    """Each command's help, from a process without this one's variables: they would show as defaults."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AUTOBATCHER_", "OPENAI_"))}
    environment = {**kept, "COLUMNS": COLUMNS, "NO_COLOR": "1", "TERM": "dumb"}
    command = [sys.executable, "-c", _SCRIPT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603  (ours)
    told: dict[str, str] = json.loads(done.stdout)
    return told


def _section(name: str, text: str, page: str) -> nodes.section:
    title = f"autobatcher {name}".strip()
    section = nodes.section(ids=[title.replace(" ", "-")], names=[title])
    section += nodes.title("", "", nodes.literal(text=title))
    plain = "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")
    section += nodes.literal_block(plain, plain, language="text")
    if named := sorted(set(re.findall(r"docs/(\w+)\.md", text))):
        section += _links(named, page)
    return section


def _links(named: list[str], page: str) -> nodes.paragraph:
    """To the pages that a help names: in it they are text."""
    links = nodes.paragraph("", "Pages: ")
    for number, name in enumerate(named):
        links += nodes.Text(", " if number else "")
        target = {"refdomain": "std", "reftype": "doc", "refdoc": page, "reftarget": f"/{name}", "refexplicit": False}
        links += pending_xref("", nodes.inline("", name), refwarn=True, **target)
    return links


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True}
