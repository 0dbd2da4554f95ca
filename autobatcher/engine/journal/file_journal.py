"""`FileJournal`: the engine's interface to a journal in a file, which one engine uses at a time."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

from . import at_exit
from .file_checks import place_of
from .journal import Journal
from .owned_file import OwnedFile
from .records import Contents


class FileJournal(Journal):
    """The journal in one SQLite file, from `open` to `close`.

    Args:
        path: the file.
    """

    def __init__(self, path: Path, **options: Any) -> None:
        self.path: Path = place_of(path)
        super().__init__(partial(OwnedFile, self.path), **options)

    async def open(self) -> Contents:
        """Take the journal, and return its contents without expired entries, which are deleted in the background.

        Raises:
            JournalInUseError: if another engine uses it.
            JournalError: if it cannot be used.
        """
        await self._writer.open()
        contents = await self._writer.ask(self._begin)
        self._writer.tell(self._remove_old_markers)  # only after the commit
        self._sweep()
        return contents

    def _begin(self, store: OwnedFile) -> Contents:
        now = self._swept_at = self.wall_clock()
        self._note_exits(store)
        process = at_exit.this_process()
        store.begin_session(process, now=now)
        answered_since, changed_since = self._expired(now)
        return store.contents(process, now=now, answered_since=answered_since, changed_since=changed_since)

    def _note_exits(self, store: OwnedFile) -> None:
        """Forget answers taken by processes that exited cleanly. If a process's marker exists, it was killed or still
        runs, and its answers are delivered again. When it exits, those that are left are forgotten."""
        for process in store.processes_closed_well():
            is_marked = at_exit.marker_of(self.path, process).exists()
            if not is_marked or not (store.has_taken(process) or process == at_exit.this_process()):
                store.process_exited(process)

    def _remove_old_markers(self, store: OwnedFile) -> None:
        """Remove markers of processes that have nothing left in the journal."""
        known = {at_exit.marker_of(self.path, process) for process in store.processes_closed_well()}
        for mark in at_exit.markers_of(self.path) - known:
            with suppress(OSError):  # somebody else's, in a folder that many can write
                mark.unlink()

    def _end(self, ending: Literal["well", "failed"], store: OwnedFile) -> None:
        if ending == "well":
            at_exit.create_marker(self.path)
        store.end_session(ending)
