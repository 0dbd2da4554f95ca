"""A log of the proxy's calls in a file: one JSON object a line, of sizes, ids and costs, never of prompts or answers.

A thread writes it, and prices what it writes: a slow or full disk holds up no call.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time
from typing import Any, NamedTuple

from ..client.costs import Billed, Costs, billed
from ..engine.request import Answer, Request
from ..errors import BatchError
from ..money.receipt import amount_text
from ..money.usage import usage_of
from .appended_file import AppendedFile

logger: logging.Logger = logging.getLogger("autobatcher")

MOST_WAITING = 50_000
"""Lines kept for a slow disk, about fifty megabytes. Further ones are dropped and counted."""

MOST_AT_ONCE = 1_000
"""Lines in one write."""

FLUSH_SECONDS = 2.0
"""How long the program waits for such a disk at exit."""

MOST_NAME_CHARACTERS = 200


class _Call(NamedTuple):
    """What is written of one call, when there is time for it."""

    fields: dict[str, Any]
    billed: Billed | None

    def line(self) -> bytes:
        cost = None if self.billed is None else self.billed.cost()
        fields = {**self.fields, "cost": None if cost is None else amount_text(cost)}
        return json.dumps(fields).replace("\x7f", "\\u007f").encode() + b"\n"


class RequestLog:
    """Writes the log of one proxy. See `request_log`, which makes it.

    Args:
        wall_clock: returns the time, in Unix seconds.
    """

    def __init__(self, path: Path, wall_clock: Callable[[], float] = time) -> None:
        self.lost: int = 0
        self._file = AppendedFile(path)
        self._client: Costs | None = None
        self._wall_clock = wall_clock
        self._waiting: queue.Queue[_Call | None] = queue.Queue(MOST_WAITING)

    def watch(self, client: Costs) -> None:
        """Price the calls as those of this client."""
        self._client = client

    def take(self, request: Request, seconds: float) -> None:
        """Write what became of a request that waited for so long. Never blocks, never raises."""
        outcome = request.settled_as
        answer = outcome if isinstance(outcome, Answer) else None
        is_good = answer is not None and answer.status_code < 400
        usage = usage_of(answer.body) if answer is not None and is_good else None
        fields = {
            "time": round(self._wall_clock(), 3),
            "id": None if answer is None else answer.request_id,
            "endpoint": request.endpoint,
            "model": request.model[:MOST_NAME_CHARACTERS],
            "status": _status(outcome),
            "lane": request.lane if answer is None else answer.lane,
            "batch_id": outcome.batch_id or None,
            "custom_id": request.custom_id or None,
            "tries": request.tries,
            "wait_seconds": round(seconds, 3),
            "request_bytes": len(request.body),
            "response_bytes": 0 if answer is None else len(answer.body),
            "input_tokens": None if usage is None else usage.input,
            "cached_tokens": None if usage is None else usage.cached,
            "output_tokens": None if usage is None else usage.output,
        }
        client = self._client if is_good else None
        self._put(_Call(fields, None if client is None else billed(client, request, answer)))

    def take_refused(self, endpoint: str, status: int) -> None:
        """Write that the proxy refused a call. Nothing was sent upstream. Never blocks, never raises."""
        fields = {**_OF_REFUSED, "time": round(self._wall_clock(), 3), "endpoint": endpoint, "status": status}
        self._put(_Call(fields, None))

    def _put(self, call: _Call) -> None:
        try:
            self._waiting.put_nowait(call)
        except queue.Full:
            self.lost += 1

    def write_all(self) -> None:
        """Write what comes, until `finish`. In a thread of its own."""
        while (calls := self._next_calls()) is not None:
            if not self._file.write(b"".join(call.line() for call in calls)):
                self.lost += len(calls)
        self._file.close()

    def finish(self) -> None:
        """No more calls come."""
        with suppress(queue.Full):
            self._waiting.put_nowait(None)

    def _next_calls(self) -> list[_Call] | None:
        """Those that wait, at least one; None at the end."""
        calls, call = list[_Call](), self._waiting.get()
        while call is not None:
            calls.append(call)
            if len(calls) == MOST_AT_ONCE or self._waiting.empty():
                return calls
            call = self._waiting.get()
        self._waiting.put(None)  # the end, for the next look
        return calls or None


_OF_REFUSED: dict[str, Any] = {
    **dict.fromkeys(("id", "model", "lane", "batch_id", "custom_id", "input_tokens", "cached_tokens", "output_tokens")),
    **dict.fromkeys(("tries", "wait_seconds", "request_bytes", "response_bytes"), 0),
}


def _status(outcome: Answer | BatchError) -> int:
    """The status of the proxy's response."""
    return outcome.status_code or 502


@contextmanager
def request_log(path: Path) -> Iterator[RequestLog]:
    """Write the log while the block runs; at its end, flush for at most `FLUSH_SECONDS`.

    Raises:
        OSError: the file cannot be opened.
    """
    log = RequestLog(path)
    thread = threading.Thread(target=log.write_all, name="request log", daemon=True)
    thread.start()
    try:
        yield log
    finally:
        log.finish()
        thread.join(FLUSH_SECONDS)
        if log.lost:
            logger.warning("autobatcher: calls that are missing in the request log: %d", log.lost)
