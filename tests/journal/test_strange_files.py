"""Journals that strangers prepared: refused with one sentence, and left as they are, with all beside them."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from autobatcher.cli import main
from autobatcher.engine.journal.ownership import Ownership, lock_file_of
from autobatcher.engine.journal.store import Store
from autobatcher.errors import JournalError
from tests.harness import open_harness
from tests.journal.records import a_record

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="owners and modes are POSIX's")
ROOT = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
ANOTHER_USER = 12_345


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """One of ours: a batch with an answer."""
    path = tmp_path / "folder" / "journal"
    path.parent.mkdir()
    with closing(Store(path)) as store, store.transaction():
        store.begin_session("process-1", now=1.0)
        store.intend(a_record("one"), [(0, "/v1/embeddings", b'{"input":"x"}')], is_hash_only=False)
        store.update("one", now=2.0, stage="created", batch_id="batch_1", status="in_progress")
        store.answer([("one", 0, 200, b'{"id":"y"}', "req_1", False)], now=3.0)
    return path


def as_it_is(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Mode, owner and content of all in a folder."""

    def look(path: Path) -> tuple[int, int, bytes]:
        found = path.lstat()
        return found.st_mode, found.st_uid, path.read_bytes() if stat.S_ISREG(found.st_mode) else b""

    return {path.name: look(path) for path in sorted(folder.iterdir())}


def assert_refused(path: Path, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By a command that reads, one that writes, and an engine's two steps; and nothing has changed."""
    before = as_it_is(path.parent)
    for command in (["results"], ["status"], ["forget", "--all"]):
        assert main([*command, "--journal", str(path)]) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.count("\n") == 1
        assert told.err.rstrip("\n").isprintable()
        assert words in told.err
        assert as_it_is(path.parent) == before
    with pytest.raises(JournalError):
        Store(path)
    assert as_it_is(path.parent) == before


# ---- whose it is ----


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _wal_of_another(path: Path) -> None:
    wal = path.with_name("journal-wal")
    wal.touch(mode=0o600)
    os.chown(wal, ANOTHER_USER, ANOTHER_USER)


PLACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link": (_link, "symbolic link"),
    "a second name": (lambda path: path.with_name("elsewhere").hardlink_to(path), "hard link"),
    "the group's": (lambda path: path.chmod(0o660), "fsGroupChangePolicy: OnRootMismatch"),
    "everybody's": (lambda path: path.chmod(0o606), "writable by others"),
    "a pipe": (_fifo, "not a regular file"),
    "a linked wal": (lambda path: path.with_name("journal-wal").symlink_to("nowhere"), "journal-wal"),
    "an undo file": (lambda path: path.with_name("journal-journal").write_bytes(b"\xd9\xd5"), "delete it"),
}


