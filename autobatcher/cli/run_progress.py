"""Where `autobatcher run` shows how far the command's calls are. The terminal is the command's, so it is no picture."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TextIO

from ..display.choice import ProgressSetting
from ..display.displays import Lines
from ..display.status_row import StatusRow
from .output import print_notice


def progress_beside_command(
    wanted: bool | None, stderr: TextIO | None, environment: Mapping[str, str]
) -> ProgressSetting:
    """The last row of a terminal; elsewhere a line every 30 s.

    Args:
        wanted: False for nothing at all; True for a line at the end, too; None if nobody said.
    """
    if wanted is False:
        return False
    is_terminal = stderr is not None and stderr.isatty() and environment.get("TERM") != "dumb" and os.name != "nt"
    if stderr is not None and is_terminal:
        return StatusRow(stderr)
    return Lines(_print, tells_end=wanted is True)


def _print(line: str) -> None:
    print_notice(f"autobatcher run: {line}")
