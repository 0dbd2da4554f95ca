"""The URL of a journal on PostgreSQL: what is in it, and how it is shown. Pure.

It is looked through before libpq sees it: libpq takes a password that is not %-encoded for a host or a port, and says
so in its error.
"""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

from ..redaction import MASK

DEFAULT_SCHEMA = "autobatcher"

MISSING = "needs psycopg for a PostgreSQL URL: run pip install 'autobatcher[postgres]>=1'"

_SHOWN = ("host", "port", "user", "dbname", "service", "schema")
"""Query parameters that are no secret, and say where the journal is."""


class JournalUrl(str):
    """A URL that was checked. Its characters are those of the URL; printed or made text, it has no password."""

    __slots__ = ()

    def __str__(self) -> str:
        return shown(self)

    def __repr__(self) -> str:
        return repr(shown(self))

    def __format__(self, spec: str) -> str:
        return format(shown(self), spec)


Place = Path | JournalUrl
"""Where a journal is: its file, or its URL."""


def is_postgres(place: str | os.PathLike[str]) -> bool:
    """Whether that is where PostgreSQL keeps a journal, and not the path of a file."""
    return isinstance(place, str) and re.match("postgres(ql)?://", place, re.IGNORECASE) is not None


def checked_place(place: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """The path of a file as it is; a URL as a `JournalUrl`.

    Raises:
        ValueError: for a URL that is of something else, or cannot be read. Quotes nothing of it.
    """
    if isinstance(place, JournalUrl):
        return place
    text = os.fspath(place)
    if re.match("postgres(ql)?:/(?!/)", text):
        raise ValueError("must be a URL with // after the colon, and no Path, which would take one slash away")
    if re.match("[A-Za-z][A-Za-z0-9+.-]*://", text) is None:
        return place
    if not is_postgres(text):
        raise ValueError("must be the path of a file, or a URL that begins with postgresql://")
    _parts_of(text)
    _check_schema(schema_of(text))
    if find_spec("psycopg") is None:
        raise ValueError(MISSING)
    return JournalUrl(text)


def schema_of(url: str) -> str:
    """The schema in which the journal's tables are: that of `?schema=`, "autobatcher" by default."""
    return next((unquote(value) for name, value in _parameters_of(url) if name == "schema"), DEFAULT_SCHEMA)


def libpq_url(url: str) -> str:
    """The URL as libpq knows it: without the schema. It may have a password.

    Raises:
        ValueError: if it is what `shown` returned.
    """
    if f":{MASK}@" in url or f"={MASK}" in url:
        raise ValueError("the URL is one that was shown: its password is not in it")
    scheme, separator, rest = url.partition("?")[0].partition("://")
    query = "&".join(f"{name}={value}" for name, value in _parameters_of(url) if name != "schema")
    return f"{scheme.lower()}{separator}{rest}{query and '?'}{query}"


def shown(url: str) -> str:
    """The URL for messages: without password, and without parameters that do not say where the journal is."""
    try:
        login, hosts, database = _parts_of(url)
    except ValueError:
        return f"postgresql://{MASK}"
    user, colon, _ = login.partition(":")
    shown_login = f"{user}:{MASK}@" if colon else f"{user}@" if user else ""
    masked = ((name, MASK if _is_secret(name) else value) for name, value in _parameters_of(url))
    query = "&".join(f"{name}={value}" for name, value in masked if name in _SHOWN or value == MASK)
    return f"postgresql://{shown_login}{hosts}{database}{query and '?'}{query}"


def has_secret(url: str) -> bool:
    """Whether a password stands in it: before the host, or as a parameter."""
    user, _, _ = _parts_of(url)
    return ":" in user or any(_is_secret(name) for name, _ in _parameters_of(url))


def _is_secret(parameter: str) -> bool:
    return "password" in parameter


def _parameters_of(url: str) -> list[tuple[str, str]]:
    """The parameters, still %-encoded."""
    pairs = (each.partition("=") for each in url.partition("?")[2].split("&") if each)
    return [(name, value) for name, _, value in pairs]


def _parts_of(url: str) -> tuple[str, str, str]:
    """User and password; hosts with ports; the database with its slash. Raises `ValueError`, which quotes nothing."""
    if not url.isascii() or not url.isprintable() or " " in url or _BAD_ESCAPE.search(url):
        raise ValueError("must be a URL in which special characters are %-encoded, such as %40 for @")
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError(
            "must be a URL such as postgresql://host:5432/database, with user@ or user:password@ before the host; in "
            "user and password, special characters are %-encoded: %40 for @, %2F for /, %3A for :, %3F for ?"
        )
    return found["user"] or "", found["hosts"], found["database"] or ""


def _check_schema(name: str) -> None:
    if not _SCHEMA.fullmatch(name) or name.startswith("pg_"):
        raise ValueError("must have a schema of at most 50 small letters, digits and _, not beginning with pg_")


_SCHEMA = re.compile("[a-z_][a-z0-9_]{0,49}")

_BAD_ESCAPE = re.compile("%(?![0-9a-fA-F]{2})|%00")
_HOST = r"(?:\[[0-9A-Fa-f:.]+(?:%25[\w.]+)?\]|[\w.%-]*)(?::[0-9]*)?"
_URL = re.compile(
    rf"""postgres(?:ql)?://
    (?:(?P<user>[\w.~!$&'()*+,;=:%-]*)@)?  # with the password: what RFC 3986 lets stand there
    (?P<hosts>{_HOST}(?:,{_HOST})*)
    (?P<database>/[\w.~!$&'()*+,;=:%-]*)?
    (?:\?(?:[a-z_]+=[^@\#&=?]*(?:&[a-z_]+=[^@\#&=?]*)*)?)?""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
