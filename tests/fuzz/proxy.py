"""A proxy in a thread with a loop of its own, which is watched, and the scripts of bytes that clients send to it."""

from __future__ import annotations

import socket
import struct
import threading
import time
import traceback
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import trio

from autobatcher.server import CallLimits
from tests.harness import HTTP, SDK_LIBRARY, Send
from tests.server.proxies import Proxy, open_proxy

from .findings import place_of
from .loop import TrioBeats
from .target import Case, Play
from .watch import Watch

LIMITS = CallLimits(
    max_body_bytes=10_000_000, max_waiting_bytes=40_000_000, body_seconds=2.0, grace_seconds=0.2, heartbeat_seconds=0.3
)
START_SECONDS = 120.0
HEALTH_SECONDS = 60.0
"""These, and what follows, are long enough for a busy machine: what hangs does so for ever."""

CLIENTS = 16
SILENCE_SECONDS = 0.4
"""A client reads until the proxy is silent for so long: twice as long as a batch takes."""

LOOK_SECONDS = 0.05

PATIENCE_SECONDS = 60.0
"""How long a client waits whose request is in order."""

MOST_SECONDS = 15.0
"""How long one client stays. Heartbeats break the silence while a batch runs."""

SETTLE_SECONDS = 60.0
"""Until the calls of clients that went away are withdrawn."""

OWN_TASKS = 2
"""Of the connection that asks how many there are."""

Ending = Literal["close", "half", "reset", "leave"]


@dataclass(frozen=True)
class Script:
    """What one client sends over one connection.

    Attributes:
        pieces: bytes to send, and seconds to pause.
        ending: how it ends, once it has read what came.
        expects: the status that the first answer must have, if the request is in order.
    """

    pieces: tuple[bytes | float, ...]
    ending: Ending
    expects: int | None = None
    note: str = field(default="", compare=False)


ENDINGS: tuple[Ending, ...] = ("close", "close", "close", "close", "half", "reset", "leave")
"""Most clients close."""

Judge = Callable[[Script, bytes], str | None]
"""What is wrong with the bytes that came back; None if nothing is."""


@contextmanager
def open_door(watch: Watch, judge: Judge) -> Iterator[Play]:
    """A proxy that takes scripts. What its answers are worth, `judge` says."""
    thread = ProxyThread(watch)
    with thread:

        def play(cases: list[Case]) -> None:
            trio.run(_play_all, thread.port, cases, judge, watch)
            thread.check()

        yield play


async def _play_all(port: int, scripts: list[Script], judge: Judge, watch: Watch) -> None:
    limiter = trio.CapacityLimiter(CLIENTS)

    async def one(script: Script) -> None:
        async with limiter:
            said, is_late = await play(port, script, judge)
        wrong = "none in time" if is_late and script.expects is not None else judge(script, said)
        if wrong is not None:
            watch.report("answer", wrong, f"{said[:2000]!r}")

    async with trio.open_nursery() as nursery:
        for script in scripts:
            nursery.start_soon(one, script)


async def play(port: int, script: Script, judge: Judge) -> tuple[bytes, bool]:
    """Send a script. Gives what came back, and whether the end of it was not waited for."""
    said = bytearray()
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:
        return b"", False  # whether the proxy is well is asked after each round
    async with stream:
        with trio.move_on_after(MOST_SECONDS + (0.0 if script.expects is None else PATIENCE_SECONDS)) as limit:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_read, stream, said, nursery.cancel_scope)
                await _send(stream, script)
                await _wait_for_silence(said, script, judge)
                nursery.cancel_scope.cancel()
        if script.ending == "reset":
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return bytes(said), limit.cancelled_caught


async def _send(stream: trio.SocketStream, script: Script) -> None:
    try:
        for piece in script.pieces:
            if isinstance(piece, float):
                await trio.sleep(piece)
            else:
                await stream.send_all(piece)
        if script.ending == "half":
            await stream.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the proxy does not want more


async def _wait_for_silence(said: bytearray, script: Script, judge: Judge) -> None:
    """Until nothing has come for a while. Who leaves at once does not wait; whose request is in order waits longer for
    its answer. (The first bytes of HTTP/2 are no answer.)"""
    if script.ending == "leave":
        return
    length = -1
    while len(said) != length:
        length = len(said)
        is_answered = script.expects is None or judge(script, bytes(said)) is None
        for _ in range(round((SILENCE_SECONDS if is_answered else PATIENCE_SECONDS) / LOOK_SECONDS)):
            await trio.sleep(LOOK_SECONDS)
            if len(said) != length:
                break


async def _read(stream: trio.SocketStream, said: bytearray, scope: trio.CancelScope) -> None:
    try:
        while chunk := await stream.receive_some(65_536):
            said += chunk
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    scope.cancel()


