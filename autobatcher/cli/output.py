"""All that the command line prints: text of strangers is made printable here, and is never markup."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from ..printable import json_line, printable, printable_lines


class PrintableConsole(Console):
    """A console on which only rich's own control codes have an effect."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as `Console` does, with printable text."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable_lines(text), style, control)


def print_text(text: Text | str) -> None:
    """Print to stdout, in colour on a terminal: one line, or a `Text` with its own line ends."""
    whole = text if isinstance(text, Text) else Text(printable(text) + "\n")
    PrintableConsole().print(whole, soft_wrap=True, end="")


def print_json(fields: dict[str, Any], *, encoded: Mapping[str, str] | None = None) -> None:
    """Print one object as a line to stdout, keys sorted. `encoded`: further members, as JSON on one line each."""
    print(json_line(fields, encoded or {}), flush=True)


def print_notice(line: str) -> None:
    """Print one line to stderr."""
    print(printable(line), file=sys.stderr, flush=True)
