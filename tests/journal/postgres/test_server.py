"""The server that these tests run on."""

from __future__ import annotations

import pytest

from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.real_time


def test_what_was_committed_outlives_a_crash_and_a_restart(postgres: PostgresServer) -> None:
    name = postgres.new_name()
    postgres.execute(f"CREATE TABLE {name} (n int)")
    postgres.crash()
    postgres.start()
    postgres.execute(f"INSERT INTO {name} VALUES (1)")
    postgres.restart()
    assert postgres.execute(f"SELECT n FROM {name}") == [(1,)]