class ProxyThread:
    """The proxy's thread. While the block runs, its loop is watched."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._thread = threading.Thread(target=self._run, name="proxy")
        self._has_started = threading.Event()
        self._proxy: Proxy | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._tasks_at_rest: Counter[str] = Counter()

    @property
    def port(self) -> int:
        assert self._proxy is not None
        return self._proxy.port

    def __enter__(self) -> ProxyThread:
        self._thread.start()
        if not self._has_started.wait(START_SECONDS) or self._proxy is None:
            raise RuntimeError("the proxy did not start")
        self._ask()
        time.sleep(0.2)
        self._tasks_at_rest = self._tasks()
        return self

    def __exit__(self, *error: object) -> None:
        if self._thread.is_alive():
            assert self._proxy is not None
            assert self._token is not None
            self._wait_until_settled()
            trio.from_thread.run_sync(self._proxy.stop.set, trio_token=self._token)
        self._thread.join(SETTLE_SECONDS)
        if self._thread.is_alive():
            self._watch.report("hang", "the proxy's end", f"the proxy did not end within {SETTLE_SECONDS} s")

    def _run(self) -> None:
        try:
            trio.run(self._serve, instruments=[TrioBeats(self._watch.loop)])
        except BaseException as error:
            self._watch.report("crash", type(error).__name__, f"the proxy ended: {error!r}")
        finally:
            self._has_started.set()

    async def _serve(self) -> None:
        async with _proxy_with(self._watch) as proxy:
            self._token = trio.lowlevel.current_trio_token()
            self._proxy = proxy
            self._has_started.set()
            await proxy.stop.wait()

    def check(self) -> None:
        """The proxy answers as if nothing had happened."""
        try:
            self._ask()
        except (httpx.HTTPError, AssertionError) as error:
            text = f"after the round the proxy is not well: {error!r}\n{self._state()}"
            self._watch.report("health", type(error).__name__, text)

    def _state(self) -> str:
        """What the proxy and its upstream say of themselves."""
        assert self._proxy is not None
        assert self._token is not None
        try:
            seen = trio.from_thread.run_sync(self._proxy.harness.emulator.statistics, trio_token=self._token)
        except Exception as error:  # whatever broke it
            return f"{self._left()}; the emulator is broken: {error!r}"
        return f"{self._left()}; the upstream's calls: {seen.http_calls}, {seen.http_statuses}"

    def _ask(self) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=HEALTH_SECONDS, trust_env=False) as http:
            health = http.get("/health")
            assert (health.status_code, health.text) == (200, "ok"), health
            deadline = time.monotonic() + HEALTH_SECONDS
            with http.stream("POST", "/v1/embeddings", json={"model": "m", "input": "x"}) as answer:
                for _ in answer.iter_raw():
                    assert time.monotonic() < deadline, "no answer but heartbeats"
            assert answer.status_code == 200, answer

    def _wait_until_settled(self) -> None:
        """No task stays of all the connections, and no call of clients that are gone."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while (left := self._left()) and time.monotonic() < deadline:
            time.sleep(0.1)
        if left:
            self._watch.report("left behind", "the proxy", left)

    def _left(self) -> str:
        address = f"http://127.0.0.1:{self.port}/status"
        try:
            status = httpx.get(address, timeout=HEALTH_SECONDS, trust_env=False).json()
        except httpx.HTTPError as error:
            return f"/status: {error!r}"
        counts = {name: status[name] for name in ("queued", "waiting", "active_batches")}
        tasks = self._tasks() - self._tasks_at_rest
        is_settled = not any(counts.values()) and tasks.total() <= OWN_TASKS
        return (
            ""
            if is_settled
            else f"{counts}, and tasks that were not there at the start: {dict(tasks)}\n{self._waits()}"
        )

    def _tasks(self) -> Counter[str]:
        assert self._token is not None
        return trio.from_thread.run_sync(_task_names, trio_token=self._token)

    def _waits(self) -> str:
        """What the tasks wait for."""
        assert self._token is not None
        return trio.from_thread.run_sync(_task_waits, trio_token=self._token)


def _task_names() -> Counter[str]:
    """How many tasks of each name there are in this loop."""
    return Counter(task.name for task in _tasks())


def _task_waits() -> str:
    """For each task, the functions in which it waits, the innermost last."""
    stacks = ((task.name, [frame.f_code.co_name for frame, _ in task.iter_await_frames()]) for task in _tasks())
    counts = Counter(f"{name}: {' > '.join(names)}" for name, names in stacks)
    return "\n".join(f"{count} {stack}" for stack, count in counts.items())


def _tasks() -> Iterator[Any]:
    """All tasks of this loop."""
    to_visit = [trio.lowlevel.current_root_task()]
    while to_visit:
        task = to_visit.pop()
        if task is not None:
            yield task
            to_visit += [child for nursery in task.child_nurseries for child in nursery.child_tasks]


@asynccontextmanager
async def _proxy_with(watch: Watch) -> AsyncGenerator[Proxy]:
    """A proxy whose upstream, an emulator in the same loop, takes no part in what is watched."""

    class Exempt(HTTP.AsyncBaseTransport):  # type: ignore[misc]  # the library is known at run time only
        async def handle_async_request(self, request: Any) -> Any:
            with watch.loop.exempt():
                try:
                    return await send(request)
                except Exception as error:
                    shown = "".join(traceback.format_exception(error))
                    watch.report("emulator", place_of(error), f"the emulator raised {error!r}\n{shown}")
                    raise

    http = HTTP.AsyncClient(transport=Exempt(), timeout=None)
    app = {"limits": LIMITS}
    async with open_proxy(app=app, http_client=http, max_queued_bytes=100_000_000) as proxy:
        send: Send = proxy.harness.emulator.transport(SDK_LIBRARY).handle_async_request
        yield proxy
