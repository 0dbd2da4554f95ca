"""Background responses of proxies that share a journal: any of them can be asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
import trio

from tests.harness import Harness, open_harness, wait_for_event
from tests.journal.fleet.programs import Fleet, Member
from tests.journal.test_background_responses import billed
from tests.server.apps import plain, serving_with
from tests.server.test_background import PATH, posted, status_at_end

pytestmark = pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)


@asynccontextmanager
async def replica(fleet: Fleet, harness: Harness, **settings: Any) -> AsyncGenerator[tuple[httpx.AsyncClient, Member]]:
    async with (
        fleet.member(harness, **{"cancel_active_batches_on_close": False, **settings}) as member,
        serving_with(member.client) as served,
        plain(served) as http,
    ):
        yield http, member


async def status_of(http: httpx.AsyncClient, id_: str) -> str:
    return str((await http.get(f"{PATH}/{id_}")).json()["status"])


async def test_any_replica_tells_how_far_a_response_is_and_cancels_and_deletes_it(fleet: Fleet) -> None:
    async with (
        open_harness(batch_seconds=100.0) as harness,
        replica(fleet, harness) as (one, _),
        replica(fleet, harness) as (other, _),
    ):
        id_ = (await posted(one)).json()["id"]
        assert await status_of(other, id_) == "queued"
        await wait_for_event(harness, "batch_submitted")
        await trio.sleep(11)
        assert await status_of(other, id_) == "in_progress"
        found = await status_at_end(other, id_)
        assert (found["status"], found["id"]) == ("completed", id_)
        for number, end in enumerate(("cancel", "delete"), start=2):
            id_ = (await posted(one, input=end)).json()["id"]
            await wait_for_event(harness, "batch_submitted", number)
            if end == "cancel":
                assert (await other.post(f"{PATH}/{id_}/cancel")).json()["status"] == "cancelled"
            else:
                assert (await other.delete(f"{PATH}/{id_}")).json()["deleted"] is True
            await wait_for_event(harness, "batch_cancelled_upstream", number - 1)
            answers = [await http.get(f"{PATH}/{id_}") for http in (one, other)]
            assert [answer.json().get("status") for answer in answers] == (
                ["cancelled"] * 2 if end == "cancel" else [None] * 2
            )


@pytest.mark.proves("faults", "background responses when the replica dies that has them")
async def test_another_replica_goes_on_with_those_of_one_that_dies(fleet: Fleet) -> None:
    async with open_harness(batch_seconds=60.0) as harness, replica(fleet, harness) as (other, _):
        async with replica(fleet, harness) as (one, member):
            running = (await posted(one, input="running")).json()["id"]
            await wait_for_event(harness, "batch_submitted")
            queued = (await posted(one, input="queued")).json()["id"]
            member.die()
        for id_, text in ((running, "running"), (queued, "queued")):
            found = await status_at_end(other, id_)
            assert (found["status"], text in str(found["output"])) == ("completed", True)
        assert billed(harness) == ["queued", "running"]


async def test_an_idempotency_key_is_one_response_at_all_replicas(fleet: Fleet) -> None:
    async with open_harness() as harness, replica(fleet, harness) as (one, _), replica(fleet, harness) as (other, _):
        answers: list[httpx.Response] = []

        async def post(http: httpx.AsyncClient) -> None:
            answers.append(await posted(http, {"idempotency-key": "k"}))

        async with anyio.create_task_group() as nursery:
            for http in (one, other, one, other):
                nursery.start_soon(post, http)
        (id_,) = {answer.json()["id"] for answer in answers}
        assert (await posted(other, {"idempotency-key": "k"}, input="else")).status_code == 409
        for http in (one, other):
            assert (await status_at_end(http, id_))["status"] == "completed"
        assert billed(harness) == ["hello"]


async def test_those_of_another_account_are_left_alone(fleet: Fleet) -> None:
    async with open_harness() as harness, replica(fleet, harness, api_key="key-two") as (other, _):
        async with replica(fleet, harness) as (one, member):
            id_ = (await posted(one)).json()["id"]
            member.die()
        await trio.sleep(60)
        assert (await other.get(f"{PATH}/{id_}")).status_code == 404
        assert not harness.bodies_sent()
