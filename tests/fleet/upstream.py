"""`python -m tests.fleet.upstream MEDIAN P90`: the emulator of a session, in a process of its own. It tells its port.

`GET /fleet/found` says what was billed, what runs, which files there are, and what was done to batches and when.
Batches take a random time, with that median and 90th percentile, in seconds.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import trio

from autobatcher.emulator import Emulator, LogNormal
from autobatcher.emulator.app import serve_emulator
from autobatcher.emulator.wire import Reply, Request, json_reply


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
