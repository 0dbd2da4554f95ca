"""Makes a session's events happen."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import trio

from .diary import Diary
from .events import OF_DATABASES, Event
from .journals import NoJournals, SharedJournal
from .replica import Replica

ADOPTION_SECONDS = 10.0
"""How long the batches of a dead replica may be nobody's."""


class Fate:
    """Plays events. Several may happen at once, but only one to each replica and each link, and one to the database.

    Attributes:
        played: how many events have begun.
        adoptions: how long the batches of each abandoned replica were nobody's, in seconds.
        failures: adoptions that came too late.
    """

    def __init__(self, replicas: Sequence[Replica], journals: NoJournals | SharedJournal, diary: Diary) -> None:
        self.played = 0
        self.adoptions: list[float] = []
        self.failures: list[str] = []
        self._replicas = replicas
        self._journals = journals
        self._diary = diary
        self._database = trio.Lock()
        self._links = [trio.Lock() for _ in journals.links]
        self._under_way = 0

    async def play(self, events: Sequence[Event]) -> None:
        """All of them, until the last is over."""
        async with trio.open_nursery() as nursery:
            for event in events:
                await trio.sleep(event.gap)
                if event.kind in ("roll", "abandon"):
                    await self._calm()
                    await self._happen(event)
                elif event.kind in OF_DATABASES:
                    nursery.start_soon(self._happen, event)
                else:
                    replica = await self._free_replica(event)
                    nursery.start_soon(self._happen, event, replica)
        for replica in self._replicas:
            await replica.wait_until_up()

    async def _happen(self, event: Event, replica: Replica | None = None) -> None:
        self._under_way += 1
        self.played += 1
        try:
            with self._busy(replica):
                await self._act(event, replica)
        finally:
            self._under_way -= 1

    async def _act(self, event: Event, replica: Replica | None) -> None:
        self._say(event if replica is None else f"{event.kind} {replica.name} {event.seconds:.1f} s")
        match event.kind:
            case "kill":
                assert replica is not None
                replica.kill()
            case "terminate":
                assert replica is not None
                await replica.terminate()
            case "pause":
                assert replica is not None
                await replica.pause(event.seconds)
            case "roll":
                await self._roll()
            case "abandon":
                await self._abandon(self._replicas[event.replica])
            case "restart" | "crash":
                await self._stop_database(signal.SIGINT if event.kind == "restart" else signal.SIGQUIT, event.seconds)
            case _:
                await self._disturb(event)
        self._say(f"over: {event}")

    async def _roll(self) -> None:
        for replica in self._replicas:
            await replica.terminate()
            await replica.wait_until_up()

    async def _abandon(self, replica: Replica) -> None:
        """Kill it once it has a batch, and measure how long until it has none."""
        assert isinstance(self._journals, SharedJournal)
        for each in self._replicas:
            await each.wait_until_up()
        pid = await self._owner_of_batches(replica)
        await replica.kill_for_good()
        begun = time.monotonic()
        while pid is not None and await self._journals.owned_by(pid):
            await trio.sleep(0.1)
            if time.monotonic() - begun > 3 * ADOPTION_SECONDS:
                break
        took = time.monotonic() - begun
        replica.revive()
        if pid is None:
            return
        self._say(f"{replica.name}, pid {pid}: its batches were adopted after {took:.1f} s")
        self.adoptions.append(took)
        if took > ADOPTION_SECONDS:
            self.failures.append(f"the batches of {replica.name}, pid {pid}, were nobody's for {took:.1f} s")

    async def _owner_of_batches(self, replica: Replica) -> int | None:
        """Its pid, once it owns a batch; None if that takes too long."""
        assert isinstance(self._journals, SharedJournal)
        with trio.move_on_after(15.0):
            while not (replica.pid and await self._journals.owned_by(replica.pid)):  # noqa: ASYNC110  (rows)
                await trio.sleep(0.1)
            return replica.pid
        return None

    async def _stop_database(self, how: signal.Signals, seconds: float) -> None:
        server = self._journals.server
        assert server is not None
        async with self._database:
            try:
                await trio.to_thread.run_sync(server.stop, how)
            except subprocess.TimeoutExpired as error:  # a connection that says nothing holds it for a minute
                self.failures.append(f"the database did not stop within {error.timeout:.0f} s of {how.name}")
                await trio.to_thread.run_sync(server.crash)
            await trio.sleep(seconds)
            await trio.to_thread.run_sync(server.start)

    async def _disturb(self, event: Event) -> None:
        link = self._journals.links[event.replica]
        async with self._links[event.replica]:
            if event.kind == "cut":
                link.cut()
            elif event.kind == "refuse":
                await link.refuse(event.seconds)
            else:
                await link.freeze(event.seconds)

    # Whose turn it is

    async def _calm(self) -> None:
        while self._under_way:  # noqa: ASYNC110  (often, and of many)
            await trio.sleep(0.05)

    async def _free_replica(self, event: Event) -> Replica:
        """The event's, or the next one that runs and to which nothing happens."""
        in_turn = [*self._replicas[event.replica :], *self._replicas[: event.replica]]
        while True:
            for replica in in_turn:
                is_there = replica.pid is not None if event.is_early else replica.is_serving
                if is_there and not replica.is_busy:
                    return replica
            await trio.sleep(0.05)

    @contextmanager
    def _busy(self, replica: Replica | None) -> Iterator[None]:
        if replica is not None:
            replica.is_busy = True
        try:
            yield
        finally:
            if replica is not None:
                replica.is_busy = False

    def _say(self, what: object) -> None:
        self._diary.write("event", str(what))
