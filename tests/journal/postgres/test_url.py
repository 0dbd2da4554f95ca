"""URLs of journals: which are taken, what libpq is told, and what everybody else is shown."""

from __future__ import annotations

import copy
import os
import pickle
import traceback
from functools import partial
from pathlib import Path

import pytest

from autobatcher import BatchOpenAI, BatchTransport
from autobatcher.cli import main
from autobatcher.cli.child_environment import without_keys
from autobatcher.engine.interruption import Remains, interruption_line
from autobatcher.engine.journal.postgres.url import is_postgres, libpq_url, schema_of, shown
from autobatcher.engine.journal_url import JournalUrl, checked_place
from autobatcher.engine.settings import Settings
from autobatcher.engine.tally import Tally
from tests.canaries.canaries import PASSWORD

GOOD = {
    "postgresql://me:secret@db.test:5433/app?schema=batches&sslmode=require": (
        "batches",
        "postgresql://me:secret@db.test:5433/app?sslmode=require",
        "postgresql://me:***@db.test:5433/app?schema=batches",
    ),
    "postgres://me:se%40cr%2Fet@[::1]/app": (
        "autobatcher",
        "postgres://me:se%40cr%2Fet@[::1]/app",
        "postgresql://me:***@[::1]/app",
    ),
    "postgresql:///app?host=/run/postgresql&password=secret&user=me": (
        "autobatcher",
        "postgresql:///app?host=/run/postgresql&password=secret&user=me",
        "postgresql:///app?host=/run/postgresql&password=***&user=me",
    ),
    "postgresql://a.test,b.test:5433/app?target_session_attrs=read-write": (
        "autobatcher",
        "postgresql://a.test,b.test:5433/app?target_session_attrs=read-write",
        "postgresql://a.test,b.test:5433/app",
    ),
    "postgresql:///?service=journal": (
        "autobatcher",
        "postgresql:///?service=journal",
        "postgresql:///?service=journal",
    ),
}

BAD = (
    f"postgresql://me:{PASSWORD}@db.test/app",  # with a slash in it, which makes a port of its beginning
    f"postgresql://me:{PASSWORD.replace('/', '@')}@db.test/app",
    f"postgresql://me:{PASSWORD.replace('/', '?')}@db.test/app",
    f"postgresql://me:{PASSWORD.replace('/', '#')}@db.test/app",
    f"postgresql://me:{PASSWORD.replace('/', '%')}@db.test/app",
    f"postgresql://me:{PASSWORD.replace('/', ' ')}@db.test/app",
    f"postgresql://me:{PASSWORD.replace('/', chr(10))}@db.test/app",
    f"postgresql://db.test/app?{PASSWORD}",
    f"postgresql://me:{PASSWORD.replace('/', '.')}@db.test/app?schema=pg_x",
    f"postgresql://me:{PASSWORD.replace('/', '.')}@db.test/app?schema=a;b",
    f"postgresql+psycopg://me:{PASSWORD}@db.test/app",
    f"mysql://me:{PASSWORD}@db.test/app",
    str(Path(f"postgresql://me:{PASSWORD}@db.test/app")),
)


@pytest.mark.parametrize("url", GOOD)
def test_a_url_says_where_the_journal_is_and_shows_no_password(url: str) -> None:
    place = checked_place(url)
    assert is_postgres(place)
    assert (schema_of(url), libpq_url(url), shown(url)) == GOOD[url]
    assert isinstance(place, JournalUrl)
    for each in (place, copy.deepcopy(place), pickle.loads(pickle.dumps(place)), checked_place(place)):
        assert libpq_url(os.fspath(each)) == GOOD[url][1]
        assert {str(each), f"{each}", repr(each).strip("'"), "%s" % each, "{}".format(each)} == {shown(url)}  # noqa: UP031, UP032


def test_what_was_shown_is_no_url_to_connect_with() -> None:
    """`str(url)` would connect wherever no password is asked for, and fail elsewhere."""
    for url in ("postgresql://me:secret@db.test/app", "postgresql:///app?user=me&password=secret"):
        with pytest.raises(ValueError, match="password is not in it"):
            libpq_url(str(JournalUrl(url)))


def test_libpq_takes_what_is_taken() -> None:
    conninfo = pytest.importorskip("psycopg.conninfo")
    for url, (_, told, _) in GOOD.items():
        assert conninfo.conninfo_to_dict(told), url


@pytest.mark.parametrize("url", BAD)
def test_a_url_that_cannot_be_used_is_refused_without_quoting_it(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    """By every door: libpq would take a part of the password for a host, and say so."""
    said = ""
    for construct in (partial(BatchOpenAI, api_key="k"), BatchTransport):
        with pytest.raises(ValueError, match=r"^journal must") as raised:
            construct(journal=url)
        said += "".join(traceback.format_exception(raised.value))
    for command in ("status", "serve", "results"):
        assert main([command, f"--journal={url}"]) == 2
    told = capfd.readouterr()
    said += told.out + told.err
    assert told.err.count("--journal must") == 3
    assert not [part for part in (PASSWORD, *PASSWORD.split("/")) if part in said and len(part) > 3], said


def test_settings_show_no_password() -> None:
    settings = Settings(journal="postgresql://me:secret-1@db.test/app")
    assert "postgresql://me:***@db.test/app" in repr(settings)
    assert "secret-1" not in repr(settings) + str(settings)


def test_the_line_after_an_interruption_names_the_journal_without_its_password() -> None:
    line = interruption_line(Tally(), Remains(), checked_place("postgresql://me:secret-1@db.test/app"))
    assert "(postgresql://me:***@db.test/app) to go on" in line


def test_without_psycopg_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autobatcher.engine.journal_url.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"^journal needs psycopg .*: run pip install 'autobatcher\[postgres\]>=1'$"):
        BatchOpenAI(api_key="k", journal="postgresql:///app")


def test_the_command_of_run_does_not_get_the_password_of_our_journal() -> None:
    with_password = {"AUTOBATCHER_JOURNAL": "postgresql://me:secret@db.test/app"}
    as_parameter = {"AUTOBATCHER_JOURNAL": "postgresql://db.test/app?password=secret"}
    kept = [
        {"AUTOBATCHER_JOURNAL": "postgresql://me@db.test/app"},
        {"AUTOBATCHER_JOURNAL": "journal.sqlite3"},
        {"DATABASE_URL": "postgresql://me:secret@db.test/app"},  # the command's own
    ]
    for each in (with_password, as_parameter, *kept):
        assert without_keys(each, []) == (each if each in kept else {})
