"""The live page, as one document: page.html with style.css and the scripts in it.

words.js      text of strangers, numbers, spans of time
chart.js      requests waiting and done, minute by minute
batches.js    the batches, and what to do if there are none
queue.js      what waits, by kind
failures.js   failed requests, by cause, and recent errors
costs.js      what was paid, by model and by lane
fleet.js      the engines that share the journal
main.js       asks the proxy, and shows what it says
"""

from __future__ import annotations

from importlib.resources import files

_SCRIPTS = ("words", "chart", "batches", "queue", "failures", "costs", "fleet", "main")


def document() -> str:
    """The page. It loads nothing else, so that its policy can forbid all else."""
    style = _text("style.css")
    script = '"use strict";\n' + "\n".join(_text(f"{name}.js") for name in _SCRIPTS)
    html = _text("page.html").replace("<style></style>", f"<style>\n{style}</style>")
    return html.replace("<script></script>", f"<script>\n{script}</script>")


def _text(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
