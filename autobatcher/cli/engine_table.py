"""The engines that share a journal as a table for people. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from rich.text import Text

from ..engine.journal.file import Session
from ..printable import printable
from ..progress import shortened
from .batch_table import age
from .table_layout import Column
from .text_table import text_table

LONGEST_PLACE = 30
"""In characters: a row fits a terminal of 80 columns."""

_COLUMNS = (
    Column("engine"),
    Column("state", cut="never"),
    Column("process", leaves=2),
    Column("batches"),
    Column("lines"),
    Column("age", cut="never", leaves=1),
    Column("at", cut="middle"),
)
_STYLES = {"lives": "green", "gone": "yellow"}


def engine_table(sessions: Iterable[Session], *, now: float, room: int | None = None) -> Text:
    """A row for each engine."""
    return text_table(_COLUMNS, [_cells(session, now) for session in sessions], _STYLES, room=room)


def _cells(session: Session, now: float) -> tuple[str, ...]:
    return (
        str(session.number),
        "lives" if session.is_alive else "gone",
        str(session.pid),
        f"{session.batches:,}",
        f"{session.waiting:,}",
        age(now - session.opened_at),
        _place(session),
    )


def _place(session: Session) -> str:
    """The machine, and the port of its status page."""
    try:
        port = urlsplit(session.url).port
    except ValueError:
        port = None
    ending = "" if port is None else f":{port}"
    return f"{shortened(printable(session.host), LONGEST_PLACE - len(ending))}{ending}"
