"""Programs that lose the database, and find it again."""

from __future__ import annotations

import anyio

from tests.harness import ask, open_harness, wait_for_event
from tests.journal.fleet.programs import Fleet, Member
from tests.journal.restarts import ask_all, billed

TEXTS = ["a", "b", "c"]


async def _lose_later(member: Member, fleet: Fleet) -> None:
    await anyio.sleep(20)
    await member.lose_session(fleet.url, 10)


async def test_requests_wait_on_for_their_batch_when_another_program_has_adopted_it(fleet: Fleet) -> None:
    async with (
        open_harness(batch_seconds=100) as harness,
        fleet.member(harness) as first,
        fleet.member(harness) as other,
        anyio.create_task_group() as nursery,
    ):
        await ask(other.client, "knows the account")
        nursery.start_soon(_lose_later, first, fleet)
        assert await ask_all(first.client, TEXTS) == TEXTS
        await wait_for_event(harness, "batch_resumed")
        assert set(billed(harness).values()) == {1}