@POSIX
@pytest.mark.proves("faults", "the journal is a link, another user's, or writable by others")
@pytest.mark.parametrize("kind", PLACES)
def test_a_file_that_is_not_this_users_alone_is_refused_and_stays_as_it_is(
    kind: str, journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, words = PLACES[kind]
    change(journal)
    assert_refused(journal, words, capsys)


@ROOT
@pytest.mark.proves("faults", "the journal is a link, another user's, or writable by others")
@pytest.mark.parametrize("give_away", [lambda path: os.chown(path, ANOTHER_USER, ANOTHER_USER), _wal_of_another])
def test_a_file_of_another_user_is_refused_even_to_root(
    give_away: Callable[[Path], None], journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    give_away(journal)
    assert_refused(journal, "belongs to another user", capsys)


@POSIX
async def test_an_engine_says_so_and_sends_nothing(journal: Path) -> None:
    _link(journal)
    before = as_it_is(journal.parent)
    async with open_harness() as harness:
        with pytest.raises(JournalError, match="symbolic link"):
            async with harness.client(journal=journal):
                pass
        assert not harness.emulator.statistics().uploads
    assert as_it_is(journal.parent) == before


def test_what_is_no_journal_gets_no_file_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE batches (mine TEXT)")
    path.chmod(0o644)
    before = as_it_is(tmp_path)
    for opening in (Store, Ownership):
        with pytest.raises(JournalError, match="no journal of autobatcher"):
            opening(path)
    assert as_it_is(tmp_path) == before


def test_a_journal_that_a_program_has_only_begun_to_make_is_taken_for_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.touch(mode=0o600)
    before = as_it_is(tmp_path)
    with pytest.raises(JournalError, match="nothing in the file yet"):
        Store(path, is_read_only=True)
    assert as_it_is(tmp_path) == before


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_journal_in_a_folder_that_cannot_be_written_says_what_to_do(journal: Path) -> None:
    lock_file_of(journal).unlink(missing_ok=True)
    journal.parent.chmod(0o500)
    try:
        with pytest.raises(JournalError, match="copy it to another folder"):
            Store(journal, is_read_only=True)
    finally:
        journal.parent.chmod(0o700)


@POSIX
def test_the_lock_file_is_private_and_no_strangers(journal: Path) -> None:
    lock = lock_file_of(journal)
    Ownership(journal).release()
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    lock.chmod(0o644)
    Ownership(journal).release()
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    for mode, by in ((0o666, "others"), (0o660, "its group")):
        lock.chmod(mode)
        with pytest.raises(JournalError, match=f"writable by {by}"):
            Ownership(journal)
    lock.unlink()
    target = journal.with_name("precious")
    lock.symlink_to(target)
    with pytest.raises(JournalError, match="symbolic link"):
        Ownership(journal)
    assert not target.exists()


@POSIX
async def test_two_names_of_a_folder_are_one_lock(journal: Path) -> None:
    other = journal.parent.with_name("other")
    other.symlink_to(journal.parent)
    async with open_harness() as harness, harness.client(journal=journal):
        with pytest.raises(JournalError, match="in use"):
            async with harness.client(journal=other / journal.name):
                pass


# ---- what is in it ----


def _damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096 * 2)
        file.write(os.urandom(4096))


def _claim_pages(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(28)
        file.write((2**31 - 1).to_bytes(4, "big"))


def _empty_index(path: Path) -> None:
    """By which a batch is found, whose row is there: SQLite's quick check finds nothing wrong."""
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE tbl_name = 'batches' AND type = 'index'"
        (page,) = connection.execute(query).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    no_rows = b"\x0a" + bytes(4) + size.to_bytes(2, "big") + bytes(1)  # the header of a leaf
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(no_rows.ljust(size, b"\0"))


def _noise_in_schema(path: Path) -> None:
    """SQLite quotes it in its error, which Python cannot decode."""
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE lines", b"CREATE T\xa8BLE lines"))


def _sql(statement: str, *values: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(statement, values)

    return change


def _schema(statement: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(f"PRAGMA writable_schema = ON; {statement}")

    return change


DEEP = "[" * 100_000 + "]" * 100_000
ODD, FOREIGN = "not written by autobatcher alone", "no journal of autobatcher"
CONTENTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a number of requests that is text": (_sql("UPDATE batches SET request_count = 'many'"), ODD),
    "a negative count": (_sql("UPDATE batches SET completed = -5"), ODD),
    "a count of half a request": (_sql("UPDATE batches SET failed = 0.5"), ODD),
    "no end of time": (_sql("UPDATE batches SET changed_at = 9e999"), ODD),
    "a name that is a path": (_sql("UPDATE batches SET stamp = '../../etc'"), ODD),
    "a process that is a path": (_sql("UPDATE sessions SET process = '../../etc'"), ODD),
    "a number beyond integers": (_sql("UPDATE batches SET number = ?", 2**62), ODD),
    "an unknown stage": (_sql("UPDATE batches SET stage = 'paid'"), ODD),
    "models that are no JSON": (_sql("UPDATE batches SET models = '['"), ODD),
    "models that are deep": (_sql("UPDATE batches SET models = ?", DEEP), ODD),
    "models that are numbers": (_sql("UPDATE batches SET models = '[1]'"), ODD),
    "metadata that is a list": (_sql("UPDATE batches SET metadata = '[]'"), ODD),
    "a huge text": (_sql("UPDATE batches SET base_url = ?", "x" * 2_000_000), ODD),
    "a huge blob in a text": (_sql("UPDATE batches SET status = zeroblob(100000000)"), ODD),
    "a huge text behind a NUL": (_sql("UPDATE lines SET endpoint = CAST(zeroblob(100000000) || 'x' AS TEXT)"), ODD),
    "a name with a NUL": (_sql("UPDATE batches SET stamp = CAST(x'61002f2e2e' AS TEXT)"), ODD),
    "a row above the limit": (_sql("UPDATE lines SET body = zeroblob(300000000)"), ODD),
    "text that is no UTF-8": (_sql("UPDATE batches SET status = CAST(x'ff1b' AS TEXT)"), "UTF-8"),
    "a body that is text": (_sql("UPDATE answers SET body = 'text'"), ODD),
    "a digest that is a number": (_sql("UPDATE lines SET digest = 5"), ODD),
    "a status of -5": (_sql("UPDATE answers SET status_code = -5"), ODD),
    "a status of 10^18": (_sql("UPDATE answers SET status_code = 1000000000000000000"), ODD),
    "a trigger": (_sql("CREATE TRIGGER t AFTER DELETE ON batches BEGIN SELECT 1; END"), FOREIGN),
    "an index": (_sql("CREATE INDEX i ON batches (abs(number))"), FOREIGN),
    "a table more": (_sql("CREATE TABLE more (x)"), FOREIGN),
    "a generated column": (_sql("ALTER TABLE lines ADD COLUMN x AS (zeroblob(100000000))"), FOREIGN),
    "a view for a table": (
        _schema("DROP TABLE answers; CREATE VIEW answers AS SELECT 1 AS id, 2 AS status_code;"),
        FOREIGN,
    ),
    "a schema that does not parse": (
        _schema("UPDATE sqlite_master SET sql = 'CREATE TABLE lines (\x1b]0;x\x07' WHERE name = 'lines'"),
        "cannot be used",
    ),
    "a schema that is no text": (_noise_in_schema, "cannot be used"),
    "another application": (_sql("PRAGMA application_id = 7"), FOREIGN),
    "an older version than any": (_sql("PRAGMA user_version = -1"), FOREIGN),
    "a page of noise": (_damage, "damaged"),
    "an index without its rows": (_empty_index, "damaged"),
    "pages that are not there": (_claim_pages, "malformed"),
    "a file cut short": (lambda path: os.truncate(path, 5000), "malformed"),
}


@pytest.mark.proves("faults", "the journal is damaged, or not written by autobatcher alone")
@pytest.mark.parametrize("kind", CONTENTS)
def test_a_crafted_file_is_one_line_and_stays_as_it_is(
    kind: str, journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, words = CONTENTS[kind]
    change(journal)
    assert_refused(journal, words, capsys)


@pytest.mark.parametrize(
    "body",
    [DEEP.encode(), b"[NaN]", b"\xff\x1b]0;x\x07", b"[" + b"[]," * 1_000_000 + b"[]]"],
    ids=lambda body: len(body),
)
def test_bodies_of_any_form_are_shown_and_commands_in_them_are_not_obeyed(
    body: bytes, journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _sql("UPDATE lines SET body = ?", body)(journal)
    for arguments in ([], ["--json"]):
        assert main(["results", "--journal", str(journal), *arguments]) == 0
        told = capsys.readouterr().out
        assert told.isascii()
        assert "\x1b" not in told


@pytest.mark.real_time
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak of memory")
def test_a_large_crafted_body_takes_no_more_memory_than_a_few_of_its_size(journal: Path) -> None:
    _sql("UPDATE answers SET body = ?", b"[" + b"[]," * 10_000_000 + b"[]]")(journal)
    program = (
        "import re, sys; from pathlib import Path; from autobatcher.cli import main\n"
        f"code = main(['results', '--json', '--journal', {str(journal)!r}])\n"
        "peak = re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]\n"
        "print(code, int(peak) // 1000, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    code, megabytes = map(int, done.stderr.split())
    assert code == 0
    assert megabytes < 400  # decoded it would take more than twice as much
    assert len(done.stdout) > 30_000_000


def test_what_the_journal_writes_it_reads_again(tmp_path: Path) -> None:
    """Callers choose names of models, an upstream chooses ids and statuses: none of them may spoil the file."""
    path = tmp_path / "journal"
    longest = "\U0001f600\ud800" * 400_000
    with closing(Store(path)) as store:
        with store.transaction():
            record = a_record("one")
            names = ["m", "\ud800", longest, "last"]
            store.intend(
                type(record)(**{**{name: getattr(record, name) for name in record.__struct_fields__}, "models": names}),
                [(0, "/v1/embeddings", b"{}"), (1, "/v1/embeddings", b"{}")],
                is_hash_only=False,
            )
            store.answer([("one", 0, 200, b"{}", "r" * 3_000_000, True), ("one", 1, 42, b"{}", None, True)], now=1.0)
        with pytest.raises(OverflowError):
            store.update("one", now=1.0, status="s" * 3_000_000)
    with closing(Store(path, is_read_only=True)) as store:
        (found,) = store.batches()
        assert found.models == ["m", "\ud800"]
        assert [result.status_code for result in store.results("one")] == [200, None]


# ---- copied without its -wal file ----


@pytest.fixture
def in_use(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "folder" / "journal"
    path.parent.mkdir()
    with closing(Store(path)) as store:
        with store.transaction():
            store.intend(a_record("one"), [(0, "/v1/embeddings", b"{}")], is_hash_only=False)
        yield path


@pytest.mark.proves("faults", "a process dies while it moves what it wrote from a journal's -wal file into the journal")
def test_a_file_that_is_whole_only_with_its_wal_is_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SQLite repairs it when it opens it: what is in the -wal file counts, not what was half written."""
    written, torn = tmp_path / "written", tmp_path / "torn"
    store = Store(written)
    with store.transaction():
        store.begin_session("process-1", now=1.0)
        store.intend(a_record("one"), [(0, "/v1/embeddings", b'{"input":"%b"}' % (b"x" * 200_000))], is_hash_only=False)
        store.update("one", now=2.0, stage="created", batch_id="batch_1", status="in_progress")
    before, wal = written.read_bytes(), written.with_name("written-wal").read_bytes()
    store.close()
    torn.touch(mode=0o600)
    torn.write_bytes(written.read_bytes()[:4_096] + before[4_096:])  # its first page says that it is longer
    torn.with_name("torn-wal").touch(mode=0o600)
    torn.with_name("torn-wal").write_bytes(wal)
    with pytest.raises(sqlite3.DatabaseError), closing(sqlite3.connect(f"{torn.as_uri()}?immutable=1", uri=True)) as db:
        db.execute("SELECT * FROM sqlite_master").fetchall()
    assert main(["status", "--journal", str(torn)]) == 0
    assert "batch_1" in capsys.readouterr().out


@pytest.mark.proves("faults", "the journal was copied while it was in use, without its -wal file")
def test_a_copy_without_its_wal_is_told_once_and_used(
    in_use: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(in_use.read_bytes())
    copy.chmod(0o600)
    for _ in range(2):  # who only reads leaves an empty -wal file, which is none
        assert main(["status", "--journal", str(copy)]) == 0
        told = capsys.readouterr()
        assert told.err.count("\n") == 1
        assert "without the file copy-wal" in told.err
    Store(copy).close()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "without the file copy-wal" in caplog.text
    assert main(["status", "--journal", str(copy)]) == 0
    assert capsys.readouterr().err == ""
    Store(copy).close()
    assert len(caplog.records) == 1


def test_whole_copies_are_not_told_of(
    in_use: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("journal", "journal-wal"):
        (tmp_path / name).write_bytes(in_use.with_name(name).read_bytes())
        (tmp_path / name).chmod(0o600)
    assert main(["status", "--journal", str(tmp_path / "journal")]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert "1 batch," in told.out
    Store(tmp_path / "journal").close()
    assert not caplog.records
