"""Which display `progress=` means."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from inspect import iscoroutinefunction
from typing import Any

from .displays import Calls, Display, Lines, Notebook, Terminal
from .snapshot import ProgressSnapshot
from .status_row import StatusRow

ProgressSetting = bool | Callable[[ProgressSnapshot], object]
"""Whether progress is shown; or a function that is called with snapshots, in a thread of its own."""


def checked_progress(value: Any) -> ProgressSetting:
    """Check a setting. Raises `TypeError`, or `ImportError` that names the extra if rich is missing."""
    if (not isinstance(value, bool) and not callable(value)) or iscoroutinefunction(value):
        raise TypeError(f"must be True, False or a plain function of a snapshot, not {value!r}")
    if value is True and find_spec("rich") is None:
        raise ImportError("progress=True needs rich: pip install 'autobatcher[progress]>=1'", name="rich")
    checked: ProgressSetting = value
    return checked


def display_for(progress: ProgressSetting) -> Display | None:
    """The display of a checked setting; None for none."""
    if not isinstance(progress, bool):
        return progress if isinstance(progress, Terminal | StatusRow | Notebook | Lines | Calls) else Calls(progress)
    return _display_here() if progress else None


def _display_here() -> Display:
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_jupyter:
        return Notebook()
    if console.is_terminal and os.environ.get("TERM") != "dumb":
        return Terminal(console)
    return Lines()
