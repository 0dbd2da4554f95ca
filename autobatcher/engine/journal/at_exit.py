"""Delivered answers are kept until the process exits cleanly. A program may fail long after it closed its client, or be
killed in its last moment, and is then run again.

A process that closes a client well creates a marker file beside the journal, and removes it in its very last step. If
the next process that opens the journal finds the marker, the first one did not exit cleanly, or still runs.
"""

from __future__ import annotations

import atexit
import os
import re
import sys
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

_IMPORT_ID = uuid.uuid4().hex
_PROCESS = "[0-9a-f]{32}-[0-9]+"
_markers: set[Path] = set()


def this_process() -> str:
    """Return an id of this process that no other has, not even a forked one."""
    return f"{_IMPORT_ID}-{os.getpid()}"


def marker_of(journal: Path, process: str) -> Path:
    """The marker of `process`: it closed a client well, and still runs or did not exit cleanly."""
    return journal.with_name(f"{journal.name}-{process}.unended")


def markers_of(journal: Path) -> set[Path]:
    """Return all markers of a journal. Those of `jobs-2` are none of `jobs`."""
    marker = re.compile(f"{re.escape(journal.name)}-{_PROCESS}[.]unended")
    return {each for each in journal.parent.iterdir() if marker.fullmatch(each.name)}


def create_marker(journal: Path) -> None:
    """Create the marker of this process, because it closed a client well."""
    marker = marker_of(journal, this_process())
    marker.touch(mode=0o600)
    _markers.add(marker)


def has_failed() -> bool:
    """Whether an exception ends this process. To be asked at its exit, when the interpreter has noted that."""
    return getattr(sys, "last_exc", None) is not None or getattr(sys, "last_value", None) is not None


class _MarkerRemover:
    """Removes markers when it is collected. Its globals may be gone by then, so it holds all it needs."""

    def __init__(self, markers: Iterable[Path]) -> None:
        self._markers = [str(marker) for marker in markers]
        self._remove: Callable[[str], None] = os.unlink

    def __del__(self) -> None:
        for marker in self._markers:
            try:  # noqa: SIM105  (contextlib is gone by then)
                self._remove(marker)
            except OSError:  # another engine removed it, and delivers these answers again
                pass


def _remove_markers_at_exit() -> None:
    """Remove the markers, unless this process was forked or an exception ends it (the interpreter has noted that by
    now).

    Objects that only `sys` refers to are collected after all other modules, whose teardown takes a tenth of a second or
    two.
    """
    if not has_failed():
        mine = this_process()
        sys._autobatcher_marker_remover = _MarkerRemover(each for each in _markers if mine in each.name)  # type: ignore[attr-defined]
    _markers.clear()


atexit.register(_remove_markers_at_exit)
