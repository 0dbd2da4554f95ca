"""Journals: a well-formed one, and what a stranger makes of it."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import httpx
import msgspec

from autobatcher import BatchOpenAI
from autobatcher.client.sdk import account_behind
from autobatcher.engine.journal import BatchRecord
from autobatcher.engine.journal.identity import fingerprint
from autobatcher.engine.journal.store import Store

from .mutation import mutated_bytes, odd_value, written

KEY = "fuzz-key"
BODY = b'{"model":"m","input":"line %d"}'
LONG_AGO = 1_700_000_000.0
"""Old enough that no command waits for a creation to become visible."""

LINES = 3

LARGEST_BYTES = 200_000_000
"""Of a file. SQLite writes no page beyond it: `zeroblob` in each row of a crafted table would fill the disk."""


def make_journal(path: Path, url: str) -> None:
    """A journal with a batch in each stage; that which was created exists upstream, and has ended."""
    account = fingerprint(account_behind(BatchOpenAI(base_url=url, api_key=KEY)))
    with closing(Store(path)) as store, store.transaction():
        store.begin_session("fuzz", now=LONG_AGO)
        for stage in ("intended", "creating", "created", "ended", "created"):
            key = f"{len(store.batches()):032x}"
            store.intend(_record(key, account, url), _lines(), is_hash_only=False)
            batch_id = _create(url, key) if stage == "created" else "batch_gone" if stage == "ended" else None
            store.update(key, now=LONG_AGO, stage=stage, batch_id=batch_id, file_id="file-1")
            if stage == "ended":
                store.answer([(key, n, 200, b'{"object":"list"}', "req", bool(n)) for n in range(2)], now=LONG_AGO)


def _lines() -> list[tuple[int, str, bytes]]:
    return [(number, "/v1/embeddings", BODY % number) for number in range(LINES)]


def _record(key: str, account: bytes, url: str) -> BatchRecord:
    return BatchRecord(
        idempotency_key=key,
        account=account,
        base_url=url,
        provider="openai",
        endpoint="/v1/embeddings",
        completion_window="24h",
        models=["m"],
        metadata={"a": "b"},
        request_count=LINES,
        created_at=LONG_AGO,
        changed_at=LONG_AGO,
    )


def _create(url: str, key: str) -> str:
    """The batch upstream."""
    lines = [
        {"custom_id": f"{key}-{number}", "method": "POST", "url": endpoint, "body": msgspec.Raw(body)}
        for number, endpoint, body in _lines()
    ]
    content = b"\n".join(map(msgspec.json.encode, lines))
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {KEY}"}, trust_env=False) as http:
        uploaded = http.post("/files", data={"purpose": "batch"}, files={"file": (f"{key}.jsonl", content)}).json()
        body = {"input_file_id": uploaded["id"], "endpoint": "/v1/embeddings", "completion_window": "24h"}
        created: str = http.post("/batches", json={**body, "metadata": {"autobatcher_stamp": key}}).json()["id"]
    return created


def flip(path: Path, random: Random) -> None:
    """Bytes, anywhere in the file."""
    path.write_bytes(mutated_bytes(path.read_bytes(), random))


def pages(path: Path, random: Random) -> None:
    """Two pages swapped, or one of zeros, or the end of the file lost."""
    content = bytearray(path.read_bytes())
    one, other = (4096 * random.randrange(len(content) // 4096) for _ in range(2))
    match random.randrange(3):
        case 0:
            content[one : one + 4096], content[other : other + 4096] = (
                content[other : other + 4096],
                content[one : one + 4096],
            )
        case 1:
            content[one : one + 4096] = bytes(4096)
        case _:
            del content[one:]
    path.write_bytes(content)


def header(path: Path, random: Random) -> None:
    content = bytearray(path.read_bytes())
    content[random.randrange(16, min(100, len(content)))] = random.choice([0, 1, 2, 0x7F, 0xFF])
    path.write_bytes(content)


COLUMNS: dict[str, tuple[str, ...]] = {
    "batches": (
        *("number", "stamp", "account", "base_url", "provider", "endpoint", "completion_window", "models", "metadata"),
        *("request_count", "stage", "file_id", "batch_id", "status", "completed", "failed", "created_at", "changed_at"),
    ),
    "lines": ("id", "digest", "endpoint", "body"),
    "answers": ("id", "status_code", "request_id", "answered_at", "taken_by", "body"),
    "sessions": ("number", "process", "host", "pid", "opened_at", "ending"),
}


def values(path: Path, random: Random) -> None:
    """Odd values in rows, of any type. Half of the files keep their tables, which refuse NULL alone."""
    with _opened(path) as database:
        if random.random() < 0.5:
            _loosen(database)
        for _ in range(random.choice([1, 1, 3])):
            table = random.choice(list(COLUMNS))
            column = random.choice(COLUMNS[table])
            where = random.choice(["", f" WHERE rowid = (SELECT max(rowid) FROM {table})"])
            with suppress(sqlite3.Error):  # two rows may not have the same number
                database.execute(f"UPDATE {table} SET {column} = {random.choice(EXPRESSIONS)}{where}", [_value(random)])


EXPRESSIONS = ("?", "?", "?", "CAST(? AS BLOB)", "CAST(? AS TEXT)", "CAST(? AS INTEGER)", "zeroblob(30000000) || ?")


def _value(random: Random) -> Any:
    """What SQLite takes. Never a moment of today: a batch that was just created is looked up for a minute."""
    text = written(odd_value(random, 3_000_000))
    with suppress(ValueError, OverflowError, RecursionError):
        value = json.loads(text)
        if value is None or (isinstance(value, str | int | float) and abs(int(value)) < 2**40):
            return value if not isinstance(value, str) else value.encode("utf-8", "surrogatepass")
    return random.choice(
        [text, b"\xff\xfe", b"\x1b]0;title\x07", b"[" * 100_000, None, -1, "\x1b[2J", "../..", 2**63 - 1]
    )


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The file, which does not become larger than `LARGEST_BYTES`."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        (page_bytes,) = database.execute("PRAGMA page_size").fetchone()
        database.execute(f"PRAGMA max_page_count = {LARGEST_BYTES // page_bytes}")
        yield database


def _loosen(database: sqlite3.Connection) -> None:
    """Take NOT NULL and types away: the columns take anything."""
    for table, columns in COLUMNS.items():
        database.execute(f"CREATE TABLE loose ({', '.join(columns)})")
        database.execute(f"INSERT INTO loose SELECT {', '.join(columns)} FROM {table}")
        database.execute(f"DROP TABLE {table}")
        database.execute(f"ALTER TABLE loose RENAME TO {table}")


SCHEMA_CHANGES = (
    "DROP TABLE answers",
    "DROP TABLE lines",
    "ALTER TABLE batches RENAME COLUMN stamp TO stomp",
    "ALTER TABLE batches ADD COLUMN more DEFAULT 5",
    "ALTER TABLE lines DROP COLUMN body",
    "PRAGMA user_version = 0",
    "PRAGMA user_version = 99",
    "PRAGMA user_version = -1",
    "CREATE TRIGGER t AFTER DELETE ON lines BEGIN DELETE FROM batches; END",
    "CREATE TRIGGER t BEFORE UPDATE ON batches BEGIN SELECT RAISE(IGNORE); END",
    "CREATE TRIGGER t AFTER INSERT ON sessions BEGIN UPDATE batches SET base_url = 'http://evil.example/v1'; END",
    "CREATE TRIGGER t AFTER UPDATE ON batches BEGIN INSERT INTO sessions(process, host, pid, opened_at) "
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 3000000) SELECT x, 'h', 1, 1.0 FROM n; END",
    "CREATE VIEW v AS SELECT * FROM batches",
    "CREATE INDEX i ON lines (hex(body))",
    "ALTER TABLE answers RENAME TO a; CREATE VIEW answers AS SELECT * FROM a",
    "ALTER TABLE lines RENAME TO l; CREATE TABLE lines (id, digest, endpoint, "
    "body GENERATED ALWAYS AS (zeroblob(400000000)) VIRTUAL); INSERT INTO lines SELECT id, digest, endpoint FROM l",
    "INSERT INTO lines WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 300000) "
    "SELECT x + 4294967500, x'00', '/v1/embeddings', '{}' FROM n",
    "PRAGMA page_size = 65536; VACUUM",
    "PRAGMA auto_vacuum = 1; VACUUM",
    "PRAGMA encoding = 'UTF-16'; VACUUM",
    "PRAGMA application_id = 7",
)


def schema(path: Path, random: Random) -> None:
    with _opened(path) as database:
        database.executescript(random.choice(SCHEMA_CHANGES))


def companions(path: Path, random: Random) -> None:
    """A write-ahead log, or a rollback journal, that belongs to nothing."""
    name = random.choice(["-wal", "-journal", "-shm", "-lock", ".lock"])
    Path(f"{path}{name}").write_bytes(random.choice([b"", b"x" * 5000, random.randbytes(33_000), path.read_bytes()]))


def foreign(path: Path, random: Random) -> None:
    """The file of somebody else: no command may change it."""
    path.unlink()
    match random.randrange(5):
        case 0:
            with closing(sqlite3.connect(path)) as database:
                database.executescript("CREATE TABLE mail (id); INSERT INTO mail VALUES (1)")
        case 1:
            path.write_bytes(
                random.choice([b"dear diary\n", b"\0" * 5000, b"SQLite format 3\0", random.randbytes(9000)])
            )
        case 2:
            path.mkdir()
        case 3:
            os.mkfifo(path)
        case _:
            path.symlink_to("/nowhere/at/all")


MUTATIONS: dict[str, Callable[[Path, Random], None]] = {
    "flip": flip,
    "pages": pages,
    "header": header,
    "values": values,
    "more values": values,
    "schema": schema,
    "companions": companions,
    "foreign": foreign,
}
