"""How `--help` looks: without borders, with the commands, and the flags of large ones, in groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cyclopts.help import (
    ColumnSpec,
    DefaultFormatter,
    DescriptionRenderer,
    HelpEntry,
    HelpPanel,
    NameRenderer,
    PanelSpec,
)
from rich.box import Box
from rich.console import Console, ConsoleOptions

from .flag_groups import UNGROUPED

_NO_BOX = Box("\n".join(["    "] * 8), ascii=True)
"""Without borders, help looks the same on a terminal and in a file."""


def help_format(groups: Mapping[str, Sequence[str]] | None = None) -> DefaultFormatter:
    """The formatter of an app whose commands, or of a command whose flags, are in these groups; None: in one."""
    return _Grouped(groups or {})


class _Grouped(DefaultFormatter):
    """A panel for each group of commands or flags."""

    def __init__(self, groups: Mapping[str, Sequence[str]]) -> None:
        super().__init__(panel_spec=PanelSpec(box=_NO_BOX, padding=(0, 0)), column_specs=_columns)
        self._groups = groups

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        if not self._groups or not all(entry.names for entry in panel.entries):
            super().__call__(console, options, panel)
            return
        for title, entries in self._parted(panel.entries):
            super().__call__(console, options, panel.copy(title=title, entries=entries))

    def _parted(self, entries: list[HelpEntry]) -> Iterator[tuple[str, list[HelpEntry]]]:
        """The entries of each group, and those that are in none."""
        left = {entry.names[0].removeprefix("--"): entry for entry in entries}
        for title, names in self._groups.items():
            if found := [left.pop(name) for name in names if name in left]:
                yield title, found
        if left:
            yield UNGROUPED, list(left.values())


def _columns(console: Console, options: ConsoleOptions, entries: list[HelpEntry]) -> tuple[ColumnSpec, ...]:
    """A column as wide as the longest flag, and one for the descriptions. A flag is never cut in two."""
    longest = max(len(" ".join(entry.display_labels_with_metavar)) for entry in entries)
    longest_word = max(len(word) for entry in entries for word in " ".join(entry.display_labels_with_metavar).split())
    width = max(min(longest, console.width // 2), longest_word)
    names = ColumnSpec(renderer=NameRenderer(width), style="cyclopts.name", max_width=width, no_wrap=True)
    return (names, ColumnSpec(renderer=DescriptionRenderer(), overflow="fold"))
