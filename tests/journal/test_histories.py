"""What a review broke: histories in which a request was paid for twice, a batch lost, or a caller misled."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import anyio
import pytest

from autobatcher.emulator import BatchFault, FaultPlan, HttpFault
from autobatcher.engine.journal import at_exit
from tests.journal.lives import Lives, ask_all, billed
from tests.journal.test_reruns import _http_answer, die_after
from tests.worlds import ask, between, open_world, outcome_of, wait_for_event


class Failing:
    """Answers GETs whose path contains one of the texts with a status, while it is on."""

    def __init__(self, texts: Iterable[str], status: int) -> None:
        self.is_on = True
        self._texts, self._status = tuple(texts), status

    async def __call__(self, request: Any, send: Any) -> Any:
        if self.is_on and request.method == "GET" and any(text in request.url.path for text in self._texts):
            return await _http_answer(request, self._status)
        return await send(request)


async def test_a_batch_that_is_gone_does_not_take_its_stored_answers_along(lives: Lives) -> None:
    texts = [f"q{n}" for n in range(10)]
    async with open_world("doubleword", batch_seconds=100.0) as world:
        await die_after(world, lives, 60.0, texts)  # 5 answers are in the journal by now
        gone = Failing(world.emulator.statistics().running_batch_ids, 404)
        async with lives.life(world, http_client=between(world, gone)) as life:
            await ask_all(life.client, texts)  # 5 from the journal, 5 sent again: fine so far
            life.die()
        before = billed(world)
        async with lives.life(world, http_client=between(world, gone)) as life:
            await ask_all(life.client, texts)  # all 10 had been answered and stored
        assert billed(world) == before


async def test_a_batch_that_is_resumed_for_one_line_keeps_the_others(lives: Lives) -> None:
    async with open_world(batch_seconds=30.0) as world:
        forbidden = Failing([""], 403)
        async with lives.life(world, http_client=between(world, forbidden)) as life:
            async with anyio.create_task_group() as n:
                n.start_soon(outcome_of, ask(life.client, "a"))
                n.start_soon(outcome_of, ask(life.client, "b"))
            await anyio.sleep(100)
            forbidden.is_on = False
            await ask(life.client, "a")  # reads the batch's results, and forgets b's
            await anyio.sleep(100)
            await ask(life.client, "b")
        assert billed(world) == {"a": 1, "b": 1}


async def test_a_batch_that_all_left_and_one_came_back_to_keeps_the_others(lives: Lives) -> None:
    async with open_world(batch_seconds=75.0) as world, lives.life(world) as life:

        async def cut(text: str) -> None:
            with anyio.move_on_after(15):
                await ask(life.client, text)

        async with anyio.create_task_group() as n:
            n.start_soon(cut, "a")
            n.start_soon(cut, "b")
        await anyio.sleep(70)
        await ask(life.client, "a")
        await anyio.sleep(10)
        await ask(life.client, "b")
        assert billed(world) == {"a": 1, "b": 1}


async def test_one_404_on_the_list_repeats_no_creation(lives: Lives) -> None:
    faults = FaultPlan(
        (
            HttpFault(operation="batches.create", first=1, delay_seconds=5.0, after_processing=True),
            HttpFault(operation="batches.list", first=1, status=404),
        )
    )
    async with open_world(faults=faults, batch_seconds=20.0) as world:
        await die_after(world, lives, 3.0, ["a"])
        async with lives.life(world) as life:
            await ask(life.client, "a")
            await anyio.sleep(60)
        assert billed(world) == {"a": 1}


async def test_the_age_of_a_creation_counts_from_its_last_try(lives: Lives) -> None:
    faults = FaultPlan(
        (
            HttpFault(operation="batches.create", nth=(1,), status=503),
            HttpFault(operation="batches.create", nth=(2,), delay_seconds=10.0),
        )
    )
    async with open_world(faults=faults) as world, anyio.create_task_group() as outer:
        has_died = anyio.Event()

        async def first() -> None:
            async with lives.life(world, delete_input_files=False) as life, anyio.create_task_group() as nursery:
                nursery.start_soon(ask_all, life.client, ["a"])
                await anyio.sleep(48.0)  # 1st POST at 1 s: 503. 2nd at 46.5 s: takes 10 s
                for writer in life.writers:
                    writer.die()
                life.is_dead = True  # killed; what is on its way still arrives
                has_died.set()
                await anyio.sleep(60)
                nursery.cancel_scope.cancel()
                life.die()

        outer.start_soon(first)
        await has_died.wait()
        async with lives.life(world, delete_input_files=False) as life:
            await ask(life.client, "a")
        await anyio.sleep(100)
        assert billed(world) == {"a": 1}


@pytest.mark.parametrize("listed", [False, True])
async def test_a_line_that_failed_in_passing_goes_to_no_line_of_the_batch_that_has_just_ended(
    lives: Lives, listed: bool
) -> None:
    faults = FaultPlan(
        (BatchFault(nth=(1,), ends="expired", list_unfinished=listed, after=0.4 if not listed else 0.2),)
    )
    async with open_world(batch_seconds=100.0, faults=faults) as world, lives.life(world, max_retries=1) as life:

        async def leave() -> None:
            with anyio.move_on_after(10):
                await ask(life.client, "a")

        got: list[Any] = []

        async def stay() -> None:
            got.append(await outcome_of(ask(life.client, "a")))

        async with anyio.create_task_group() as n:
            n.start_soon(stay)
            await anyio.sleep(0.1)
            for _ in range(3 if listed else 1):
                n.start_soon(leave)
        assert isinstance(got[0], str), repr(got[0])


async def test_a_process_older_than_the_retention_that_ended_well_has_taken_its_answers(lives: Lives) -> None:
    async with open_world() as world:
        async with lives.life(world, journal_retention_seconds=100.0) as life:
            await ask(life.client, "z")  # opens the journal
            await anyio.sleep(150)  # a session older than the retention (7 days)
            await ask(life.client, "a")
        lives.end_well()
        async with lives.life(world, journal_retention_seconds=100.0) as life:
            await ask(life.client, "a")
        assert billed(world) == {"a": 2, "z": 1}


async def test_hash_only_finds_results_of_more_batches_than_it_remembers_as_read(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autobatcher.engine.returning.MOST_RECORDS", 2)
    async with open_world() as world:
        async with lives.life(world, batch_size=1, journal_hash_only=True) as life:
            await ask_all(life.client, "abcd")
            life.die()
        async with lives.life(world, batch_size=1, journal_hash_only=True) as life:
            for text in "dcba":
                await ask(life.client, text)
        assert set(billed(world).values()) == {1}


async def test_an_exception_counts_in_a_block_around_a_client_that_ran_before_it(lives: Lives) -> None:
    async with open_world() as world:
        lives.new_process()
        client = world.client(journal=lives.path)
        await ask(client, "a")  # starts the engine in the background

        async def fail() -> None:
            async with client:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        async with world.client(journal=lives.path) as client:
            await ask(client, "a")
        assert billed(world) == {"a": 1}


async def test_key_functions_are_told_apart_by_their_names(lives: Lives) -> None:
    async def key_a() -> str:
        return "key-a-aaaaaaaaaa"

    async def key_b() -> str:
        return "key-b-bbbbbbbbbb"

    async with open_world(batch_seconds=300.0) as world:
        owner: dict[str, str] = {}

        async def tenants(request: Any, send: Any) -> Any:  # no account sees another one's batches
            key = request.headers["authorization"]
            if any(batch in request.url.path and key != k for batch, k in owner.items()):
                return await _http_answer(request, 404)
            response = await send(request)
            if request.method == "POST" and request.url.path.endswith("/batches"):
                await response.aread()
                owner[response.json()["id"]] = key
            return response

        async with (
            lives.life(world, api_key=key_a, http_client=between(world, tenants)) as life,
            anyio.create_task_group() as n,
        ):
            n.start_soon(ask_all, life.client, ["a"])
            await wait_for_event(world, "batch_submitted")
            life.die()
        async with (
            lives.life(world, api_key=key_a, http_client=between(world, tenants)) as life,
            anyio.create_task_group() as n,
        ):
            n.start_soon(ask, life.client.copy(api_key=key_b), "b")
            await anyio.sleep(0.1)
            n.start_soon(ask, life.client, "a")
        assert billed(world) == {"a": 1, "b": 1}


async def test_a_password_in_the_base_url_is_not_in_the_file(lives: Lives) -> None:
    async with open_world() as world, lives.life(world, base_url="http://user:sekretpassword@upstream.test/v1") as life:
        await ask(life.client, "a")
        files = lives.path.parent.glob(lives.path.name + "*")
        assert not any(b"sekretpassword" in file.read_bytes() for file in files)


async def test_one_who_leaves_a_resumed_batch_does_not_leave_it_for_those_who_are_yet_to_come(lives: Lives) -> None:
    async with open_world(batch_seconds=1000.0) as world:
        await die_after(world, lives, 900.0, ["a", "b", "c"])
        async with lives.life(world) as life:
            with anyio.move_on_after(5):
                await ask(life.client, "a")
            await anyio.sleep(80)
            await ask_all(life.client, ["b", "c"])  # they took 80 s to come back
        assert not world.events_named("batch_cancel_requested")


async def test_the_minute_starts_anew_with_whoever_leaves_last(lives: Lives) -> None:
    async with open_world(batch_seconds=1e5) as world, lives.life(world, poll_interval_seconds=50.0) as life:
        with anyio.move_on_after(60):
            await ask(life.client, "a")
        await anyio.sleep(20)
        with anyio.move_on_after(20):
            await ask(life.client, "a")
        left_at = anyio.current_time()
        await wait_for_event(world, "batch_cancel_requested")
        assert anyio.current_time() - left_at >= 59.9  # 20.0


async def test_a_process_gets_no_answer_twice_although_another_one_looked_meanwhile(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_world() as world:
        async with lives.life(world) as life:
            await ask(life.client, "a")
        me = at_exit._IMPORTED
        async with lives.life(world) as life:  # another program, meanwhile
            await ask(life.client, "z")
        monkeypatch.setattr(at_exit, "_IMPORTED", me)
        async with world.client(journal=lives.path) as client:
            await ask(client, "a")
        assert billed(world) == {"a": 2, "z": 1}
