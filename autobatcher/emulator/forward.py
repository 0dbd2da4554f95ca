"""A real model behind the emulator: lines and real-time calls go to a server with OpenAI's real-time API.

Only this needs tasks: `Forwarder.run()` runs a fixed number of workers. Each takes the next line of the oldest running
batch, sends it to the server, and stores the answer.
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Callable, Mapping

import anyio
import httpx
import msgspec
from anyio.abc import TaskStatus

from ..redaction import has_user, redactor_for
from .answers import Answer
from .batch import Batch
from .forwarded_path import forwarded_path
from .lines import Line
from .outcomes import as_json
from .store import StoreFullError
from .wire import RefusedError, Reply, Request, close_body, openai_error

ATTEMPTS = 3  # Like OpenAI, retry a line a few times, then give up.
LONGEST_PAUSE_SECONDS = 60.0
# A local model may be slow to answer, but a running server accepts connections quickly.
TIMEOUT = httpx.Timeout(3600.0, connect=10.0)
CLOSE_SECONDS = 5.0  # closing a connection takes no longer
_PASSED_ON = ("retry-after", "x-request-id")
_PASSED_ON_TYPES = ("application/json", "text/event-stream")


class ForwardedBatch(Batch):
    """A batch whose progress depends on the workers, not on the clock."""

    in_flight: int = 0

    def next_line(self) -> Line | None:
        """The next line to work on; None if none is left or the batch has ended."""
        if self.status != "in_progress" or self._is_late or self._done >= self._most:
            return None
        line = self.lines[self._sequence[self._done]]
        self._done += 1
        self.in_flight += 1
        return line

    def line_done(self, line: Line, answer: Callable[[], Answer], now: float) -> None:
        self.in_flight -= 1
        if self.is_terminal:
            return
        self.outcomes.settle(line, answer, now)
        try:
            self.outcomes.flush()
        except StoreFullError as error:
            self.fail_for_want_of_room(error, now)
        self.advance(now)

    @property
    def _is_late(self) -> bool:
        return self.around.dialect.expires and self.overdue is not None

    def _work(self, now: float) -> None:
        if self.in_flight:
            return
        if self._done >= self._most and self.fate.ends != "stuck":
            self._leave_work(self.fate.ends or "finalizing", now)
        elif self._is_late:
            self._leave_work("expired", now)

    def _wind_down(self, now: float) -> None:
        if self.in_flight == 0:
            self._finish("cancelled", now)


def _is_loopback(url: str) -> bool:
    host = httpx.URL(url).host
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Forwarder:
    """Sends lines to the server at `url` (ending in /v1), at most `concurrency` at a time.

    key:       the bearer key for that server; without one, real-time calls keep the caller's own.
    transport: an httpx transport; None for the network.
    clock:     the emulator's.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        concurrency: int,
        transport: httpx.AsyncBaseTransport | None,
        clock: Callable[[], float],
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"forward_concurrency must be at least 1: {concurrency}")
        if has_user(url):
            raise ValueError("forward_to must have no user and password: give forward_key, a bearer key")
        self._url = url.rstrip("/")
        self._key = key
        self._concurrency = concurrency
        self._is_local = _is_loopback(url)  # HTTP_PROXY is not for these
        self._transport = transport
        self._clock = clock
        self._batches: list[ForwardedBatch] = []
        self._wake: anyio.Event | None = None
        self._client: httpx.AsyncClient | None = None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Runs the workers until cancelled. A line in flight is then lost."""
        self._wake = anyio.Event()
        async with httpx.AsyncClient(
            transport=self._transport, timeout=TIMEOUT, trust_env=not self._is_local
        ) as client:
            self._client = client
            try:
                async with anyio.create_task_group() as group:
                    for _ in range(self._concurrency):
                        group.start_soon(self._work, client)
                    task_status.started()
            finally:
                self._client = None

    def add(self, batch: Batch) -> None:
        """Queues a new batch for the workers."""
        assert isinstance(batch, ForwardedBatch)
        batch.advance(self._clock())
        self._batches.append(batch)
        if self._wake is not None:
            self._wake.set()
            self._wake = anyio.Event()

    async def call(self, method: str, endpoint: str, request: Request) -> Reply:
        """Forwards a real-time call and streams the response back. Raises `RefusedError` (502, 503)."""
        if self._client is None:
            raise RefusedError(503, "The emulator forwards calls only while Emulator.run() is running.")
        headers = self._headers(request.headers.get("authorization"))
        outgoing = self._client.build_request(method, self._target(endpoint), content=request.body, headers=headers)
        try:
            response = await self._client.send(outgoing, stream=True)
        except httpx.TransportError as error:
            message = redactor_for(headers).redact_text(f"The server at {self._url} cannot be reached: {error!r}")
            raise RefusedError(502, message) from error
        redactor = redactor_for(outgoing.headers)
        passed = {name: redactor.redact_text(response.headers[name]) for name in _PASSED_ON if name in response.headers}
        passed["content-type"] = _harmless(response.headers.get("content-type", ""))
        if response.is_success:
            return Reply(response.status_code, passed, _PassedBody(response))
        try:
            return Reply(response.status_code, passed, redactor.redact(await response.aread()))
        finally:
            await response.aclose()

    async def _work(self, client: httpx.AsyncClient) -> None:
        assert self._wake is not None
        while True:
            wake, work = self._wake, self._next_line()
            if work is None:
                await wake.wait()
                continue
            batch, line = work
            answer = await self._ask(client, line) if batch.outcomes.executes(line) else None
            batch.line_done(line, lambda: answer or _unasked(), self._clock())  # noqa: B023 - called at once

    def _next_line(self) -> tuple[ForwardedBatch, Line] | None:
        for batch in list(self._batches):
            batch.advance(self._clock())
            line = batch.next_line()
            if line is not None:
                return batch, line
            if batch.status != "validating":
                self._batches.remove(batch)
        return None

    async def _ask(self, client: httpx.AsyncClient, line: Line) -> Answer:
        for attempt in range(1, ATTEMPTS + 1):
            answer, pause = await self._try(client, line, attempt)
            if answer.status not in (408, 429) and answer.status < 500:
                break
            if attempt < ATTEMPTS:
                await anyio.sleep(pause)
        return answer

    async def _try(self, client: httpx.AsyncClient, line: Line, attempt: int) -> tuple[Answer, float]:
        """An answer, and the delay before a retry if it is an error."""
        pause = 0.5 * 2**attempt
        headers = self._headers(None)
        redactor = redactor_for(headers)
        try:
            response = await client.post(self._target(line.url), content=line.body, headers=headers)
        except httpx.TransportError as error:
            message = redactor.redact_text(f"The server at {self._url} cannot be reached: {error!r}")
            return Answer(502, msgspec.json.encode(openai_error(502, message))), pause
        wanted = response.headers.get("retry-after", "")
        if wanted.isdecimal():
            pause = min(LONGEST_PAUSE_SECONDS, float(wanted))
        redact = redactor.redact_answer if response.is_success else redactor.redact
        return Answer(response.status_code, as_json(redact(response.content))), pause

    def _target(self, endpoint: str) -> str:
        return self._url + forwarded_path(endpoint)

    def _headers(self, authorization: str | None) -> Mapping[str, str]:
        headers = {"content-type": "application/json"}
        if self._key is not None:
            authorization = f"Bearer {self._key}"
        return headers if authorization is None else {**headers, "authorization": authorization}


def _harmless(content_type: str) -> str:
    """The content type of a forwarded response. A page of that server would run in the emulator's origin."""
    kind = content_type.partition(";")[0].strip().lower()
    return content_type if kind in _PASSED_ON_TYPES else "text/plain; charset=utf-8"


def _unasked() -> Answer:
    raise AssertionError("a line that is not executed has no answer")


class _PassedBody:
    """The body of a forwarded response. Closing it closes the response."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._chunks = response.aiter_bytes()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._chunks)

    async def aclose(self) -> None:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await close_body(self._chunks)
            await self._response.aclose()
