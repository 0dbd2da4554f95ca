"""The directive `http-routes`: the proxy's routes, from the OpenAPI description that it serves itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from autobatcher.server.description import description


class HttpRoutes(SphinxDirective):
    """Takes no arguments."""

    def run(self) -> list[nodes.Node]:
        rows = [
            (f"`{method.upper()} {path}`", _fields(operation), operation["summary"])
            for path, operations in description()["paths"].items()
            for method, operation in operations.items()
        ]
        return [_table(("route", "fields of the body", "what it is"), rows)]


def _fields(operation: dict[str, Any]) -> str:
    """The required fields of the body, and those that the proxy itself understands."""
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    required = set(body.get("required", ()))
    return ", ".join(name if name in required else f"[{name}]" for name in body.get("properties", {}))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> nodes.table:
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in head), cols=len(head))
    group += nodes.thead("", _row(head))
    group += nodes.tbody("", *map(_row, rows))
    return nodes.table("", group)


def _row(cells: tuple[str, ...]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *_inline(cell))) for cell in cells))


def _inline(text: str) -> Iterator[nodes.Node]:
    """What stands in backticks is literal."""
    for number, part in enumerate(text.split("`")):
        yield nodes.literal(text=part) if number % 2 else nodes.Text(part)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("http-routes", HttpRoutes)
    return {"parallel_read_safe": True}
