"""Programs that use one journal one after the other, some of which die. In memory, on virtual time."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from autobatcher import BatchOpenAI
from autobatcher.engine.hosting import Host
from autobatcher.engine.journal import BatchRecord, at_exit
from autobatcher.engine.journal.contract import JournalStore
from autobatcher.engine.journal.store import Store
from autobatcher.money.given_prices import GivenPrices
from autobatcher.money.price_list import PriceList
from autobatcher.money.receipt import Receipt, receipt_of
from autobatcher.upstream.providers import CONSERVATIVE
from tests.harness import Harness, Send, ask, between
from tests.journal.inline_writer import InlineWriter
from tests.receipts import GIVEN_PRICES


class Program:
    """One program: its client, and a way to kill it."""

    def __init__(self, scope: anyio.CancelScope) -> None:
        self.client: BatchOpenAI
        self.is_dead = False
        self.writers: list[InlineWriter] = []
        self._scope = scope

    def die(self) -> None:
        """Act like SIGKILL: send and write nothing more. (The tasks end, but have no effect.)"""
        self.is_dead = True
        for writer in self.writers:
            writer.die()
        self._scope.cancel()

    async def answer(self, request: Any, send: Send) -> Any:
        if self.is_dead:
            await anyio.sleep_forever()
        return await send(request)


class Restarts:
    """Runs programs that use the journal at `path`.

    Attributes:
        commit_seconds: how long a task waits for a commit.
    """

    commit_seconds = 0.0

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self._monkeypatch = monkeypatch
        self._now: Program | None = None
        self._numbers = itertools.count()
        monkeypatch.setattr("autobatcher.engine.journal.ownership.PATIENCE_SECONDS", 0.05)

    def _make_writer(self, open_store: Callable[[], JournalStore]) -> InlineWriter:
        writer = InlineWriter(open_store, self.commit_seconds)
        if self._now is not None:
            self._now.writers.append(writer)
        return writer

    def client(self, harness: Harness, **settings: Any) -> BatchOpenAI:
        """Make a client with the journal. Its wall clock follows virtual time, so that a creation has an age."""
        client = harness.client(**{"journal": self.path, **settings})
        self.on_virtual_time(client._engine.host)
        return client

    def on_virtual_time(self, host: Host) -> None:
        """Give the engines of `host` this clock, and a writer without a thread."""
        host.make_batcher = partial(
            host.make_batcher, wall_clock=lambda: 1.7e9 + anyio.current_time(), make_writer=self._make_writer
        )

    def new_process(self) -> None:
        """Pretend to be another process from now on."""
        self._monkeypatch.setattr(at_exit, "_IMPORT_ID", f"{next(self._numbers):032x}")

    def clear(self) -> None:
        """Delete the journal."""
        for each in self.path.parent.glob(f"{self.path.name}*"):
            each.unlink()

    def unfinished(self) -> list[BatchRecord]:
        """Return the batches that were not read to the end."""
        with closing(Store(self.path, is_read_only=True)) as store:
            return [record for record in store.batches() if record.stage != "ended"]

    def receipt(self, given: dict[str, Any] = GIVEN_PRICES) -> Receipt:
        """Return what the journal says was paid, at these prices."""
        prices = PriceList(CONSERVATIVE, "", GivenPrices(given))
        with closing(Store(self.path, is_read_only=True)) as store:
            return receipt_of([(kept.sort, kept.entry) for kept in store.charges()], lambda *_: prices)

    def end_well(self) -> None:
        """Pretend that the process exits cleanly."""
        for marker in self.path.parent.glob("*.unended"):
            marker.unlink()

    @asynccontextmanager
    async def program(self, harness: Harness, **settings: Any) -> AsyncGenerator[Program]:
        """Run a program in a process of its own. It may `die` in the block."""
        self.new_process()
        with anyio.CancelScope() as scope:
            program = self._now = Program(scope)
            http_client = between(harness, program.answer)
            program.client = self.client(harness, **{"http_client": http_client, **settings})
            async with program.client:
                yield program


async def ask_all(client: BatchOpenAI, texts: Iterable[str]) -> list[str]:
    """Return the answers, in the order of the prompts."""
    answers: dict[int, str] = {}

    async def one(number: int, text: str) -> None:
        answers[number] = await ask(client, text)

    async with anyio.create_task_group() as nursery:
        for number, text in enumerate(texts):
            nursery.start_soon(one, number, text)
    return [answers[number] for number in sorted(answers)]


def billed(harness: Harness) -> Counter[str]:
    """How often each prompt was billed."""
    return Counter(line.body["messages"][0]["content"] for line in harness.emulator.statistics().lines if line.billed)
