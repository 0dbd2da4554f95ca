"""Which recovery an engine has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ...errors import JournalError
from ..journal_url import JournalUrl, checked_place
from ..poll_hints import PollHints
from ..settings import Settings
from .no_recovery import NoRecovery
from .recovery import Recovery

if TYPE_CHECKING:
    from ..journal.writer import MakeWriter  # imported at run time only if used: some Pythons lack sqlite3


def recovery_of(
    settings: Settings,
    *,
    wall_clock: Callable[[], float],
    make_writer: MakeWriter | None,
    hints: PollHints,
    **options: Any,
) -> NoRecovery:
    """The recovery from the journal of the settings, if they name one. Raises `JournalError`.

    Args:
        hints: are given those that come to other engines.
        options: what else `Recovery` takes.
    """
    if settings.journal is None:
        return NoRecovery()
    kept: dict[str, Any] = {
        "is_hash_only": settings.journal_hash_only,
        "retention_seconds": settings.journal_retention_seconds,
        "budget": settings.budget,
        "wall_clock": wall_clock,
        "make_writer": make_writer,
        "patience_seconds": settings.journal_patience_seconds,
    }
    try:
        from ..journal.places import journal_at
    except ImportError as error:
        raise JournalError("A journal needs sqlite3, which this Python was built without.") from error
    place = checked_place(settings.journal)
    if isinstance(place, JournalUrl):
        from ..journal.shared_journal import SharedJournal
        from .fleet import FleetRecovery

        return FleetRecovery(cast("SharedJournal", journal_at(place, **kept)), settings, hints=hints, **options)
    return Recovery(journal_at(Path(place), **kept), settings, **options)
