"""Canaries through a journal on PostgreSQL: the password of its URL, whatever keeps it from being opened."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from autobatcher import BatchOpenAISync
from autobatcher.cli import main
from autobatcher.errors import JournalError
from tests.harness import ask, open_harness, outcome_of
from tests.postgres_server import GUARDED, PASSWORD, PostgresServer

from .canaries import Exits

pytestmark = pytest.mark.real_time

COMMANDS = (
    ["status"],
    ["results"],
    ["receipt"],
    ["forget", "--all"],
    ["journal", "check"],
    ["journal", "migrate"],
)


def failing(server: PostgresServer) -> Iterator[tuple[str, str]]:
    """URLs that cannot be used, by what is wrong."""
    strange, bare = server.new_name(), server.new_name()
    server.execute(f"CREATE SCHEMA {strange}; CREATE TABLE {strange}.t (); CREATE ROLE {bare} LOGIN")
    yield "nobody listens", server.url(port=1)
    yield "an unknown host", server.url(host="nowhere.invalid")
    yield "a wrong password", server.url(user=GUARDED)
    yield "an unknown role", server.url(user="nobody")
    yield "an unknown database", server.url(database="nowhere")
    yield "a schema of others", server.url(strange)
    yield "no rights", server.url(server.new_name(), user=bare)
    for wrong in ("unknown=1", "sslmode=wrong", "connect_timeout=wrong", "port=99999999", "options=-wrong"):
        yield wrong, f"{server.url()}?{wrong}"


async def test_whatever_keeps_a_journal_from_being_opened_its_password_is_told_to_nobody(
    postgres: PostgresServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for name, url in failing(postgres):
        exits = Exits()
        async with open_harness() as harness:
            client = harness.client(journal=url)
            exits.add("repr", f"{client!r} {vars(client)!r}")
            outcome = await outcome_of(_used(client))
            assert isinstance(outcome, JournalError), (name, outcome)
            exits.add_outcome("the client", outcome)
            exits.add("events", harness.events)
        capfd.readouterr()
        for command in COMMANDS:
            assert main([*command, url] if "journal" in command else [*command, "--journal", url]) != 0, (name, command)
            told = capfd.readouterr()
            assert (told.out + told.err).count("\n") == 1 or command[-1] == "check", (name, told)
            exits.add(" ".join(command), told.out + told.err)
        exits.add("logs", caplog.text)
        caplog.clear()
        exits.check(PASSWORD)


async def _used(client: object) -> str:
    async with client:  # type: ignore[attr-defined]
        return await ask(client, "hello")  # type: ignore[arg-type]


def test_the_sync_client_lets_no_password_out_either(postgres: PostgresServer) -> None:
    exits = Exits()
    url = postgres.url(user=GUARDED)
    with BatchOpenAISync(api_key="k", base_url="http://upstream.test/v1", journal=url) as client:
        exits.add("repr", f"{client!r} {vars(client)!r}")
        with pytest.raises(JournalError) as raised:
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
    exits.add_outcome("the sync client", raised.value)
    exits.check(PASSWORD)
