"""What a client has taken is kept until its process has ended well: a program may fail with answers in its hands, long
after it closed its client, or be killed in its last moment, and is then run again.

A process that closed its client well leaves a mark beside the journal, which goes with its very last act. Who opens the
journal next and finds the mark knows that the process did not come to its end.
"""

from __future__ import annotations

import atexit
import os
import sys
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

_IMPORT_ID = uuid.uuid4().hex
_markers: set[Path] = set()


def this_process() -> str:
    """What tells this process from all others, forked ones included."""
    return f"{_IMPORT_ID}-{os.getpid()}"


def marker_of(journal: Path, process: str) -> Path:
    """The file that says that `process` closed its client well and lives, or did not end well."""
    return journal.with_name(f"{journal.name}-{process}.unended")


def markers_of(journal: Path) -> set[Path]:
    """All such files beside a journal."""
    return {each for each in journal.parent.iterdir() if _is_marker(each.name, journal.name)}


def _is_marker(name: str, journal: str) -> bool:
    return name.startswith(f"{journal}-") and name.endswith(".unended")


def set_marker(journal: Path) -> None:
    """This process has closed a client well."""
    mark = marker_of(journal, this_process())
    mark.touch(mode=0o600)
    _markers.add(mark)


class _MarkerRemover:
    """Removes marks when it is collected. Its globals may be gone by then, so it brings what it needs."""

    def __init__(self, marks: Iterable[Path]) -> None:
        self._markers = [str(mark) for mark in marks]
        self._remove: Callable[[str], None] = os.unlink

    def __del__(self) -> None:
        for mark in self._markers:
            try:  # noqa: SIM105  (contextlib is gone by then)
                self._remove(mark)
            except OSError:  # another engine has found it, and has been given what was taken here
                pass


def _remove_markers_at_exit() -> None:
    """Unless an exception ends this process (the interpreter has noted an uncaught one by now), or it was forked.

    What `sys` alone refers to is collected after all other modules, whose end takes a tenth of a second or two.
    """
    if getattr(sys, "last_exc", None) is None and getattr(sys, "last_value", None) is None:
        mine = this_process()
        sys._autobatcher_marker_remover = _MarkerRemover(mark for mark in _markers if mine in mark.name)  # type: ignore[attr-defined]
    _markers.clear()


atexit.register(_remove_markers_at_exit)
