"""Which recovery an engine has."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import JournalError
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
    **options: Any,
) -> NoRecovery:
    """The recovery from the journal of the settings, if they name one. Raises `JournalError`.

    Args:
        options: what else `Recovery` takes.
    """
    if settings.journal is None:
        return NoRecovery()
    try:
        from ..journal.journal import Journal
    except ImportError as error:
        raise JournalError("A journal needs sqlite3, which this Python was built without.") from error
    journal = Journal.of(settings.journal, settings, wall_clock=wall_clock, make_writer=make_writer)
    return Recovery(journal, settings, **options)
