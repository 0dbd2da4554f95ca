"""All that the command line prints: text of strangers is made printable here, and is never markup."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from ..printable import json_line, printable, printable_lines
from .wrapping import hanging


class PrintableConsole(Console):
    """A console on which only rich's own control codes have an effect."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as `Console` does, with printable text."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable_lines(text), style, control)

    def on_broken_pipe(self) -> None:
        """Raise what rich has caught: its own `SystemExit` comes out of a nursery as a group, and says 1, not 141."""
        self.quiet = True
        raise BrokenPipeError


def table_room(*, wide: bool = False) -> int | None:
    """How wide a table on stdout may be: as the terminal is. None with `--wide`, and where a script reads it."""
    return PrintableConsole().width if sys.stdout.isatty() and not wide else None


def print_text(text: Text | str, *, wraps: bool = True) -> None:
    """Print to stdout, in colour on a terminal: one line, or a `Text` with its own line ends.

    On a terminal a longer line is broken between words, if it `wraps`; elsewhere it stays whole.
    """
    whole = text if isinstance(text, Text) else Text(printable(text) + "\n")
    soft_wrap = not (wraps and sys.stdout.isatty())
    PrintableConsole().print(whole, soft_wrap=soft_wrap, end="")


def print_table(lines: Iterable[Text]) -> None:
    """Print the lines of a table to stdout as they come, each as wide as it is."""
    console = PrintableConsole()
    for line in lines:
        if console.is_terminal:
            console.print(line, soft_wrap=True)
        else:  # which is many times as fast
            sys.stdout.write(printable(line.plain) + "\n")
    sys.stdout.flush()  # so that it fails here if the reader is gone, and not at exit


def print_json(fields: dict[str, Any], *, encoded: Mapping[str, str] | None = None) -> None:
    """Print one object as a line to stdout, keys sorted. `encoded`: further members, as JSON on one line each."""
    print(json_line(fields, encoded or {}), flush=True)


def print_notice(line: str) -> None:
    """Print one line to stderr. On a terminal a longer one is broken between words."""
    text = printable(line)
    command = text.find(": ") + 2 if text.startswith("autobatcher ") else 0
    print("\n".join(hanging(text, command, notice_room())), file=sys.stderr, flush=True)


def notice_room() -> int | None:
    """How wide the terminal is that stderr is; None if it is none."""
    return PrintableConsole(stderr=True).width if sys.stderr.isatty() else None
