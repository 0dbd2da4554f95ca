"""One session: replicas behind nginx, an upstream, a database, clients, and events."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import trio

from . import events, journals
from .clients import Asked, Client
from .diary import Diary
from .fate import Fate
from .nginx import nginx, read_passed_on
from .replica import Replica
from .upstream import Found, found_by, upstream
from .verdict import Verdict, explain, judge, receipt_failure, tell_all

FINISH_SECONDS = 240.0
"""After the last event: until the last answer."""

QUIET_SECONDS = 90.0
"""After the last answer: until nothing is left upstream. A batch that all left is cancelled a minute later."""

RECEIPT_SECONDS = 30.0
"""After that: until the receipt is right."""


@dataclass(frozen=True)
class Plan:
    """A session.

    Attributes:
        journal: "postgres", "sqlite" (a file for each replica) or "off".
        mean_gap: between two events, in seconds.
        longest: the longest that an event lasts, in seconds.
        patience: of the clients: the shortest and the longest timeout, in seconds.
        batch_seconds: the median of what batches take, and their 90th percentile.
        shortens: whether lost creations are looked up for 0.3 s instead of 45.
        is_stubborn: whether clients try again even if they are told not to.
    """

    seed: int
    events: int
    clients: int
    replicas: int = 3
    journal: str = "postgres"
    mean_gap: float = 1.5
    longest: float = 60.0
    patience: tuple[float, float] = (1.0, 6.0)
    batch_seconds: tuple[float, float] = (2.0, 6.0)
    shortens: bool = False
    is_stubborn: bool = False


async def run(plan: Plan, folder: Path, tell: Callable[[str], None]) -> Verdict:
    """Run it. All logs are in `folder`; `tell` gets lines about the progress, and what to read after a failure."""
    diary = Diary(folder / "diary.log")
    drawn = events.draw(
        plan.seed,
        plan.events,
        replicas=plan.replicas,
        has_database=plan.journal == "postgres",
        mean_gap=plan.mean_gap,
        longest=plan.longest,
    )
    try:
        async with (
            upstream(*plan.batch_seconds) as base_url,
            journals.opened(plan.journal, folder, plan.replicas) as kept,
        ):
            replicas = _replicas(plan, base_url, kept, diary)
            fate = Fate(replicas, kept, diary)
            session = _Session(plan, replicas, fate, base_url, kept, tell)
            return await session.run(folder, drawn, diary)
    finally:
        diary.close()


class _Session:
    def __init__(
        self,
        plan: Plan,
        replicas: Sequence[Replica],
        fate: Fate,
        base_url: str,
        kept: journals.NoJournals | journals.SharedJournal,
        tell: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._replicas = replicas
        self._fate = fate
        self._base_url = base_url
        self._kept = kept
        self._tell = tell
        self._asked: list[Asked] = []
        self._goes_on = True
        self._begun = time.monotonic()

    async def run(self, folder: Path, drawn: Sequence[events.Event], diary: Diary) -> Verdict:
        (port,) = free_ports(1)
        async with trio.open_nursery() as nursery, nginx(folder, port, [each.port for each in self._replicas]):
            for replica in self._replicas:
                nursery.start_soon(replica.run)
            for replica in self._replicas:
                assert await replica.wait_until_up(), f"{replica.name} did not start:\n{replica.last_words}"
            nursery.start_soon(self._tell_progress)
            await self._ask_all(port, drawn)
            found, unfinished = await self._quiet()
            receipt = await self._wrong_receipt(found)
            for replica in self._replicas:
                await replica.close()
            found = await found_by(self._base_url)
            nursery.cancel_scope.cancel()
        verdict = judge(self._asked, found, unfinished, [*self._other_failures(), *receipt])
        passed_on = read_passed_on(folder)
        self._tell_end(verdict, found, drawn, diary, passed_on)
        (folder / "guilty.log").write_text("\n".join(tell_all(verdict.guilty, found, diary, passed_on)))
        return verdict

    async def _ask_all(self, port: int, drawn: Sequence[events.Event]) -> None:
        """Returns when all is over and answered, or after a long time."""
        dice = Random(self._plan.seed + 1)
        async with trio.open_nursery() as nursery:
            for number in range(self._plan.clients):
                client = Client(
                    number, port, Random(dice.random()), self._plan.patience, is_stubborn=self._plan.is_stubborn
                )
                nursery.start_soon(client.run, self._asked, lambda: self._goes_on)
            await self._fate.play(drawn)
            self._goes_on = False
            nursery.cancel_scope.deadline = trio.current_time() + FINISH_SECONDS

    async def _quiet(self) -> tuple[Found, int]:
        """What is left once nothing happens any more, or after a long time."""
        deadline = trio.current_time() + QUIET_SECONDS
        while True:
            found, unfinished = await found_by(self._base_url), await self._kept.unfinished()
            is_quiet = not found.running and not found.input_files and not unfinished
            if is_quiet or trio.current_time() > deadline:
                return found, unfinished
            await trio.sleep(1.0)

    async def _wrong_receipt(self, found: Found) -> list[str]:
        """What is wrong with what a replica says of all costs; it counts what is in its journal, and tells it late."""
        if self._plan.journal == "off" or (self._plan.journal == "sqlite" and self._plan.replicas > 1):
            return []
        failure: str | None = "no receipt was to be had"
        with trio.move_on_after(RECEIPT_SECONDS):
            while failure is not None:
                told = await self._replicas[0].receipt()
                failure = receipt_failure(told, found)
                await trio.sleep(0.5)
        return [] if failure is None else [failure]

    def _other_failures(self) -> list[str]:
        return [*self._fate.failures, *(failure for each in self._replicas for failure in each.failures)]

    # Telling

    async def _tell_progress(self) -> None:
        while True:
            await trio.sleep(10.0)
            up = [replica.name for replica in self._replicas if await replica.is_up()]
            waiting = sum(not one.answers for one in self._asked)
            self._say(
                f"{self._fate.played}/{self._plan.events} events, {len(self._asked) - waiting} answered, "
                f"{waiting} waiting, up: {', '.join(up) or 'none'}"
            )

    def _tell_end(
        self,
        verdict: Verdict,
        found: Found,
        drawn: Sequence[events.Event],
        diary: Diary,
        passed_on: Sequence[str],
    ) -> None:
        tries = sum(len(one.tries) for one in self._asked)
        adoptions = ", ".join(f"{each:.1f}" for each in self._fate.adoptions) or "none"
        self._say(
            f"seed {self._plan.seed}: {len(self._asked)} texts, {tries} tries, {len(found.batches)} batches, "
            f"adopted after (s): {adoptions}"
        )
        if not verdict.is_good:
            self._tell(f"seed {self._plan.seed}, events: {'; '.join(map(str, drawn))}")
            for line in explain(verdict, found, diary, passed_on):
                self._tell(line)

    def _say(self, text: str) -> None:
        self._tell(f"{time.monotonic() - self._begun:6.1f} s  {text}")


def _replicas(
    plan: Plan, base_url: str, kept: journals.NoJournals | journals.SharedJournal, diary: Diary
) -> list[Replica]:
    flags = (
        *("--base-url", f"{base_url}/v1", "--api-key", "test-key", "--provider", "openai", "--batch-size", "50"),
        *("--batch-window", "0.5", "--poll-interval", "0.3", "--log-level", "info"),
    )
    return [
        Replica(f"replica-{number}", port, (*flags, *_named(number), *kept.of(number)), diary, shortens=plan.shortens)
        for number, port in enumerate(free_ports(plan.replicas))
    ]


def _named(number: int) -> tuple[str, str]:
    """Batches tell which engine created them."""
    return "--batch-metadata", f"engine=replica-{number}"


def free_ports(count: int) -> list[int]:
    """Different ones, which are free at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports
