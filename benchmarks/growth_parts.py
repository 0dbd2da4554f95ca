"""Parts of the engine in which there may be a hundred thousand of something. For `growth.py`.

Each function makes a world of so many, and returns the work to measure in it, which can be done once.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
from steps import watch

from autobatcher.engine.fair_limiter import FairLimiter
from autobatcher.engine.journal.owned_file import OwnedFile
from autobatcher.engine.journal.records import BatchRecord, UnclaimedLine
from autobatcher.engine.queue.windows import Windows, key_of
from autobatcher.engine.recovery.unclaimed import UnclaimedLines
from autobatcher.engine.request import Request
from autobatcher.engine.shares import Shares
from autobatcher.events import BatchSubmitted, BatchTerminal, RequestCounts
from autobatcher.progress import Progress
from autobatcher.upstream.account import Account
from autobatcher.upstream.providers import OPENAI

CHAT = "/v1/chat/completions"
PLACES = 200


def account(number: int = 0) -> Account:
    return Account(base_url="https://upstream.test/v1", provider=OPENAI, api_key=f"key-{number}")


def kinds(count: int, *, accounts: int = 1) -> list[Request]:
    """A request of each of so many kinds that do not travel together."""
    payers = [account(number) for number in range(accounts)]

    async def make() -> list[Request]:  # a request is made inside an event loop
        return [
            Request(account=payers[number % accounts], endpoint=CHAT, body=b"{}", model=f"model-{number}")
            for number in range(count)
        ]

    return asyncio.run(make())


def open_windows(count: int) -> Callable[[], None]:
    """The engine wakes whenever a kind comes, and whenever batches end."""
    requests, windows = kinds(count), Windows(batch_size=10, window_seconds=5.0)

    def work() -> None:
        places = Shares(PLACES)
        for request in requests:
            windows.add(request, lambda: 0.0)
            windows.due(0.0, places)
            windows.next_due()
        assert leaving(windows, places, now=5.0) == count

    return work


def throttled_kinds(count: int) -> Callable[[], None]:
    requests, windows = kinds(count, accounts=count), Windows(batch_size=10, window_seconds=5.0)

    def work() -> None:
        places = Shares(PLACES, isolates=True)
        for request in requests:
            windows.throttle([request], key_of(request), 0.0, sent=4, retry_after=0.0)
            windows.due(0.0, places)
            windows.next_due()
        assert leaving(windows, places, now=60.0) == count

    return work


def throttled_requests(count: int) -> Callable[[], None]:
    """All of one kind, which leave in batches of ten."""
    requests = kinds(count)
    key, windows = key_of(requests[0]), Windows(batch_size=10, window_seconds=5.0)

    def work() -> None:
        places, now = Shares(PLACES), 0.0
        windows.throttle(requests, key, now, sent=20, retry_after=0.0)
        left = 0
        while left < count:
            now += 60.0
            left += sum(map(len, windows.due(now, places)))
            places = Shares(PLACES)

    return work


def leaving(windows: Windows, places: Shares, *, now: float) -> int:
    """Let all leave, as many at once as there are places. Returns how many batches they were."""
    count = 0
    while batches := windows.due(now, places):
        count += len(batches)
        for batch in batches:
            places.give_back(batch[0].account)
        windows.next_due()
    return count


def waiting_for_room(count: int, *, accounts: int = 1) -> Callable[[], None]:
    payers = [account(number) for number in range(accounts)]

    async def run() -> None:
        limiter = FairLimiter(10, isolates=accounts > 1)

        async def wait(payer: Account) -> None:
            await limiter.acquire(payer)
            limiter.release(payer)

        limiter.acquire_nowait("somebody else", 10)
        async with anyio.create_task_group() as waiting:
            for number in range(count):
                waiting.start_soon(wait, payers[number % accounts])
            await asyncio.sleep(0)
            limiter.release("somebody else", 10)

    return lambda: asyncio.run(run())


def lines_forgotten(count: int) -> Callable[[], None]:
    """One step of the hourly sweep."""
    lines = UnclaimedLines()
    for number in range(count):
        lines.add(b"%d" % number, UnclaimedLine("batch", number, unclaimed_since=0.0))
    return lambda: lines.forget_old(1.0, 1.0)


def equal_lines_claimed(count: int) -> Callable[[], None]:
    lines = UnclaimedLines()
    for number in range(count):
        lines.add(b"the same", UnclaimedLine("batch", number, unclaimed_since=0.0))

    def work() -> None:
        while lines.claim(b"the same") is not None:
            pass

    return work


def new_path() -> Path:
    return Path(tempfile.mkdtemp()) / "journal"


def journal_of(count: int, *, is_taken: bool) -> OwnedFile:
    """A journal with so many answers of a process that has exited, in batches of a thousand."""
    store = OwnedFile(new_path())
    with store.transaction():
        store.begin_session("exited", now=0.0)
        for first in range(0, count, 1_000):
            _write_batch(store, f"{first:032x}", min(1_000, count - first), is_taken=is_taken)
        store.end_session("well")
        store.process_exited("exited")
    watch(store._db)
    return store


def _write_batch(store: OwnedFile, key: str, size: int, *, is_taken: bool) -> None:
    record = BatchRecord(
        idempotency_key=key,
        account=b"account",
        base_url="https://upstream.test/v1",
        provider="openai",
        endpoint=CHAT,
        completion_window="24h",
        models=["m"],
        metadata={},
        request_count=size,
    )
    store.intend(record, [(number, CHAT, key.encode() * 5) for number in range(size)], is_hash_only=False)
    store.answer([(key, number, 200, key.encode() * 5, None, is_taken) for number in range(size)], now=0.0)
    store.update(key, now=0.0, stage="ended")


def journal_opened(count: int, *, is_taken: bool) -> Callable[[], None]:
    """What is read of it when it is opened; its rows are checked, too, by SQLite alone."""
    store = journal_of(count, is_taken=is_taken)

    def work() -> None:
        found = store.contents("another process", now=1.0)
        assert len(found.unclaimed_lines) == (0 if is_taken else count)

    return work


def journal_swept(count: int) -> Callable[[], None]:
    store = journal_of(count, is_taken=True)

    def work() -> None:
        is_left = True
        while is_left:
            with store.transaction():
                is_left = store.forget_old(now=1.0, retention_seconds=86_400.0)
        assert store.batches() == []

    return work


def batches_known(count: int) -> Callable[[], None]:
    """What a display knows of batches that come and end."""
    progress = Progress(requests=None)
    fields: dict[str, Any] = {
        "endpoint": CHAT,
        "input_file_id": "file",
        "request_count": 1,
        "models": [],
        "completion_window": "24h",
        "metadata": {},
    }
    ended: dict[str, Any] = {**fields, "status": "failed", "counts": RequestCounts(), "elapsed_seconds": 1.0}

    def work() -> None:
        for number in range(count):
            progress.take(BatchSubmitted(ts=0.0, batch_id=f"batch-{number}", **fields), 0.0)
        for number in range(count):
            progress.take(BatchTerminal(ts=1.0, batch_id=f"batch-{number}", **ended), 1.0)

    return work
