"""`autobatcher journal migrate` and `autobatcher journal check`: a journal on PostgreSQL, for its administrator."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from ..engine.journal.file import Report, Session, TableSize, migrate_journal, report_on
from ..engine.journal_url import JournalUrl
from .batch_table import age, counted
from .flags import JournalPlace, UsageError
from .help_format import help_format
from .journal_flags import AsJson, told_as_usage_error
from .output import print_json, print_table, print_text, table_room
from .table_layout import Column
from .text_table import table_lines
from .wrapping import joined, value_lines

HELP = "Look after a journal on PostgreSQL."

EXAMPLES = """
**Examples**

    # make the tables, with a role that may
    autobatcher journal migrate postgresql://admin@db.example.com/app

    # whether the role of your programs can use them; password in ~/.pgpass
    autobatcher journal check postgresql://app@db.example.com/app
"""

_TABLES = (Column("table", cut="middle"), Column("rows"), Column("size", cut="never"))

_Url = Annotated[JournalPlace, Parameter(name="URL", env_var="AUTOBATCHER_JOURNAL", metavar="URL")]


def make_journal_app() -> App:
    """The app with the commands on a journal on PostgreSQL."""
    app = App(name="journal", help=HELP, help_epilogue=EXAMPLES, help_formatter=help_format())
    app.command(migrate, help_epilogue="")
    app.command(check, help_epilogue="")
    return app


def migrate(url: _Url, /) -> int:
    """Make the tables of a journal on PostgreSQL, or bring older ones up to date.

    Engines do the same when they open a journal, if their role may. The schema is that of ?schema=, autobatcher by
    default; it is made if it is not there. docs/scale.md says which rights this needs, and which the engines need.

    Exit codes: 0, or 2 if that is not possible.

    Args:
        url: The journal's URL.
    """
    place = _on_postgres(url)
    with told_as_usage_error(place):
        print_text("The journal was migrated." if migrate_journal(place) else "The journal is up to date.")
    return 0


def check(url: _Url, /, *, as_json: AsJson = False) -> int:
    """Say whether engines can use a journal on PostgreSQL with this URL, who does, and how large it is.

    Nothing is changed. Rights that are missing are named as GRANT has them.

    Exit codes: 0, or 1 if engines cannot use it as it is.

    Args:
        url: The journal's URL.
        as_json: Print one JSON object.
    """
    place = _on_postgres(url)
    with told_as_usage_error(place):
        found = report_on(place)
    if as_json:
        print_json(_fields(found))
    else:
        print_report(found, room=table_room())
    return 0 if found.is_usable else 1


def print_report(found: Report, *, room: int | None) -> None:
    """Print what was found, and the sizes of the tables."""
    for line in joined(value_lines(list(_lines(found)), room)):
        print_text(line)
    if found.tables:
        print_table(table_lines(_TABLES, map(_cells, found.tables), room=room))


def _on_postgres(place: Path | JournalUrl) -> JournalUrl:
    if not isinstance(place, JournalUrl):
        raise UsageError(f"{place} is a file, which is migrated when it is opened. Give the URL of a PostgreSQL.")
    return place


def _fields(found: Report) -> dict[str, Any]:
    """As JSON types."""
    fields = dataclasses.asdict(found)
    fields["sessions"] = [session._asdict() for session in found.sessions]
    fields["tables"] = [size._asdict() for size in found.tables]
    return {**fields, "is_usable": found.is_usable}


def _lines(found: Report) -> Iterator[tuple[str, str]]:
    yield "journal", found.journal
    yield "server", f"PostgreSQL {found.server}"
    yield "tables", _version(found)
    yield "rights", f"{found.role} lacks {', '.join(found.missing)}" if found.missing else f"{found.role} has all"
    if found.fault is not None:
        yield "fault", found.fault
    alive = [session for session in found.sessions if session.is_alive]
    yield "sessions", f"{len(alive):,} live, {len(found.sessions) - len(alive):,} gone"
    for session in alive:
        yield "", _session(session)


def _version(found: Report) -> str:
    if found.version is None:
        return f"{found.role} may not look at the schema {found.schema}"
    if found.version == found.newest:
        return f"version {found.version}, in the schema {found.schema}"
    state = f"version {found.version} of {found.newest}" if found.version else "not made yet"
    return f"{state}, in the schema {found.schema}: run `autobatcher journal migrate`"


def _session(session: Session) -> str:
    place = f"process {session.pid} on {session.host}" + (f", {session.url}" if session.url else "")
    work = f"{counted(session.batches, 'batch', 'batches')}, waits for {counted(session.waiting, 'line', 'lines')}"
    return f"{session.number}: {place}, for {age(time.time() - session.opened_at)}: {work}"


def _cells(size: TableSize) -> tuple[str, str, str]:
    return size.name, f"{size.rows:,}", f"{size.bytes / 1e6:,.1f} MB"
