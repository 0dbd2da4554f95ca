"""`BatchOpenAISync.map`: the same for a thread. The thread reads the source; the engine's thread does the rest."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import Context, copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Self

import anyio

from ..engine.event_loop import call_soon, is_alive, running_loop, start_in_background
from ..engine.hosting import Host
from ..engine.request import Request
from ..errors import ClientClosedError
from .calls_under_way import CallsUnderWay, CallUnderWay
from .map_bodies import AHEAD, CHAT, body_of, check_map
from .mapping import MapResult, request_of, result_of

Arguments = Mapping[str, Any]

LOOK_SECONDS = 5.0
"""How often a thread that waits looks whether the engine's event loop is still there."""


class ManyCallsSync:
    """What `BatchOpenAISync` has for many calls at once."""

    _engine: Any

    def map(
        self,
        calls: Iterable[Mapping[str, Any]],
        endpoint: str = CHAT,
        *,
        ordered: bool = False,
        ahead: int = AHEAD,
    ) -> CallMapSync:
        """Make many calls, and give each result as it comes; see `BatchOpenAI.map`. No call needs a thread.

        The source is read by the thread that takes the results, while it waits for the next one.

        Interrupted: the calls without a result are withdrawn.
        """
        return CallMapSync(self, calls, endpoint=endpoint, ordered=ordered, ahead=ahead)

    def flush(self) -> None:
        """See `BatchOpenAI.flush`. Thread-safe.

        Raises:
            ClientClosedError: after `close`.
        """
        if self._engine.thread.host is not None:
            self._engine.thread.call(_flush)


async def _flush(host: Host) -> None:
    host.flush()


class CallMapSync(Iterator[MapResult]):
    """The results of `BatchOpenAISync.map`. Leaving the loop over it withdraws all calls that have no result yet.

    So does `close`, the end of a `with` block, and letting go of it. For one thread, but for `close`.
    """

    def __init__(self, client: Any, calls: Iterable[Arguments], *, endpoint: str, ordered: bool, ahead: int) -> None:
        check_map(endpoint, ahead, calls)
        if not isinstance(calls, Iterable):
            raise TypeError("calls must be a plain iterable here; BatchOpenAI.map takes async iterables")
        self._endpoint = endpoint
        self._client = client
        self._source = iter(calls)
        self._ordered = ordered
        self._ahead = ahead
        self._count = 0  # of calls between the source and the consumer
        self._ready: SimpleQueue[CallUnderWay[Arguments] | None] = SimpleQueue()  # None: it was closed
        self._submission: _Submission | None = None
        self._failure: BaseException | None = None
        self._is_read = self._is_closed = False

    def __iter__(self) -> Iterator[MapResult]:
        return _Loop(self)

    def __next__(self) -> MapResult:
        """The next result.

        Raises:
            what the source of the calls raised, after the results of all calls before.
            ClientClosedError: if the client is closed.

        Interrupted: all calls that have no result yet are withdrawn.
        """
        try:
            self._read()
            call = self._wait() if self._count else None
            if call is None or self._is_closed:
                raise self._failure or StopIteration
        except BaseException:
            self.close()
            raise
        self._count -= 1
        return result_of(call, self._endpoint, self._client)

    def close(self) -> None:
        """Withdraw all calls that have no result yet, and read no more: a loop that waits for results ends.

        Thread-safe; can be called again.
        """
        self._is_closed, self._failure = True, None
        self._ready.put(None)
        if self._submission is not None:
            call_soon(self._submission.loop, self._submission.leave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it was refused at construction
            self.close()

    def _read(self) -> None:
        """Submit calls while there is room: all that fit, or one if there is a result to return."""
        while self._has_room():
            try:
                arguments = next(self._source)
            except StopIteration:
                self._is_read = True
                return
            except Exception as error:  # told after the results of the calls before
                self._is_read, self._failure = True, error
                return
            if self._is_closed:
                return
            self._count += 1
            self._put(arguments)
            if not self._ready.empty():
                return

    def _has_room(self) -> bool:
        return not (self._is_read or self._is_closed) and self._count < self._ahead

    def _put(self, arguments: Arguments) -> None:
        if self._submission is None:
            self._submission = self._begin()
        if not call_soon(self._submission.loop, partial(self._submission.put, arguments)):
            raise _closed()

    def _begin(self) -> _Submission:
        engine, context = self._client._engine, copy_context()
        engine.connections.enter()

        async def begin(host: Host) -> _Submission:
            submission = _Submission(host, self._client, self._endpoint, self._ready.put, ordered=self._ordered)
            submission.start(context)
            return submission

        begun: _Submission = engine.thread.call(begin)
        return begun

    def _wait(self) -> CallUnderWay[Arguments] | None:
        assert self._submission is not None
        while True:
            try:
                return self._ready.get(timeout=LOOK_SECONDS)
            except Empty:
                if not is_alive(self._submission.loop):  # it ended with this call in its hands
                    raise _closed() from None


class _Loop(Iterator[MapResult]):
    """One `for` over a `CallMapSync`. When the loop is left, nothing holds it any more."""

    def __init__(self, results: CallMapSync) -> None:
        self._results = results

    def __next__(self) -> MapResult:
        return next(self._results)

    def __del__(self) -> None:
        self._results.close()


class _Submission:
    """The calls of one map in the engine's thread, on their way from `put` to `ready`."""

    def __init__(
        self,
        host: Host,
        client: Any,
        endpoint: str,
        hand_on: Callable[[CallUnderWay[Arguments]], None],
        *,
        ordered: bool,
    ) -> None:
        self.loop: object = running_loop()

        async def make(arguments: Arguments) -> Request:
            return await request_of(client._call(), endpoint, body_of(arguments))

        self._calls: CallsUnderWay[Arguments] = CallsUnderWay(host, make, hand_on, ordered=ordered)
        self._waiting: deque[Arguments] = deque()
        self._is_filled = anyio.Event()
        self._scope = anyio.CancelScope()
        self._has_ended = False

    def start(self, context: Context) -> None:
        """Submit what is put, in a background task."""
        start_in_background(self._submit_all, name="autobatcher map", at_end=self._end, context=context)

    def put(self, arguments: Arguments) -> None:
        """Submit a call after those before."""
        if self._has_ended:
            self._calls.refuse(arguments, _closed())
        else:
            self._waiting.append(arguments)
            self._is_filled.set()

    def leave(self) -> None:
        """Withdraw all calls that have no outcome yet."""
        self._scope.cancel()
        self._calls.withdraw_all()

    async def _submit_all(self) -> None:
        try:
            with self._scope:
                while not self._scope.cancel_called:
                    if not self._waiting:
                        self._is_filled = anyio.Event()
                        await self._is_filled.wait()
                    await self._calls.add(self._waiting.popleft())
        finally:
            self._end()

    def _end(self) -> None:
        self._has_ended = True
        while self._waiting:
            self._calls.refuse(self._waiting.popleft(), _closed())


def _closed() -> ClientClosedError:
    return ClientClosedError("The client was closed before the call was submitted.")
