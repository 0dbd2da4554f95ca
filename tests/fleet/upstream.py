"""`python -m tests.fleet.upstream MEDIAN P90`: the emulator of a session, in a process of its own. It tells its port.

`GET /fleet/found` says what was billed, what runs, which files there are, and what was done to batches and when.
Batches take a random time, with that median and 90th percentile, in seconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from autobatcher.emulator import Emulator, LogNormal
from autobatcher.emulator.app import serve_emulator
from autobatcher.emulator.wire import Reply, Request, json_reply
from tests.cli.processes import environment


@dataclass
class Found:
    """What the emulator says.

    Attributes:
        billed: in which batches each text was billed.
        running: the batches that have not ended.
        batches: the status and the metadata of each.
        deeds: the POSTs to `/batches`: when, the path, the status of the response, and its body.
    """

    billed: dict[str, list[str]]
    running: list[str]
    input_files: list[str]
    batches: dict[str, tuple[str, dict[str, str]]]
    deeds: list[tuple[float, str, int, str]]


@asynccontextmanager
async def upstream(median: float, p90: float) -> AsyncIterator[str]:
    """The URL of an emulator that runs while the block does, without `/v1`."""
    command = [sys.executable, "-m", "tests.fleet.upstream", str(median), str(p90)]
    process = await trio.lowlevel.open_process(command, env=environment(), stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield json.loads(await process.stdout.receive_some())
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def found_by(url: str) -> Found:
    """What the emulator at this URL says now."""

    def ask() -> Found:
        with urllib.request.urlopen(f"{url}/fleet/found") as response:
            return Found(**json.load(response))

    return await trio.to_thread.run_sync(ask)


class TellingEmulator(Emulator):
    """An emulator that remembers what was done to its batches."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._deeds: list[tuple[float, str, int, str]] = []

    async def handle(self, request: Request) -> Reply:
        if request.path == "/fleet/found":
            return json_reply(200, self._found())
        reply = await super().handle(request)
        if request.method == "POST" and "/batches" in request.path:
            told = reply.body.decode() if isinstance(reply.body, bytes) else ""
            self._deeds.append((time.time(), request.path, reply.status, told))
        return reply

    def _found(self) -> dict[str, Any]:
        seen = self.statistics()
        billed: dict[str, list[str]] = {}
        for line in self.ledger():
            billed.setdefault(line.text, []).append(line.batch_id or line.lane)
        return {
            "billed": billed,
            "running": seen.running_batch_ids,
            "input_files": seen.input_file_ids,
            "batches": {batch.id: [batch.status, batch.metadata] for batch in seen.batches},
            "deeds": self._deeds,
        }


async def main(median: str, p90: str) -> None:
    duration = LogNormal(median_seconds=float(median), p90_seconds=float(p90))
    async with trio.open_nursery() as nursery:
        url: str = await nursery.start(serve_emulator, TellingEmulator(batch_seconds=duration))
        print(json.dumps(url), flush=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
