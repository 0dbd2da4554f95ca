"""How a session is lost, and comes back."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
from psycopg import errors

from autobatcher.engine.journal.failures import NotOurBatchError
from autobatcher.engine.journal.postgres.connection import PostgresConnection, connect
from autobatcher.engine.journal.postgres.errors import is_server_failure
from autobatcher.engine.journal.postgres.pooler import Glimpse, is_pooled_by_transaction
from autobatcher.engine.journal.postgres.schema import MIGRATIONS, migrate
from autobatcher.engine.journal.postgres.shared_store import SharedStore
from autobatcher.engine.journal.postgres.store import PostgresStore
from autobatcher.engine.journal.shared_journal import SharedJournal
from autobatcher.engine.journal.transactions import Job, Statement, Transactions
from autobatcher.errors import JournalError
from tests.journal.postgres.stores import Stores, an_answer, cut, digest, do, write_batch
from tests.journal.records import a_record
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.real_time

IDLE_SECONDS = 1.0


def test_a_lost_connection_comes_back_with_its_lock(stores: Stores) -> None:
    store, other = stores.open(), stores.open()
    write_batch(store, "one", [b"a"])
    for use in (PostgresStore.heartbeat, PostgresStore.batches):
        cut(store)
        assert [each.is_alive for each in other.sessions()] == [False, True]
        do(store, use) if use is PostgresStore.batches else use(store)
        assert [each.is_alive for each in other.sessions()] == [True, True]
    assert store.losses == 2

    def write(store: PostgresStore) -> None:
        cut(store)
        store.update("one", now=5.0, stage="creating")

    with pytest.raises(JournalError, match="cannot be used"):
        do(store, write)
    assert store.batches()[0].stage == "created"


@pytest.mark.proves("faults", "a program is started again before the server has seen that it was killed")
def test_a_session_begins_only_when_those_of_processes_that_are_gone_have_ended(stores: Stores) -> None:
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    left = stores.open()
    write_batch(left, "one", [b"a"])
    left._do("UPDATE sessions SET pid = %s", (killed.pid,))
    begun = time.monotonic()
    threading.Timer(1.0, left.close).start()
    with closing(SharedStore(stores.url, "again", now=0.0, on_interrupted=_ignore, on_news=_ignore)) as again:
        assert 1.0 <= time.monotonic() - begun < 4.0
        assert do(again, PostgresStore.claim, [digest(b"a")]) != [None]


@pytest.mark.proves("faults", "a process is stopped in the middle of a transaction of a shared journal")
def test_a_process_that_is_stopped_in_a_transaction_loses_its_session(stores: Stores) -> None:
    """The server waits for the rest of a pipeline without a timeout."""
    stopped, other = (stores.open(idle_seconds=IDLE_SECONDS) for _ in range(2))
    write_batch(stopped, "one", [b"a"])
    with pytest.raises(JournalError, match="cannot be used"):
        do(stopped, _stop_until, lambda: do(other, PostgresStore.claim, [digest(b"a")]) != [None])


def _stop_until(stopped: PostgresStore, is_over: Callable[[], bool]) -> None:
    stopped.drop("another", 0)  # the server has heard of it
    deadline = time.monotonic() + 10
    while not is_over():
        assert time.monotonic() < deadline
        time.sleep(IDLE_SECONDS / 5)


def test_an_old_connection_that_the_server_still_keeps_is_ended(stores: Stores) -> None:
    store, other = stores.open(), stores.open()
    ghost = store._db  # the server does not know that it is lost
    store._db = connect(stores.url)
    store._db.close()
    store.heartbeat()
    assert [each.is_alive for each in other.sessions()] == [True, True]
    with pytest.raises(psycopg.OperationalError):
        ghost.execute("SELECT 1")


def test_a_stopped_process_loses_its_session(stores: Stores) -> None:
    program = (
        "import sys, time\n"
        "from autobatcher.engine.journal.postgres.store import PostgresStore\n"
        "store = PostgresStore(sys.argv[1], idle_seconds=1.0)\n"
        "with store.transaction(): store.begin_session('p', now=0.0)\n"
        "print(store.session, flush=True)\n"
        "while True: store.heartbeat(); time.sleep(0.2); print(store.losses, flush=True)\n"
    )
    watcher = stores.open()
    with subprocess.Popen([sys.executable, "-c", program, stores.url], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        number = int(process.stdout.readline())
        time.sleep(1.5)  # heartbeats keep it

        def is_alive() -> bool:
            return next(each.is_alive for each in watcher.sessions() if each.number == number)

        assert is_alive()
        process.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        while is_alive():
            time.sleep(0.05)
        assert time.monotonic() - stopped < IDLE_SECONDS + 2
        process.send_signal(signal.SIGCONT)
        while process.stdout.readline() != "1\n":
            pass
        assert is_alive()
        process.kill()


def test_a_commit_whose_end_nobody_heard_is_looked_up(stores: Stores) -> None:
    for commits in (True, False):
        store = stores.open()
        key = f"commits {commits}"
        real = store._db

        class Lossy:
            """Loses the connection as soon as the commit is sent, or just before."""

            def __getattr__(self, name: str, real: Any = real) -> Any:
                return getattr(real, name)

            def execute(self, statement: Any, *rest: Any, real: Any = real, commits: bool = commits) -> Any:
                if statement != "COMMIT":
                    return real.execute(statement, *rest)
                if commits:
                    real.execute(statement)
                    self.__dict__["ended"] = True
                    with real.pipeline() as pipeline:
                        pipeline.sync()
                real.close()
                raise psycopg.OperationalError("the connection is lost")

        store._db = Lossy()  # type: ignore[assignment]
        if commits:
            do(store, PostgresStore.intend, a_record(key), [], is_hash_only=False)
        else:
            with pytest.raises(JournalError):
                do(store, PostgresStore.intend, a_record(key), [], is_hash_only=False)
        assert (key in [record.idempotency_key for record in store.batches()]) == commits


def test_a_journal_survives_a_restart_of_its_server(stores: Stores, postgres: PostgresServer) -> None:
    store = stores.open()
    write_batch(store, "one", [b"a"])
    postgres.stop()
    with pytest.raises(JournalError):
        store.heartbeat()
    with pytest.raises(JournalError):
        do(store, PostgresStore.batches)
    postgres.start()
    do(store, PostgresStore.answer, [an_answer("one", 0)], now=1.0)
    assert store.batches()[0].answered == 1
    assert store.lost_batches(["one"]) == {}


def test_a_server_failure_is_told_from_that_of_a_statement() -> None:
    at_fault = (
        JournalError("x"),
        psycopg.OperationalError(),
        psycopg.errors.DiskFull(),
        psycopg.errors.AdminShutdown(),
    )
    innocent = (NotOurBatchError("x"), psycopg.DataError(), psycopg.IntegrityError(), errors.DeadlockDetected())
    assert [is_server_failure(each) for each in (*at_fault, *innocent)] == [True] * 4 + [False] * 4


async def test_a_lost_session_is_told_where_there_is_a_clock(stores: Stores) -> None:
    journal, told = SharedJournal(stores.url, patience_seconds=5.0, retention_seconds=60.0), anyio.Event()

    def note() -> None:
        assert anyio.current_time() > 0.0
        told.set()

    journal.on_interrupted = note
    await journal.open()
    try:
        with connect(stores.url) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid = ANY "
                "(SELECT pid FROM pg_locks WHERE locktype = 'advisory')"
            )
        assert await journal.lost_batches([]) == {}
        with anyio.fail_after(5):
            await told.wait()
    finally:
        await journal.close(None)


@pytest.mark.proves("faults", "two engines that share a journal wait for rows of each other")
def test_transactions_that_wait_for_one_another_are_both_done(stores: Stores) -> None:
    met = threading.Barrier(2)
    one, two = (SharedStore(stores.url, "process", now=0.0, on_interrupted=_ignore, on_news=_ignore) for _ in range(2))
    write_batch(one, "one", [b"a", b"b"])

    def free(store: SharedStore, first: int) -> list[Job]:
        def meet(store: SharedStore) -> None:
            store.batches()  # it has been freed by now
            with suppress(threading.BrokenBarrierError):  # the second time nobody else comes
                met.wait(5)
            met.abort()

        steps: list[Statement] = [partial(_touch, number=first), meet, partial(_touch, number=1 - first)]
        jobs = [Job(step) for step in steps]
        Transactions(store).do(jobs)
        return jobs

    with ThreadPoolExecutor(2) as pool, closing(one), closing(two):
        done = [pool.submit(free, store, first) for first, store in enumerate((one, two))]
        assert [job.failure for each in done for job in each.result()] == [None] * 6


def _touch(store: PostgresStore, *, number: int) -> None:
    store._do("UPDATE lines SET endpoint = endpoint WHERE id %% 2 = %s", (number,))


def _ignore(*news: str) -> None:
    pass


def test_many_that_migrate_at_once_make_one_schema(postgres: PostgresServer) -> None:
    schema = postgres.new_name()
    url = postgres.url(schema)
    done: list[bool] = []
    barrier = threading.Barrier(4)

    def run() -> None:
        with connect(url) as connection:
            barrier.wait()
            done.append(migrate(connection, schema, "shown"))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [False, False, False, True]
    PostgresConnection(url).close()
    postgres.execute(f"UPDATE {schema}.schema_version SET version = {len(MIGRATIONS) + 1}")
    with pytest.raises(JournalError, match="update it"):
        PostgresConnection(url)


def test_a_schema_that_is_no_journal_is_left_alone(postgres: PostgresServer) -> None:
    schema = postgres.new_name()
    postgres.execute(f"CREATE SCHEMA {schema}")
    with pytest.raises(JournalError, match="journal migrate"):
        PostgresConnection(postgres.url(schema))
    postgres.execute(f"CREATE TABLE {schema}.batches (n int)")
    with connect(postgres.url(schema)) as connection, pytest.raises(JournalError, match="not of a journal"):
        migrate(connection, schema, "shown")


@pytest.mark.parametrize(
    ("processes", "has_lock", "others", "is_refused"),
    [
        ([7, 7, 7], True, [], False),
        ([7, 7, 7], True, [8, 9], False),
        ([7, 8, 7], True, [], True),
        ([7, 7, 7], False, [], True),
        ([7, 7, 7], True, [7], True),
    ],
)
def test_a_pooler_by_transaction_is_known(
    processes: list[int], has_lock: bool, others: list[int], is_refused: bool
) -> None:
    glimpses = [Glimpse(process, has_lock) for process in processes]
    assert is_pooled_by_transaction(glimpses, others) == is_refused


@pytest.fixture(params=["transaction", "session"])
def pooler(request: pytest.FixtureRequest, postgres: PostgresServer, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A PgBouncer, and its port."""
    from tests.postgres_server import _free_port

    program = Path("/usr/sbin/pgbouncer")
    if not program.exists():
        pytest.skip("pgbouncer is not installed")
    port = _free_port()
    (postgres.directory / "pgbouncer.ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={postgres.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nauth_type = any\nunix_socket_dir =\npool_mode = {request.param}\n"
        "[databases]\npostgres = host=127.0.0.1 port=%d user=postgres\n" % postgres.port
    )
    with subprocess.Popen(
        [program, "-q", postgres.directory / "pgbouncer.ini"], user=postgres.user, stderr=subprocess.DEVNULL
    ) as process:
        yield request.param, port
        process.terminate()


def test_pgbouncer_is_refused_in_transaction_mode_and_taken_in_session_mode(
    stores: Stores, postgres: PostgresServer, pooler: tuple[str, int]
) -> None:
    mode, port = pooler
    schema = stores.url.partition("schema=")[2]
    url = postgres.url(schema, port=port)
    deadline = time.monotonic() + 10
    while True:
        try:
            store = stores.open(url)
            break
        except JournalError:
            if time.monotonic() > deadline:
                raise
    if mode == "session":
        store.refuse_poolers()
        write_batch(store, "one", [b"a"])
    else:
        with pytest.raises(JournalError, match="transaction mode"):
            store.refuse_poolers()
