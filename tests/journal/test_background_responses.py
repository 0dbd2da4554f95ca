"""Background responses outlive the proxy that began them, if it has a journal."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from typing import Any

import httpx
import pytest
import trio

from autobatcher.cli import main
from autobatcher.server import CallLimits
from tests.harness import Harness, open_harness, wait_for_event
from tests.journal.restarts import Program, Restarts
from tests.server.apps import plain, serving_with
from tests.server.test_background import PATH, posted, status_at_end

pytestmark = pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)


@asynccontextmanager
async def proxy(
    restarts: Restarts, harness: Harness, *, app: dict[str, Any] | None = None, **settings: Any
) -> AsyncGenerator[tuple[httpx.AsyncClient, Program]]:
    settings = {"cancel_active_batches_on_close": False, "batch_window_seconds": 10.0, **settings}
    async with (
        restarts.program(harness, **settings) as program,
        serving_with(program.client, **(app or {})) as served,
        plain(served) as http,
    ):
        yield http, program


def billed(harness: Harness) -> list[str]:
    return sorted(line.body["input"] for line in harness.emulator.statistics().lines if line.billed)


@pytest.mark.proves("faults", "background responses when the proxy is restarted")
@pytest.mark.parametrize("dies", [False, True])
async def test_each_is_made_once_across_a_restart_and_found_by_its_id(restarts: Restarts, dies: bool) -> None:
    async with open_harness(batch_seconds=60.0) as harness:
        async with proxy(restarts, harness) as (http, program):
            done = (await posted(http, input="done")).json()["id"]
            assert (await status_at_end(http, done))["status"] == "completed"
            cancelled = (await posted(http, input="cancelled")).json()["id"]
            assert (await http.post(f"{PATH}/{cancelled}/cancel")).json()["status"] == "cancelled"
            running = (await posted(http, input="running")).json()["id"]
            await wait_for_event(harness, "batch_submitted", 2)
            queued = (await posted(http, input="queued")).json()["id"]
            if dies:
                program.die()
        async with proxy(restarts, harness) as (http, _):
            for id_, text in ((done, "done"), (running, "running"), (queued, "queued")):
                found = await status_at_end(http, id_)
                assert (found["status"], found["id"]) == ("completed", id_)
                assert text in str(found["output"])
            assert (await http.get(f"{PATH}/{cancelled}")).json()["status"] == "cancelled"
            assert (await http.delete(f"{PATH}/{done}")).status_code == 200
        async with proxy(restarts, harness) as (http, _):
            assert (await http.get(f"{PATH}/{running}")).json()["status"] == "completed"
            assert (await http.get(f"{PATH}/{done}")).status_code == 404
        assert billed(harness) == ["done", "queued", "running"]


async def test_with_forwarded_keys_they_go_on_when_their_caller_asks(restarts: Restarts) -> None:
    own, other = ({"authorization": f"Bearer sk-{name}"} for name in ("one", "two"))
    async with open_harness() as harness:
        async with proxy(restarts, harness, app={"forward_keys": True}) as (http, _):
            id_ = (await posted(http, own)).json()["id"]
        async with proxy(restarts, harness, app={"forward_keys": True}) as (http, _):
            await trio.sleep(600)
            assert (await http.get(f"{PATH}/{id_}", headers=other)).status_code == 404
            await trio.sleep(600)
            assert not harness.bodies_sent()
            assert (await status_at_end(http, id_, own))["status"] == "completed"
    assert b"sk-one" not in restarts.path.read_bytes()


async def test_what_they_cannot_go_on_without_is_told(restarts: Restarts) -> None:
    async with open_harness() as harness:
        async with proxy(restarts, harness) as (http, _):
            lost = (await posted(http, {"x-tenant": "hush"})).json()["id"]
            late = (await posted(http, {"x-autobatcher-deadline": "10h"})).json()["id"]
            soon = (await posted(http, {"x-autobatcher-deadline": "10h"}, input="soon")).json()["id"]
        assert b"hush" not in restarts.path.read_bytes()
        with closing(sqlite3.connect(restarts.path)) as database, database:
            database.execute("UPDATE responses SET deadline = 1.0 WHERE id = ?", (late,))
        async with proxy(restarts, harness) as (http, _):
            error = (await status_at_end(http, lost))["error"]
            assert (error["code"], "x-tenant" in error["message"]) == ("lost_headers", True)
            assert (await status_at_end(http, late))["error"]["code"] == "deadline_missed"
            assert (await status_at_end(http, soon))["status"] == "completed"
    assert billed(harness) == ["soon"]


async def test_a_journal_of_hashes_keeps_none(restarts: Restarts) -> None:
    async with open_harness() as harness:
        async with proxy(restarts, harness, journal_hash_only=True) as (http, _):
            id_ = (await posted(http, input="a prompt")).json()["id"]
            assert (await status_at_end(http, id_))["status"] == "completed"
        assert b"a prompt" not in restarts.path.read_bytes()
        async with proxy(restarts, harness, journal_hash_only=True) as (http, _):
            assert (await http.get(f"{PATH}/{id_}")).status_code == 404


async def test_they_wait_for_room_after_a_restart(restarts: Restarts) -> None:
    async with open_harness() as harness:
        async with proxy(restarts, harness) as (http, _):
            ids = [(await posted(http, input=f"{number}")).json()["id"] for number in range(5)]
        async with proxy(restarts, harness, app={"limits": CallLimits(max_background=2)}) as (http, _):
            for id_ in ids:
                assert (await status_at_end(http, id_))["status"] == "completed"
    assert len(billed(harness)) == 5


async def test_they_can_be_forgotten_without_a_trace(restarts: Restarts, capsys: pytest.CaptureFixture[str]) -> None:
    async with open_harness() as harness, proxy(restarts, harness) as (http, _):
        done = (await posted(http, input="a secret")).json()["id"]
        assert (await status_at_end(http, done))["status"] == "completed"
        await posted(http, input="another secret")
    for flags, told in (((), "1 background response forgotten"), (("--force",), "1 background response forgotten")):
        assert main(["forget", "--all", *flags, "--journal", str(restarts.path)]) == 0
        assert told in capsys.readouterr().out
    assert b"a secret" not in restarts.path.read_bytes()
    assert b"another secret" not in restarts.path.read_bytes()


async def test_they_are_kept_as_long_as_answers_are(restarts: Restarts) -> None:
    async with open_harness() as harness:
        async with proxy(restarts, harness) as (http, _):
            done = (await posted(http, input="done")).json()["id"]
            assert (await status_at_end(http, done))["status"] == "completed"
        await trio.sleep(3600)
        async with proxy(restarts, harness, journal_retention_seconds=7200.0) as (http, _):
            assert (await http.get(f"{PATH}/{done}")).status_code == 200
        async with proxy(restarts, harness, journal_retention_seconds=3599.0) as (http, _):
            assert (await http.get(f"{PATH}/{done}")).status_code == 404
