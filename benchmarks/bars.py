"""Bars of what a call costs each contender, in CPU and in memory."""

from __future__ import annotations

import statistics
from importlib import import_module
from pathlib import Path
from typing import Any

from results import Results

PANELS = {"cpu_us": "CPU µs for each request", "peak_kb": "peak memory, KB for each request"}
OURS, OTHERS, FLOORS = "#2a78b8", "#9a9a9a", "#d9d9d9"
CUT = 5.0
"""A bar longer than this many medians is cut off, since the others could not be seen beside it; it says so."""


def draw(results: Results, path: Path) -> None:
    matplotlib = import_module("matplotlib")
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "autobatcher"  # the same results make the same file
    figure, panels = import_module("matplotlib.pyplot").subplots(1, len(PANELS), sharey=True, figsize=(10, 4))
    for panel, (field, title) in zip(panels, PANELS.items(), strict=True):
        _draw_panel(panel, results, field)
        panel.set_title(title, fontsize=10)
    panels[0].invert_yaxis()  # the first one on top; shared by all
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def _draw_panel(panel: Any, results: Results, field: str) -> None:
    names = results.contenders("facade")
    found = [list(results.values("facade", name, field).values()) for name in names]
    medians = [statistics.median(values) for values in found]
    longest = min(max(medians), CUT * statistics.median(medians))
    shown = [min(median, longest) for median in medians]
    panel.barh(names, shown, color=[_color(name) for name in names])
    panel.set_xlim(0, longest * 1.35)
    for row, (median, length) in enumerate(zip(medians, shown, strict=True)):
        cut = " (cut off)" if median > length else ""
        panel.text(length + longest * 0.02, row, f"{median:,.1f}{cut}", va="center", fontsize=8)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def _color(name: str) -> str:
    if name.startswith("ours"):
        return OURS
    return FLOORS if name.startswith(("floor", "tasks")) else OTHERS
